// TSC and TSC-deadline timer.
#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "core/cpu/bits.hpp"
#include "core/cpu/leaves.hpp"
#include "stress/checks.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

namespace {

// Ring 0 may be interpreted, a thousand times slower than ring 3.
constexpr std::uint64_t ring0_reads = 200;
constexpr std::uint64_t ring3_reads = 20'000;

constexpr std::uint64_t timer_rounds = 5;

Result<Finding> run_tsc(const DriverContext& context, std::uint64_t reads, bool ring3) {
    auto& machine = context.machine;
    Scratch scratch{machine};
    const auto latest = scratch.table<std::uint64_t>(1);
    if (!latest)
        return tl::unexpected{latest.error()};
    if (auto ran =
            machine.run_job(on_all(context, "tsc.monotonic", {latest->address, reads, ring3 ? 1U : 0U}));
        !ran)
        return tl::unexpected{ran.error()};
    std::vector<std::string> wrong;
    std::uint64_t total = 0;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        total += job_value(machine, vcpu, wire::tsc::done);
        if (const auto back = job_value(machine, vcpu, wire::tsc::backward); back != 0)
            wrong.push_back(
                fmt::format("vCPU {}: {} reads behind another vCPU, by up to {} ticks ({:.3f} us)", vcpu,
                            back, job_value(machine, vcpu, wire::tsc::worst_step),
                            ticks_to_us(machine, job_value(machine, vcpu, wire::tsc::worst_step))));
    }
    return Finding{.good = wrong.empty() && total == reads * machine.vcpus(),
                   .summary = fmt::format("{} reads, {} went backward on", total, vcpus_text(wrong.size())),
                   .details = capped(std::move(wrong))};
}

} // namespace

Result<Finding> check_tsc(const DriverContext& context) {
    return run_tsc(context, ring0_reads, false);
}

Result<Finding> check_tsc_ring3(const DriverContext& context) {
    return run_tsc(context, ring3_reads, true);
}

Result<Finding> check_timer(const DriverContext& context) {
    auto& machine = context.machine;
    const auto khz = machine.tsc_khz();
    // SDM volume 3, 11.5.4.1.
    const auto* const features = core::cpu::find(machine.cpuid(), core::cpu::leaf::features);
    if (features == nullptr || !core::cpu::has_bit(features->ecx, core::cpu::feature::tsc_deadline) ||
        khz == 0)
        return Finding{.good = true,
                       .skip = "this KVM offers no TSC-deadline timer (KVM_CAP_TSC_DEADLINE_TIMER)"};
    Scratch scratch{machine};
    const auto lateness = scratch.table<std::uint64_t>(machine.vcpus() * timer_rounds);
    if (!lateness)
        return tl::unexpected{lateness.error()};
    // 2 ms ahead, and 10 us more for each vCPU, so that they do not all expire at once.
    if (auto ran = machine.run_job(
            on_all(context, "timer.deadline", {timer_rounds, khz * 2, khz / 100, lateness->address}));
        !ran)
        return tl::unexpected{ran.error()};

    std::vector<std::string> wrong;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        const auto fired = job_value(machine, vcpu, wire::timer::fired);
        const auto early = job_value(machine, vcpu, wire::timer::early);
        if (fired != timer_rounds || early != 0)
            wrong.push_back(fmt::format("vCPU {}: set {} times, fired {} times, {} of them early", vcpu,
                                        timer_rounds, fired, early));
    }
    std::vector<double> us;
    for (const std::uint64_t ticks : lateness->entries)
        us.push_back(ticks_to_us(machine, ticks));
    Finding finding{.good = wrong.empty(), .summary = {}, .details = {}};
    finding.measurements.push_back(report::measure("lateness", "us", us));
    finding.summary = fmt::format("{} expiries, {} wrong; late by {:.0f} us (median), {:.0f} us at most",
                                  us.size(), vcpus_text(wrong.size()), finding.measurements[0].summary.median,
                                  finding.measurements[0].summary.max);
    finding.details = capped(std::move(wrong));
    return finding;
}

} // namespace nestbed::stress
