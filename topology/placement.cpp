#include "topology/placement.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>
#include <utility>

#include "topology/apportion.hpp"
#include "topology/host_distances.hpp"

namespace nestbed::topology {

namespace {

using Indexes = std::vector<std::uint32_t>;

// Groups in the order of their first members.
template<typename Key>
std::vector<Indexes> group_by(const Indexes& items, Key key) {
    std::vector<Indexes> groups;
    std::unordered_map<std::uint32_t, std::size_t> positions;
    for (const auto item : items) {
        const auto [at, is_new] = positions.try_emplace(key(item), groups.size());
        if (is_new)
            groups.emplace_back();
        groups[at->second].push_back(item);
    }
    return groups;
}

Indexes take_turns(const std::vector<Indexes>& groups) {
    Indexes taken;
    for (std::size_t round = 0, left = 1; left > 0; ++round) {
        left = 0;
        for (const auto& group : groups)
            if (round < group.size()) {
                taken.push_back(group[round]);
                left += group.size() - round - 1;
            }
    }
    return taken;
}

Indexes spread(const Host& host, const UsableHost& usable, const Indexes& items, unsigned level) {
    constexpr unsigned levels = 3;
    if (level == levels || items.size() < 2)
        return items;
    auto groups = group_by(items, [&](std::uint32_t pu) {
        const std::array key{host.pus[pu].package, usable.home[pu], host.pus[pu].llc};
        return key.at(level);
    });
    for (auto& group : groups)
        group = spread(host, usable, group, level + 1);
    return take_turns(groups);
}

// Blocks of successive vCPUs for each of `pus`, all of the same length give or take one.
void append_blocks(Indexes& chosen, const Indexes& pus, std::uint64_t vcpus) {
    const auto used = std::min<std::uint64_t>(vcpus, pus.size());
    for (std::uint64_t i = 0; i < vcpus; ++i)
        chosen.push_back(pus[i * used / vcpus]);
}

Indexes choose_numa(std::uint32_t vcpus, std::uint32_t guest_threads, const UsableHost& usable) {
    const auto nodes = group_by(usable.pus, [&](std::uint32_t pu) { return usable.home[pu]; });
    // Whole cores where that works out, so that no two siblings are parted between nodes.
    const bool whole_cores = vcpus <= usable.pus.size() && vcpus % usable.smt == 0 &&
                             (guest_threads == 0 || guest_threads % usable.smt == 0);
    const auto unit = whole_cores ? usable.smt : 1;
    std::vector<std::uint64_t> weights;
    weights.reserve(nodes.size());
    for (const auto& pus : nodes)
        weights.push_back(pus.size());
    const auto shares = apportion(vcpus / unit, weights);
    Indexes chosen;
    for (std::size_t i = 0; i < nodes.size(); ++i)
        append_blocks(chosen, nodes[i], shares[i] * unit);
    return chosen;
}

} // namespace

bool is_usable(const Node& node, bool memory_is_known) {
    return node.allowed && (!memory_is_known || node.memory_bytes > 0);
}

Result<UsableHost> usable_part(const Host& host) {
    UsableHost usable;
    usable.pus = allowed_pus(host);
    if (usable.pus.empty())
        return fail(ErrorKind::host_lacks, "place vCPUs", "this process may use no PU of the host",
                    "widen the cpuset (taskset -p, or the cgroup's cpuset.cpus)");
    usable.memory_is_known = std::any_of(host.nodes.begin(), host.nodes.end(),
                                         [](const Node& node) { return node.memory_bytes > 0; });
    const auto fits = [&](const Node& node) { return is_usable(node, usable.memory_is_known); };
    if (std::none_of(host.nodes.begin(), host.nodes.end(), fits))
        return fail(ErrorKind::host_lacks, "place memory", "this process may use no NUMA node with memory",
                    "widen the cgroup's cpuset.mems");

    std::map<std::uint32_t, std::uint32_t> nearest; // node of a PU -> usable node
    std::unordered_map<std::uint32_t, std::uint32_t> siblings;
    usable.home.resize(host.pus.size());
    usable.thread.resize(host.pus.size());
    for (const auto pu : usable.pus) {
        const auto own = host.pus[pu].node.value_or(0);
        const auto [at, is_new] = nearest.try_emplace(own, own);
        if (is_new)
            at->second = nearest_node(host, own, fits).value_or(0);
        usable.home[pu] = at->second;
        usable.thread[pu] = siblings[host.pus[pu].core]++;
    }
    const auto width = siblings.begin()->second;
    if (std::all_of(siblings.begin(), siblings.end(), [&](const auto& core) { return core.second == width; }))
        usable.smt = width;
    return usable;
}

Indexes scatter_order(const Host& host, const UsableHost& usable) {
    auto rounds = group_by(usable.pus, [&](std::uint32_t pu) { return usable.thread[pu]; });
    Indexes order;
    for (const auto& round : rounds) {
        const auto spread_out = spread(host, usable, round, 0);
        order.insert(order.end(), spread_out.begin(), spread_out.end());
    }
    return order;
}

Indexes choose_pus(Policy policy, std::uint32_t vcpus, std::uint32_t guest_threads, const Host& host,
                   const UsableHost& usable) {
    Indexes chosen;
    switch (policy) {
    case Policy::none:
        break;
    case Policy::compact:
        append_blocks(chosen, usable.pus, vcpus);
        break;
    case Policy::scatter: {
        const auto order = scatter_order(host, usable);
        for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
            chosen.push_back(order[vcpu % order.size()]);
        break;
    }
    case Policy::numa:
        chosen = choose_numa(vcpus, guest_threads, usable);
        break;
    }
    return chosen;
}

} // namespace nestbed::topology
