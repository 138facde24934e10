#include "cli/console_output.hpp"

#include <algorithm>
#include <climits>

#include <poll.h>
#include <unistd.h>

namespace nestbed::cli {

void ConsoleOutput::write(std::span<const std::byte> bytes) {
    constexpr int patience_ms = 100;
    while (!bytes.empty()) {
        const bool is_hurried = _is_hurried;
        pollfd room{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
        if (::poll(&room, 1, is_hurried ? 0 : patience_ms) <= 0) {
            if (is_hurried)
                return;
            continue;
        }
        // A pipe with room takes so much at once (pipe(7)).
        const auto written =
            ::write(STDOUT_FILENO, bytes.data(), std::min<std::size_t>(bytes.size(), PIPE_BUF));
        if (written <= 0)
            return;
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

} // namespace nestbed::cli
