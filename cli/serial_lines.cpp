#include "cli/serial_lines.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include <boost/fiber/operations.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <unistd.h>

namespace nestbed::cli {

namespace {

constexpr std::chrono::milliseconds offer_again{10};
// Then whoever is to read or to take it does not, and is not waited for.
constexpr int most_offers = 100;

} // namespace

Result<SerialLines> SerialLines::take(const std::vector<int>& descriptors) {
    const auto is_open = [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; };
    if (descriptors.size() != 2 || !std::ranges::all_of(descriptors, is_open))
        return fail(ErrorKind::bad_input,
                    fmt::format("connect COM1 and COM2 to the descriptors {}", fmt::join(descriptors, ",")),
                    descriptors.size() == 2 ? "they are not open" : "not two",
                    "start nestbed with two sockets and name them, as in --serial-fds 3,4");
    return SerialLines{descriptors[0], descriptors[1]};
}

void SerialLines::write_all(int fd, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto written = ::write(fd, bytes.data(), bytes.size());
        if (written >= 0) {
            bytes = bytes.subspan(static_cast<std::size_t>(written));
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return;
        // What is read from does not block, and neither does the same socket's other direction.
        pollfd writable{.fd = fd, .events = POLLOUT, .revents = 0};
        ::poll(&writable, 1, 1000);
    }
}

Result<std::unique_ptr<lab::Pump>>
SerialLines::listen(supervise::Supervisor& supervisor,
                    std::function<std::size_t(std::span<const std::byte>)> feed) const {
    return lab::Pump::start(_first, supervisor, [feed = std::move(feed)](std::string_view text) {
        auto rest = std::as_bytes(std::span{text.data(), text.size()});
        for (int offers = 0; offers < most_offers; ++offers) {
            rest = rest.subspan(feed(rest));
            if (rest.empty())
                return;
            boost::this_fiber::sleep_for(offer_again);
        }
    });
}

} // namespace nestbed::cli
