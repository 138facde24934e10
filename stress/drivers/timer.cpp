#include "stress/drivers/timer.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <random>

#include <fmt/format.h>

#include "core/cpu/bits.hpp"
#include "core/cpu/leaves.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"

#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

namespace {

constexpr std::uint64_t rounds_in_batch = 8;
constexpr std::size_t most_samples = 1 << 20;

// The job of `nestbed validate`, again and again, with other delays.
Result<Counted> run_timer(const StressContext& context) {
    auto& machine = *context.machine;
    if (!has_deadline_timer(machine))
        return skipped("this KVM offers no TSC-deadline timer (KVM_CAP_TSC_DEADLINE_TIMER)");
    const auto khz = machine.tsc_khz();
    const auto vcpus = machine.vcpus();
    std::mt19937_64 random{context.seed};
    Counted counted{.per_vcpu = std::vector<double>(vcpus)};
    std::vector<double> us;
    std::vector<std::string> wrong;
    const auto paced = repeat_until_over(context, [&](std::uint64_t) -> Status {
        Scratch scratch{machine};
        const auto lateness = scratch.table<std::uint64_t>(vcpus * rounds_in_batch);
        if (!lateness)
            return tl::unexpected{lateness.error()};
        // 0.5 to 2.5 ms ahead, and up to 10 us more for each vCPU, so that not all expire at once every time.
        const auto delay = khz / 2 + random() % (khz * 2);
        const auto stagger = random() % (khz / 100 + 1);
        if (auto ran = machine.run_job(on_all(on_machine(context), "timer.deadline",
                                              {rounds_in_batch, delay, stagger, lateness->address}));
            !ran)
            return ran;
        for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
            const TimerSeen seen{job_value(machine, vcpu, wire::timer::fired),
                                 job_value(machine, vcpu, wire::timer::early)};
            counted.per_vcpu[vcpu] += static_cast<double>(seen.fired);
            counted.operations += static_cast<double>(seen.fired);
            if (auto line = judge_timer(vcpu, rounds_in_batch, seen))
                wrong.push_back(std::move(*line));
        }
        for (const std::uint64_t ticks : lateness->entries)
            if (us.size() < most_samples)
                us.push_back(ticks_to_us(machine, ticks));
        return {};
    });
    if (!paced)
        return tl::unexpected{paced.error()};
    counted.seconds = paced->seconds;
    counted.verdict = verdict_of(wrong);
    counted.distributions.push_back(distribution("lateness", "us", us));
    counted.summary = fmt::format("{:.0f} expiries, {} wrong; late by {:.0f} us (median), {:.0f} us (p99)",
                                  counted.operations, wrong.size(), counted.distributions[0].summary.median,
                                  counted.distributions[0].summary.p99);
    counted.details = capped(std::move(wrong));
    return counted;
}

constexpr std::array drivers{
    StressDriver{.name = "timer",
                 .title = "TSC-deadline timers on all vCPUs, and how late they are",
                 .invariant = "a timer fires once for each time that it is set, and never early",
                 .unit = "expiries",
                 .run = &run_timer},
};

} // namespace

std::optional<std::string> judge_timer(std::uint32_t vcpu, std::uint64_t set, const TimerSeen& seen) {
    if (seen.fired == set && seen.early == 0)
        return {};
    return fmt::format("vCPU {}: set {} times, fired {} times, {} of them early", vcpu, set, seen.fired,
                       seen.early);
}

bool has_deadline_timer(const machine::Machine& machine) {
    // SDM volume 3, 11.5.4.1.
    const auto* const features = core::cpu::find(machine.cpuid(), core::cpu::leaf::features);
    return features != nullptr && core::cpu::has_bit(features->ecx, core::cpu::feature::tsc_deadline) &&
           machine.tsc_khz() != 0;
}

std::span<const StressDriver> timer_drivers() {
    return drivers;
}

} // namespace nestbed::stress
