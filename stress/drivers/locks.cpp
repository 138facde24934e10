#include "stress/drivers/locks.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/drivers/timer.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::locks;

// Some 100 us of looking, then a sleep: where vCPUs share a PU, whose turn it is must get to run. Of a ticket
// lock until it is woken by the one before it, of a spinlock for 200 us.
constexpr std::uint64_t spins = 2000;
constexpr std::uint64_t sleeps_a_second = 5000;

Result<Counted> run_lock(const StressContext& context, job::Kind kind) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto state = scratch.table<job::State>(1);
    const auto counts = scratch.table<job::Counts>(vcpus);
    const auto sleepers = scratch.table<std::uint32_t>(vcpus);
    if (auto placed = first_error(stop, state, counts, sleepers); !placed)
        return tl::unexpected{placed.error()};
    const auto sleep = has_deadline_timer(machine) ? machine.tsc_khz() * 1000 / sleeps_a_second : 0;
    const auto paced = run_until_stopped(
        context,
        on_all(on_machine(context), "stress.lock",
               {stop->address, state->address, counts->address, kind, spins, sleep, sleepers->address}),
        *stop);
    if (!paced)
        return tl::unexpected{paced.error()};
    const job::State end = state->entries[0];
    const std::vector<job::Counts> own{counts->entries.begin(), counts->entries.end()};
    auto wrong = judge_lock(end, own);
    Counted counted{.verdict = verdict_of(wrong), .seconds = paced->seconds};
    double sleeps = 0;
    for (const auto& count : own) {
        counted.per_vcpu.push_back(static_cast<double>(count.acquired));
        counted.operations += static_cast<double>(count.acquired);
        sleeps += static_cast<double>(count.sleeps);
    }
    const auto [least, most] = std::ranges::minmax(counted.per_vcpu);
    counted.facts = {{"sleeps", sleeps}, {"least_by_a_vcpu", least}, {"most_by_a_vcpu", most}};
    counted.summary =
        fmt::format("{:.0f} acquisitions, counted {} under the lock; {:.0f} to {:.0f} by a vCPU",
                    counted.operations, end.counter, least, most);
    counted.details = std::move(wrong);
    return counted;
}

template<job::Kind kind>
Result<Counted> run_kind(const StressContext& context) {
    return run_lock(context, kind);
}

constexpr std::string_view exclusion = "one vCPU at a time: a counter that is changed without atomics under "
                                       "the lock is the sum of the acquisitions";

constexpr std::array drivers{
    StressDriver{.name = "lock.spin",
                 .title = "All vCPUs on one spinlock (test and set)",
                 .invariant = exclusion,
                 .unit = "acquisitions",
                 .run = &run_kind<job::spin>},
    StressDriver{.name = "lock.ticket",
                 .title = "All vCPUs on one ticket lock, which is handed over in order",
                 .invariant = exclusion,
                 .unit = "acquisitions",
                 .run = &run_kind<job::ticket>},
};

} // namespace

std::vector<std::string> judge_lock(const job::State& state, std::span<const job::Counts> counts) {
    std::vector<std::string> wrong;
    std::uint64_t acquired = 0;
    for (std::size_t vcpu = 0; vcpu < counts.size(); ++vcpu) {
        acquired += counts[vcpu].acquired;
        if (counts[vcpu].torn != 0)
            wrong.push_back(fmt::format("vCPU {} saw another vCPU's half-done work {} times under the lock",
                                        vcpu, counts[vcpu].torn));
    }
    if (state.counter != acquired)
        wrong.push_back(
            fmt::format("the lock was acquired {} times, counted under it are {}", acquired, state.counter));
    if (state.shadow != state.counter)
        wrong.push_back(fmt::format("counted under the lock are {} and {}", state.counter, state.shadow));
    if (acquired == 0)
        wrong.push_back("nobody acquired the lock");
    return wrong;
}

std::span<const StressDriver> lock_drivers() {
    return drivers;
}

} // namespace nestbed::stress
