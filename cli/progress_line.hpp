// One line of progress: rewritten in place on a terminal, repeated now and then in a pipe.
#pragma once

#include <chrono>
#include <string>

namespace nestbed::cli {

class ProgressLine {
public:
    // Writes to `fd`; says nothing at all where `quiet`.
    ProgressLine(int fd, bool quiet);
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    ProgressLine(ProgressLine&&) = delete;
    ProgressLine& operator=(ProgressLine&&) = delete;
    // Leaves a clean line behind.
    ~ProgressLine();

    // `fraction` of the whole, 0 to 1.
    void show(const std::string& what, double fraction);
    // Takes the line away, so that something else can be printed.
    void clear();

private:
    using Clock = std::chrono::steady_clock;

    int _fd;
    bool _quiet;
    bool _terminal;
    bool _shown = false;
    Clock::time_point _start = Clock::now();
    Clock::time_point _last = _start;
};

// "12 %, 3 s, about 22 s left"; the estimate only once there is something to go by.
[[nodiscard]] std::string progress_text(double fraction, double elapsed_s);

} // namespace nestbed::cli
