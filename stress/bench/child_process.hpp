// Another program, timed from its start to the first line that it prints and to its end.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::bench {

struct ChildRun {
    double seconds_to_line = 0; // from right before the start to the first whole line on its stdout
    double seconds_to_end = 0;
    std::string line;        // the first on its stdout, at most 4 KiB of it
    int exit_code = 0;       // 128 + signal where one ended it
    std::string last_output; // the last 4 KiB of stdout and stderr, about as they came
};

// Called with each whole line on the child's stdout, the first 4 KiB of it and without its end, and the
// seconds since the start; false when nothing more is wanted of the child.
using OnLine = std::function<bool(std::string_view line, double seconds)>;

// Runs `arguments` (the first is a path, or a name for PATH) with /dev/null as its stdin, until it ends;
// what it leaves running is left alone. At the deadline, and where `on_line` wants nothing more, it and its
// process group are killed. Errors: host_lacks when it cannot be started, deadline, cancelled by SIGINT or
// SIGTERM.
[[nodiscard]] Result<ChildRun> run_child(const std::vector<std::string>& arguments,
                                         std::chrono::milliseconds deadline, const OnLine& on_line = {});

// "exit code 3 after 0.02 s; it said: ...", with the last three lines that it printed; a signal by its name.
[[nodiscard]] std::string ending_text(const ChildRun& run);

} // namespace nestbed::bench
