#include "cli/output.hpp"

#include <cstdio>

#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

namespace nestbed::cli {

int print(std::string_view text) {
    const bool written =
        std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
    if (written)
        return 0;
    return complain({ErrorKind::bad_input, "write to standard output", "it takes no more", {}});
}

void remark(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
}

int complain(const Error& error) {
    // Not fmt::print(), which throws where nobody reads any more.
    remark(fmt::format("nestbed: {}{}{}\n", error.asked, error.found.empty() ? "" : ": ", error.found));
    if (!error.remedy.empty())
        remark(fmt::format("  {}\n", error.remedy));
    return exit_code(error.kind);
}

bool is_terminal(int fd) {
    return ::isatty(fd) == 1;
}

std::size_t terminal_columns(int fd) {
    winsize size{};
    return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

} // namespace nestbed::cli
