#include "topology/plan_reasons.hpp"

#include <cstddef>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/ranges.hpp"
#include "topology/memory_split.hpp"

namespace nestbed::topology {

namespace {

std::string_view why_this_pu(const Policy& policy) {
    switch (policy.kind) {
    case Policy::none:
        return "any PU";
    case Policy::compact:
        return "next PU in the host's order";
    case Policy::scatter:
        return "farthest from the vCPUs before it";
    case Policy::numa:
        return "next PU of its node";
    case Policy::llc:
        return "next PU of its last-level cache, siblings last";
    case Policy::smt_avoid:
        return "next core in the host's order, siblings last";
    case Policy::smt_pair:
        return "beside its neighbour on a core far from the others";
    case Policy::interleave:
        return "next node's next PU";
    case Policy::random:
        return "drawn";
    case Policy::traffic:
        return "least traffic cost";
    case Policy::file:
        return "as the plan file says";
    }
    return "";
}

std::string note_on_policy(const Plan& plan) {
    switch (plan.policy.kind) {
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
    case Policy::llc:
        return fmt::format(
            "policy llc: one last-level cache filled after the other, the siblings of its cores "
            "last; {} virtual nodes",
            plan.nodes.size());
    case Policy::smt_avoid:
        return fmt::format(
            "policy smt-avoid: cores in the host's order, second siblings only where there are "
            "more vCPUs than cores; {} virtual nodes",
            plan.nodes.size());
    case Policy::smt_pair:
        return fmt::format("policy smt-pair: neighbours on the siblings of one core, cores by turns over "
                           "packages, nodes and caches; {} virtual nodes",
                           plan.nodes.size());
    case Policy::interleave:
        return fmt::format("policy interleave: vCPU by vCPU around {} host nodes, each of which is a virtual "
                           "node",
                           plan.nodes.size());
    case Policy::random:
        return fmt::format("policy {}: PUs as drawn, the same for the same seed; {} virtual nodes",
                           to_string(plan.policy), plan.nodes.size());
    case Policy::traffic:
        return fmt::format("policy {}: the least cost found for this traffic; {} virtual nodes",
                           to_string(plan.policy), plan.nodes.size());
    case Policy::file:
        return fmt::format("policy {}: vCPUs, memory and {} virtual nodes as the file has them",
                           to_string(plan.policy), plan.nodes.size());
    }
    return {};
}

std::string note_on_isolated(const Plan& plan, const Host& host) {
    std::set<std::uint32_t> used;
    for (const auto& vcpu : plan.vcpus)
        used.insert(vcpu.pus.begin(), vcpu.pus.end());
    std::size_t isolated = 0, allowed = 0, with_vcpus = 0;
    for (const auto& pu : host.pus) {
        isolated += pu.isolated ? 1U : 0U;
        allowed += pu.isolated && pu.allowed ? 1U : 0U;
        with_vcpus += pu.isolated && used.contains(pu.os_index) ? 1U : 0U;
    }
    if (isolated == 0)
        return {};
    return fmt::format(
        "{} PUs are isolated from the scheduler (isolcpus): {} of them allowed, {} with vCPUs{}", isolated,
        allowed, with_vcpus, allowed < isolated ? "; start nestbed under taskset to have the others" : "");
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

std::string reason_for_vcpu(const Policy& policy, const Host& host, const UsableHost& usable,
                            std::uint32_t pu, std::uint32_t load, bool lying) {
    const auto& at = host.pus[pu];
    auto text = fmt::format("{}: node {}, package {}, core {}, thread {}",
                            lying ? "by turns, not as the guest is shown" : why_this_pu(policy),
                            host.nodes[usable.home[pu]].os_index, at.package, at.core, usable.thread[pu]);
    if (load > 1)
        text += fmt::format("; shared by {} vCPUs", load);
    return text;
}

std::string reason_for_node(const Policy& policy, std::uint64_t vcpus, std::uint64_t all_vcpus, bool lying) {
    const auto share = fmt::format("memory for {} of {} vCPUs", vcpus, all_vcpus);
    if (lying)
        return share + ", which are shown to be on this node";
    return policy == Policy::numa ? share + ", which run on this node"
                                  : share + ", whose PUs are nearest to it";
}

namespace {

// A plan file may leave PUs idle, and some vCPUs unpinned.
std::string note_on_overcommitment(const Plan& plan, const UsableHost& usable) {
    std::set<std::uint32_t> used;
    std::size_t pinned = 0;
    for (const auto& vcpu : plan.vcpus)
        if (vcpu.pus.size() == 1) {
            used.insert(vcpu.pus.front());
            ++pinned;
        }
    auto text = fmt::format("overcommitted: {} vCPUs on ", pinned);
    if (used.size() < usable.pus.size())
        text += fmt::format("{} of ", used.size());
    text += fmt::format("{} PU{}, ", usable.pus.size(), usable.pus.size() == 1 ? "" : "s");
    return plan.min_vcpus_per_pu == plan.max_vcpus_per_pu
               ? text + fmt::format("{} on each", plan.max_vcpus_per_pu)
               : text + fmt::format("{} to {} on each", plan.min_vcpus_per_pu, plan.max_vcpus_per_pu);
}

} // namespace

std::vector<std::string> notes_on(const Plan& plan, const Host& host, const UsableHost& usable) {
    std::vector<std::string> notes{note_on_policy(plan)};
    if (plan.max_vcpus_per_pu > 1)
        notes.push_back(note_on_overcommitment(plan, usable));
    if (usable.pus.size() < host.pus.size())
        notes.push_back(fmt::format("{} of {} PUs are not allowed and stay unused",
                                    host.pus.size() - usable.pus.size(), host.pus.size()));
    if (!host.offline_pus.empty())
        notes.push_back(fmt::format("offline: PU{} {}", host.offline_pus.size() == 1 ? "" : "s",
                                    format_ranges_within(host.offline_pus, 40)));
    if (auto note = note_on_isolated(plan, host); !note.empty())
        notes.push_back(std::move(note));
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
