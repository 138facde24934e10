#include "stress/placement.hpp"

#include <cerrno>

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

Result<Finding> threads_where_planned(const machine::Chassis& chassis) {
    const auto seen = chassis.observe();
    if (!seen)
        return tl::unexpected{seen.error()};
    auto threads_only = chassis.plan();
    for (auto& node : threads_only.nodes)
        node.host_node.reset();
    return from_drift(topology::compare(threads_only, *seen),
                      threads_only.max_vcpus_per_pu == 0
                          ? "not pinned, as planned"
                          : fmt::format("{} threads on their PUs, {} to {} a PU", seen->threads.size(),
                                        threads_only.min_vcpus_per_pu, threads_only.max_vcpus_per_pu));
}

Result<Finding> memory_where_planned(const machine::Chassis& chassis, machine::Presence presence) {
    auto seen = chassis.observe();
    if (!seen)
        return tl::unexpected{seen.error()};
    if (presence == machine::Presence::on_touch)
        for (auto& region : seen->memory)
            // move_pages(2): EFAULT where nothing was touched yet, or where the page is the zero page.
            for (const int absent : {-ENOENT, -EFAULT})
                if (const auto pages = region.pages.extract(absent); !pages.empty())
                    region.pages_asked -= pages.mapped();
    auto memory_only = chassis.plan();
    // A node of which the guest has touched nothing yet says nothing.
    if (presence == machine::Presence::on_touch)
        for (const auto& region : seen->memory)
            if (region.pages_asked == 0)
                for (auto& node : memory_only.nodes)
                    if (node.virtual_node == region.virtual_node)
                        node.host_node.reset();
    for (auto& vcpu : memory_only.vcpus)
        vcpu.pus.clear();
    std::uint64_t asked = 0;
    for (const auto& region : seen->memory)
        asked += region.pages_asked;
    return from_drift(topology::compare(memory_only, *seen),
                      fmt::format("{} pages looked at on {} virtual node{}", asked, memory_only.nodes.size(),
                                  memory_only.nodes.size() == 1 ? "" : "s"));
}

Finding cpuid_as_written(const machine::Chassis& chassis) {
    const auto wrong = chassis.cpuid_changes();
    const auto other = chassis.cpuid_feature_changes();
    Finding finding{.good = wrong.empty(), .summary = {}, .details = capped(wrong)};
    finding.summary = wrong.empty() ? "topology and ids are as written" : "KVM changed what was written";
    if (!other.empty())
        finding.summary += fmt::format("; {} other registers are not as written", other.size());
    // Features that KVM forces on or off are worth knowing, and no fault of the topology.
    finding.facts["feature_registers_changed"] = other;
    finding.facts["msrs_refused"] = chassis.refused_msrs();
    return finding;
}

Result<Finding> check_threads(const DriverContext& context) {
    return threads_where_planned(context.machine.chassis());
}

Result<Finding> check_memory(const DriverContext& context) {
    return memory_where_planned(context.machine.chassis(), machine::Presence::prefaulted);
}

Result<Finding> check_cpuid_readback(const DriverContext& context) {
    return cpuid_as_written(context.machine.chassis());
}

} // namespace nestbed::stress
