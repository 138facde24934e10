// Whether threads, pages and CPUID tables are where and what the plan says.
#include <fmt/format.h>

#include "stress/checks.hpp"
#include "topology/verify.hpp"

namespace nestbed::stress {

namespace {

Finding from_drift(const std::vector<topology::Drift>& drift, std::string all_good) {
    std::vector<std::string> lines;
    for (const auto& d : drift)
        lines.push_back(fmt::format("{}: planned {}, found {}", d.what, d.planned, d.found));
    return {.good = drift.empty(),
            .summary = drift.empty() ? std::move(all_good) : fmt::format("{} not as planned", drift.size()),
            .details = capped(std::move(lines))};
}

} // namespace

Result<Finding> check_threads(const DriverContext& context) {
    const auto seen = context.machine.chassis().observe();
    if (!seen)
        return tl::unexpected{seen.error()};
    auto threads_only = context.machine.plan();
    for (auto& node : threads_only.nodes)
        node.host_node.reset();
    return from_drift(topology::compare(threads_only, *seen),
                      threads_only.policy == topology::Policy::none
                          ? "not pinned, as planned"
                          : fmt::format("{} threads on their PUs, {} to {} a PU", seen->threads.size(),
                                        threads_only.min_vcpus_per_pu, threads_only.max_vcpus_per_pu));
}

Result<Finding> check_memory(const DriverContext& context) {
    const auto seen = context.machine.chassis().observe();
    if (!seen)
        return tl::unexpected{seen.error()};
    auto memory_only = context.machine.plan();
    for (auto& vcpu : memory_only.vcpus)
        vcpu.pus.clear();
    std::uint64_t asked = 0;
    for (const auto& region : seen->memory)
        asked += region.pages_asked;
    return from_drift(topology::compare(memory_only, *seen),
                      fmt::format("{} pages looked at on {} virtual node{}", asked, memory_only.nodes.size(),
                                  memory_only.nodes.size() == 1 ? "" : "s"));
}

Result<Finding> check_cpuid_readback(const DriverContext& context) {
    const auto wrong = context.machine.chassis().cpuid_changes();
    const auto other = context.machine.chassis().cpuid_feature_changes();
    Finding finding{.good = wrong.empty(), .summary = {}, .details = capped(wrong)};
    finding.summary = wrong.empty() ? "topology and ids are as written" : "KVM changed what was written";
    if (!other.empty())
        finding.summary += fmt::format("; {} other registers are not as written", other.size());
    // Features that KVM forces on or off are worth knowing, and no fault of the topology.
    finding.facts["feature_registers_changed"] = other;
    finding.facts["msrs_refused"] = context.machine.chassis().refused_msrs();
    return finding;
}

} // namespace nestbed::stress
