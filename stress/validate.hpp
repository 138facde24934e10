// The main job: plan a machine, boot it, run every check, and say what held.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/supervise/supervisor.hpp"
#include "report/run_result.hpp"
#include "stress/setup.hpp"

namespace nestbed::stress {

struct ValidateRequest {
    MachineRequest machine;
    std::vector<std::string> only;                    // shell patterns over the names of checks; empty: all
    std::optional<std::chrono::milliseconds> timeout; // of each check; empty: scaled with the vCPUs
    std::uint64_t seed = 1;
    bool lab = false; // L2 guests run in an emulated machine where this host's KVM offers no SVM
};

struct Progress {
    std::string what;    // "ipi.unicast"
    double fraction = 0; // of the whole run, 0 to 1
};

// Called on the control thread, some of them from other fibers than validate()'s.
struct Observer {
    std::function<void(const report::RunResult&)> planned; // host, machine and plan are known
    std::function<void(const Progress&)> progress;         // several times a second
    std::function<void(const report::CheckResult&)> checked;
};

// Always returns what is known, whatever went wrong on the way; the outcome says what that was.
[[nodiscard]] report::RunResult validate(const ValidateRequest& request, supervise::Supervisor& supervisor,
                                         const Observer& observer);

} // namespace nestbed::stress
