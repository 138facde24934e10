#include "topology/placement.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>
#include <utility>

#include "topology/apportion.hpp"
#include "topology/host_distances.hpp"
#include "topology/random_numbers.hpp"

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

// Of each last-level cache's group first siblings before second ones.
Indexes llc_order(const Host& host, const UsableHost& usable) {
    Indexes order;
    for (auto group : group_by(usable.pus, [&](std::uint32_t pu) { return host.pus[pu].llc; })) {
        std::stable_sort(group.begin(), group.end(), [&](std::uint32_t a, std::uint32_t b) {
            return usable.thread[a] < usable.thread[b];
        });
        order.insert(order.end(), group.begin(), group.end());
    }
    return order;
}

// All first siblings in the host's order, then all second ones.
Indexes siblings_last_order(const UsableHost& usable) {
    auto order = usable.pus;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return usable.thread[a] < usable.thread[b]; });
    return order;
}

// Siblings by twos, their cores by turns over packages, nodes and caches. A core's odd PU would part all
// pairs behind it and comes after them.
Indexes pairs_order(const Host& host, const UsableHost& usable) {
    std::unordered_map<std::uint32_t, Indexes> siblings;
    Indexes firsts;
    for (const auto pu : usable.pus) {
        siblings[host.pus[pu].core].push_back(pu);
        if (usable.thread[pu] == 0)
            firsts.push_back(pu);
    }
    Indexes order, singles;
    for (const auto first : spread(host, usable, firsts, 0)) {
        auto& core = siblings[host.pus[first].core];
        if (core.size() % 2 == 1) {
            singles.push_back(core.back());
            core.pop_back();
        }
        order.insert(order.end(), core.begin(), core.end());
    }
    order.insert(order.end(), singles.begin(), singles.end());
    return order;
}

Indexes interleave_order(const UsableHost& usable) {
    return take_turns(group_by(usable.pus, [&](std::uint32_t pu) { return usable.home[pu]; }));
}

// vCPUs around `order`, again and again.
Indexes around(const Indexes& order, std::uint32_t vcpus) {
    Indexes chosen;
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        chosen.push_back(order[vcpu % order.size()]);
    return chosen;
}

// Each PU once before any is taken again.
Indexes choose_random(std::uint32_t vcpus, std::uint64_t seed, const UsableHost& usable) {
    SplitMix64 numbers{seed};
    Indexes chosen;
    while (chosen.size() < vcpus) {
        auto round = usable.pus;
        shuffle(round, numbers);
        round.resize(std::min<std::size_t>(round.size(), vcpus - chosen.size()));
        chosen.insert(chosen.end(), round.begin(), round.end());
    }
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

Indexes dealt_by_turns(const Indexes& pus, const Host& host, const UsableHost& usable) {
    std::unordered_map<std::uint32_t, std::uint32_t> left;
    for (const auto pu : pus)
        ++left[pu];
    const auto order = scatter_order(host, usable);
    Indexes dealt;
    while (dealt.size() < pus.size())
        for (const auto pu : order)
            if (const auto at = left.find(pu); at != left.end() && at->second > 0) {
                --at->second;
                dealt.push_back(pu);
            }
    return dealt;
}

Indexes choose_pus(const Policy& policy, std::uint32_t vcpus, std::uint32_t guest_threads, const Host& host,
                   const UsableHost& usable) {
    Indexes chosen;
    switch (policy.kind) {
    case Policy::none:
    case Policy::traffic:
    case Policy::file:
        break;
    case Policy::compact:
        append_blocks(chosen, usable.pus, vcpus);
        break;
    case Policy::scatter:
        return around(scatter_order(host, usable), vcpus);
    case Policy::numa:
        return choose_numa(vcpus, guest_threads, usable);
    case Policy::llc:
        append_blocks(chosen, llc_order(host, usable), vcpus);
        break;
    case Policy::smt_avoid:
        return around(siblings_last_order(usable), vcpus);
    case Policy::smt_pair:
        return around(pairs_order(host, usable), vcpus);
    case Policy::interleave:
        return around(interleave_order(usable), vcpus);
    case Policy::random:
        return choose_random(vcpus, policy.seed, usable);
    }
    return chosen;
}

} // namespace nestbed::topology
