// Drivers, run over vCPU counts and configurations, each point on a machine of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/supervise/supervisor.hpp"
#include "report/run_result.hpp"
#include "report/sweep.hpp"
#include "stress/drivers/stress_driver.hpp"
#include "stress/setup.hpp"
#include "stress/validate.hpp"

namespace nestbed::stress {

struct SweepConfiguration {
    report::Configuration asked;
    MachineRequest machine; // its vCPUs are those of the point
};

struct SweepRequest {
    std::vector<const StressDriver*> drivers;
    std::string vcpus; // see parse_vcpu_counts(); empty: what the shape has, or default_vcpu_counts()
    std::vector<SweepConfiguration> configurations; // at least one
    std::chrono::milliseconds duration{2000};       // of each point; of all of a mix
    std::uint32_t repeat = 1;
    std::uint64_t seed = 1;
    bool balanced = false; // see Axes::balanced
    bool mix = false;      // drivers in turn, drawn from the seed, until the duration is over
    std::optional<std::chrono::milliseconds> timeout; // of each step, beyond the duration; empty: by vCPUs
    std::chrono::milliseconds sample{0}; // how often SweepObserver::sampled is told; 0: at the end alone
    bool record_exits = false;           // for SweepObserver::exits
    bool record_ipis = false;            // for SweepObserver::ipis
};

// A part of a point's time.
struct SweepPhase {
    std::uint32_t point = 0;  // 0, 1, ... in the order in which they ran
    std::string_view phase{}; // "create", "boot", "work", "end"
    supervise::Clock::time_point start;
    supervise::Clock::time_point end;
};

// What KVM has counted for the machine of a point.
struct SweepSample {
    std::uint32_t point = 0;
    supervise::Clock::time_point time;
    const machine::MachineStatistics& statistics;
};

// The last exits to user space of the machine of a point, by vCPU, oldest first.
struct SweepExits {
    std::uint32_t point = 0;
    std::vector<std::vector<machine::TimedExit>> vcpus;
};

// The last IPIs that a driver of them sent from each vCPU, or, where all get it at once, that each vCPU took.
struct SweepIpis {
    std::uint32_t point = 0;
    std::vector<TimedIpi> ipis;
    std::uint64_t left_out =
        0; // of those that the guest kept: they are not in the machine's time, or cannot be
};

// Called on the control thread.
struct SweepObserver {
    std::function<void(const report::RunResult&)> started; // host and number of points are known
    std::function<void(const Progress&)> progress;
    // After each point; the result holds it and all before it.
    std::function<void(const report::SweepPoint&, const report::RunResult&)> finished;
    std::function<void(const SweepPhase&)> phase = {}; // before `finished` of its point
    // While a machine that was made for a driver runs, and once it has ended; before `finished`.
    std::function<void(const SweepSample&)> sampled = {};
    std::function<void(const SweepExits&)> exits = {}; // once it has ended; before `finished`
    std::function<void(const SweepIpis&)> ipis = {};   // the same, where there are any
};

// Always returns what is known, whatever went wrong on the way. A point that fails, hangs, or finds the host
// lacking something leaves the others to run; only a signal ends a sweep.
[[nodiscard]] report::RunResult sweep(const SweepRequest& request, supervise::Supervisor& supervisor,
                                      const SweepObserver& observer);

// Failed where an invariant did not hold; else that of the first error that kept a point from running.
[[nodiscard]] report::Outcome outcome_of(const report::Sweep& sweep, const std::optional<Error>& error);

// The command line that runs a point alone.
[[nodiscard]] std::string repeat_command(const report::SweepPoint& point, std::chrono::milliseconds duration);

} // namespace nestbed::stress
