#include "topology/plan_reasons.hpp"

#include <fmt/format.h>

#include "base/ranges.hpp"
#include "topology/memory_split.hpp"

namespace nestbed::topology {

namespace {

std::string_view why_this_pu(Policy policy) {
    switch (policy) {
    case Policy::none:
        return "any PU";
    case Policy::compact:
        return "next PU in the host's order";
    case Policy::scatter:
        return "farthest from the vCPUs before it";
    case Policy::numa:
        return "next PU of its node";
    }
    return "";
}

std::string note_on_policy(const Plan& plan) {
    switch (plan.policy) {
    case Policy::none:
        return "policy none: one virtual node, no thread pinned, no memory bound";
    case Policy::compact:
        return fmt::format(
            "policy compact: PUs in the host's order; a virtual node for each of the {} host nodes "
            "touched, so that memory lies beside the vCPUs that use it",
            plan.nodes.size());
    case Policy::scatter:
        return plan.nodes.size() == 1
                   ? std::string{"policy scatter: packages, caches and cores by turns, siblings last"}
                   : fmt::format(
                         "policy scatter: packages, nodes, caches and cores by turns, siblings last; vCPUs "
                         "alternate between the {} virtual nodes, each of which is a host node touched",
                         plan.nodes.size());
    case Policy::numa:
        return fmt::format(
            "policy numa: {} virtual node{}, vCPUs in proportion to each host node's PUs, memory in "
            "proportion to vCPUs",
            plan.nodes.size(), plan.nodes.size() == 1 ? "" : "s");
    }
    return {};
}

// os indexes of the nodes that `is_wanted` takes.
template<typename Wanted>
std::vector<std::uint32_t> nodes_where(const Host& host, Wanted is_wanted) {
    std::vector<std::uint32_t> found;
    for (std::uint32_t i = 0; i < host.nodes.size(); ++i)
        if (is_wanted(i))
            found.push_back(host.nodes[i].os_index);
    return found;
}

} // namespace

std::string reason_for_vcpu(Policy policy, const Host& host, const UsableHost& usable, std::uint32_t pu,
                            std::uint32_t load) {
    const auto& at = host.pus[pu];
    auto text = fmt::format("{}: node {}, package {}, core {}, thread {}", why_this_pu(policy),
                            host.nodes[usable.home[pu]].os_index, at.package, at.core, usable.thread[pu]);
    if (load > 1)
        text += fmt::format("; shared by {} vCPUs", load);
    return text;
}

std::string reason_for_node(Policy policy, std::uint64_t vcpus, std::uint64_t all_vcpus) {
    const auto share = fmt::format("memory for {} of {} vCPUs", vcpus, all_vcpus);
    return policy == Policy::numa ? share + ", which run on this node"
                                  : share + ", whose PUs are nearest to it";
}

std::vector<std::string> notes_on(const Plan& plan, const Host& host, const UsableHost& usable) {
    std::vector<std::string> notes{note_on_policy(plan)};
    if (plan.max_vcpus_per_pu > 1)
        notes.push_back(plan.min_vcpus_per_pu == plan.max_vcpus_per_pu
                            ? fmt::format("overcommitted: {} vCPUs on {} PUs, {} on each", plan.vcpus.size(),
                                          usable.pus.size(), plan.max_vcpus_per_pu)
                            : fmt::format("overcommitted: {} vCPUs on {} PUs, {} to {} on each",
                                          plan.vcpus.size(), usable.pus.size(), plan.min_vcpus_per_pu,
                                          plan.max_vcpus_per_pu));
    if (usable.pus.size() < host.pus.size())
        notes.push_back(fmt::format("{} of {} PUs are not allowed and stay unused",
                                    host.pus.size() - usable.pus.size(), host.pus.size()));
    if (!usable.memory_is_known)
        notes.emplace_back(
            "the host's description tells no memory sizes: whether the memory fits is not checked");
    if (!pages_are_known(plan.page_size, host))
        notes.push_back(
            fmt::format("the host's description tells of no {} pages: whether there are enough is not "
                        "checked",
                        to_string(plan.page_size)));
    if (plan.policy == Policy::none)
        return notes;

    std::vector<bool> is_home(host.nodes.size(), false);
    std::vector<bool> is_forsaken(host.nodes.size(), false);
    for (const auto pu : usable.pus) {
        is_home[usable.home[pu]] = true;
        if (host.pus[pu].node && *host.pus[pu].node != usable.home[pu])
            is_forsaken[*host.pus[pu].node] = true;
    }
    const auto memory_only = nodes_where(host, [&](std::uint32_t i) {
        return !is_home[i] && !host.nodes[i].has_pus && is_usable(host.nodes[i], usable.memory_is_known);
    });
    if (!memory_only.empty())
        notes.push_back(
            fmt::format("nodes without PUs of their own are not used: {}", format_ranges(memory_only)));
    const auto forsaken = nodes_where(host, [&](std::uint32_t i) { return is_forsaken[i]; });
    if (!forsaken.empty())
        notes.push_back(
            fmt::format("PUs of nodes whose memory is not allowed take it from the nearest other node: {}",
                        format_ranges(forsaken)));
    return notes;
}

} // namespace nestbed::topology
