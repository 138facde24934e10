// The figures that nestbed promises, each next to what it is compared with, in one run.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "stress/bench/figure.hpp"
#include "stress/bench/progress.hpp"

namespace nestbed::bench {

struct BenchRequest {
    std::vector<std::string> names; // of bench_names(); empty: all
    std::uint32_t vcpus = 288;
    unsigned repeat = 5;
    std::string program; // nestbed itself; its floor lies in ../bench
    // A shell command that is timed as a whole in turn with bringup; empty: none. It has to end with 0, since
    // what fails is fast.
    std::string against;
    // Of race, see there.
    std::vector<std::string> commands;
    std::vector<std::string> lines;
    std::chrono::milliseconds timeout{300'000};
};

[[nodiscard]] const std::vector<std::string>& bench_names();

// Those that are asked for: race is one of all where there is something to race.
[[nodiscard]] std::vector<std::string> chosen_benches(const BenchRequest& request);

// Calls `done` with each figure, and `progress` before each round with what it is and how much of all is
// done, 0 to 1. Errors: bad_input for unknown names and for an `against` that fails; a child that fails ends
// the run with its Error, the figures before it and that of the rounds before it having been passed to
// `done`.
[[nodiscard]] Status run_bench(const BenchRequest& request, const Progress& progress,
                               const std::function<void(const Figure&)>& done);

// What a child printed as its figure. Errors: check_failed where that is no number.
[[nodiscard]] Result<double> parse_figure(const std::string& line);

// The hidden side: what the children of run_bench() do. `mode` is bringup, exit or memory. Prints one line.
[[nodiscard]] Status run_bench_child(const std::string& mode, std::uint64_t number);

} // namespace nestbed::bench
