// The figures that nestbed promises, each next to what it is compared with, in one run.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "report/stats.hpp"

namespace nestbed::bench {

struct BenchRequest {
    std::vector<std::string> names; // of bench_names(); empty: all
    std::uint32_t vcpus = 288;
    unsigned repeat = 5;
    std::string program; // nestbed itself; its floor lies in ../bench
    std::string against; // a shell command that is timed as a whole in turn with bringup; empty: none
    std::chrono::milliseconds timeout{300'000};
};

struct Figure {
    std::string name;     // "bringup/floor"
    std::string unit;     // of both summaries
    report::Summary ours; //
    std::optional<report::Summary> other;
    std::optional<report::Summary> ratio; // pair by pair: ours / other, or other / ours where it says so
    std::string what;                     // what is compared with what, in words
    double target = 0;
    bool at_most = true; // the ratio's median (without one, ours) is to be at most the target; else at least
    [[nodiscard]] bool holds() const;
};

[[nodiscard]] const std::vector<std::string>& bench_names();

// Calls `done` after each figure and `progress` before each child. Errors: bad_input for unknown names; a
// figure that cannot be had ends the run with its Error, the ones before it having been passed to `done`.
[[nodiscard]] Status run_bench(const BenchRequest& request,
                               const std::function<void(const std::string&)>& progress,
                               const std::function<void(const Figure&)>& done);

// The hidden side: what the children of run_bench() do. `mode` is bringup, exit or memory. Prints one line.
[[nodiscard]] Status run_bench_child(const std::string& mode, std::uint64_t number);

// a[i] / b[i] for as many as there are of both.
[[nodiscard]] std::vector<double> pairwise_ratios(const std::vector<double>& a, const std::vector<double>& b);

} // namespace nestbed::bench
