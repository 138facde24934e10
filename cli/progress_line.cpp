#include "cli/progress_line.hpp"

#include <algorithm>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

#include "cli/output.hpp"

namespace nestbed::cli {

namespace {

constexpr std::chrono::seconds between_lines_in_a_pipe{5};

void write_all(int fd, const std::string& text) {
    // Progress is a courtesy: what does not get through is lost.
    [[maybe_unused]] const auto written = ::write(fd, text.data(), text.size());
}

} // namespace

std::string progress_text(double fraction, double elapsed_s) {
    fraction = std::clamp(fraction, 0.0, 1.0);
    auto text = fmt::format("{:.0f} %, {:.0f} s", fraction * 100, elapsed_s);
    if (fraction > 0.02 && elapsed_s > 1)
        text += fmt::format(", about {:.0f} s left", elapsed_s * (1 - fraction) / fraction);
    return text;
}

ProgressLine::ProgressLine(int fd, bool quiet) : _fd{fd}, _quiet{quiet}, _terminal{is_terminal(fd)} {}

ProgressLine::~ProgressLine() {
    clear();
}

void ProgressLine::show(const std::string& what, double fraction) {
    const auto now = Clock::now();
    if (_quiet || (!_terminal && now - _last < between_lines_in_a_pipe))
        return;
    _last = now;
    auto line = fmt::format("{}: {}", what,
                            progress_text(fraction, std::chrono::duration<double>(now - _start).count()));
    if (!_terminal)
        return write_all(_fd, "  ... " + line + "\n");
    line.resize(std::min(line.size(), terminal_columns(_fd) - 1));
    _shown = true;
    write_all(_fd, "\r\x1b[K" + line);
}

void ProgressLine::clear() {
    if (std::exchange(_shown, false))
        write_all(_fd, "\r\x1b[K");
}

} // namespace nestbed::cli
