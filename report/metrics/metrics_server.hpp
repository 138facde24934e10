// Answers scrapers while a run is on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <sys/socket.h>

#include "base/error.hpp"

namespace nestbed::report {

struct ListenAddress {
    sockaddr_storage address{};
    socklen_t bytes = 0;
};

// "127.0.0.1:9100", "[::1]:9100", "0.0.0.0:9100"; ":9100" and "9100" are this machine's loopback, and port 0
// is any that is free. No name is looked up. Errors: bad_input.
[[nodiscard]] Result<ListenAddress> parse_listen_address(std::string_view text);

// A fiber that listens and one for each connection: at most 8 at a time, others are closed at once; each has
// 2 s to ask and 10 s to take its answer. Made, used and destroyed by fibers of a thread that has called
// supervise::use_epoll_scheduler().
class MetricsServer {
public:
    // `metrics` makes the text when someone asks for it, on the same thread. Errors: bad_input for an address
    // that is none or is in use, host_lacks without a descriptor.
    [[nodiscard]] static Result<MetricsServer> start(std::string_view address,
                                                     std::function<std::string()> metrics);

    MetricsServer(MetricsServer&&) noexcept;
    MetricsServer& operator=(MetricsServer&&) = delete;
    MetricsServer(const MetricsServer&) = delete;
    MetricsServer& operator=(const MetricsServer&) = delete;
    // Ends its connections and waits for its fibers.
    ~MetricsServer();

    [[nodiscard]] std::uint16_t port() const;

private:
    struct State;
    explicit MetricsServer(std::unique_ptr<State> state);

    std::unique_ptr<State> _state;
};

} // namespace nestbed::report
