// Machines that are created, run and destroyed, several at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "report/sweep.hpp"
#include "stress/drivers/stress_driver.hpp"

namespace nestbed::stress {

// Of one machine; the same seed and number give the same life.
struct Life {
    machine::Machine& machine; // created, and not yet booted
    std::uint64_t number = 0;
    std::mt19937_64& random;
};

struct Lives {
    std::uint64_t machines = 0;     // that were destroyed after a life as it should be
    std::vector<double> seconds;    // of each, from its creation to its end
    std::vector<std::string> wrong; // of machines that were not, a line each
    std::vector<report::StuckVcpu> stuck;
    std::optional<report::Verdict> death; // of the last machine that did not survive: hang or crash
    double total_seconds = 0;
};

// Runs `live` on one fresh machine after the other, `at_once` of them at a time, until context.duration has
// passed, and compares what the process holds before and after. The first machines are only for what the C
// library and the kernel keep. Errors: what ends the sweep, as StressDriver::run.
[[nodiscard]] Result<Lives> run_lives(const StressContext& context, std::uint32_t at_once,
                                      const std::function<Status(const Life&)>& live);

// Of Lives, with operations and per-machine times.
[[nodiscard]] Counted counted(Lives lives, std::uint32_t at_once);

} // namespace nestbed::stress
