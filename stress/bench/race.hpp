// Who comes first: commands that are started in turn, and timed to lines that they print.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "stress/bench/figure.hpp"
#include "stress/bench/progress.hpp"

namespace nestbed::bench {

struct RaceRequest {
    std::vector<std::string>
        commands; // of the shell, two or more; the first is compared with each of the others
    // Perl-compatible, one or more, in the order in which they come; a command is ended at the last. Only
    // what it writes to its stdout counts.
    std::vector<std::string> lines;
    unsigned rounds = 5;
    std::chrono::milliseconds timeout{
        300'000}; // of one start; a line that has not come by then counts as that
};

// Calls `progress` before each start, and `done` at the end with a figure for each line and each command but
// the first: seconds from the start, pair by pair. Errors: bad_input for what cannot be raced, check_failed
// where a command ends without all of the lines, the figures of the rounds before it having been passed on.
[[nodiscard]] Status run_race(const RaceRequest& request, const Progress& progress,
                              const std::function<void(const Figure&)>& done);

} // namespace nestbed::bench
