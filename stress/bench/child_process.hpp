// Another program, timed from its start to the first line that it prints.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace nestbed::bench {

struct ChildRun {
    double seconds_to_line = 0; // from right before the start to the first whole line on its stdout
    double seconds_to_end = 0;
    std::string line;
    int exit_code = 0; // 128 + signal where one ended it
};

// Runs `arguments` (the first is a path, or a name for PATH), its stderr and stdin at /dev/null. At the
// deadline it and what it started are killed. Errors: host_lacks when it cannot be started, deadline.
[[nodiscard]] Result<ChildRun> run_child(const std::vector<std::string>& arguments,
                                         std::chrono::milliseconds deadline);

} // namespace nestbed::bench
