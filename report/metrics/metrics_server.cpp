#include "report/metrics/metrics_server.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <list>
#include <utility>

#include <arpa/inet.h>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/operations.hpp>
#include <netinet/in.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/fd.hpp"
#include "base/printable.hpp"
#include "base/units.hpp"
#include "core/supervise/epoll_scheduler.hpp"
#include "report/metrics/http_request.hpp"

namespace nestbed::report {

namespace {

using namespace std::chrono_literals;
using supervise::Clock;
using supervise::Readable;

constexpr std::size_t most_connections = 8;
constexpr auto time_to_ask = 2s;
constexpr auto time_to_take = 10s;

// The first bytes of every sockaddr are alike.
sockaddr* generic(sockaddr_storage& address) {
    return reinterpret_cast<sockaddr*>(&address); // NOLINT(*-reinterpret-cast)
}

template<typename T>
T& as(sockaddr_storage& address) {
    return reinterpret_cast<T&>(address); // NOLINT(*-reinterpret-cast)
}

} // namespace

Result<ListenAddress> parse_listen_address(std::string_view text) {
    const auto refuse = [&] {
        return fail(ErrorKind::bad_input, fmt::format("listen on \"{}\"", printable(text)),
                    "no address and port", "write 127.0.0.1:9100, [::1]:9100 or :9100 (loopback)");
    };
    const auto colon = text.rfind(':');
    std::string host{colon == std::string_view::npos ? std::string_view{} : text.substr(0, colon)};
    const auto port =
        parse_count(colon == std::string_view::npos ? text : text.substr(colon + 1), "a port", 65'535);
    if (!port)
        return refuse();
    ListenAddress result;
    const auto number = htons(static_cast<std::uint16_t>(*port));
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
        auto& address = as<sockaddr_in6>(result.address);
        address.sin6_family = AF_INET6;
        address.sin6_port = number;
        if (::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &address.sin6_addr) != 1)
            return refuse();
        result.bytes = sizeof address;
        return result;
    }
    auto& address = as<sockaddr_in>(result.address);
    address.sin_family = AF_INET;
    address.sin_port = number;
    if (host.empty() || host == "localhost")
        host = "127.0.0.1";
    if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
        return refuse();
    result.bytes = sizeof address;
    return result;
}

struct MetricsServer::State {
    struct Connection {
        Fd socket;
        boost::fibers::fiber fiber;
        bool is_done = false;
    };

    Fd socket;
    std::uint16_t port = 0;
    std::function<std::string()> metrics;
    std::unique_ptr<Readable> readable;
    std::list<Connection> connections;
    boost::fibers::fiber fiber;
    bool is_stopping = false;

    // False: the deadline, an error, or the end of the server.
    bool send(int fd, std::string_view answer) const {
        const auto deadline = Clock::now() + time_to_take;
        while (!answer.empty()) {
            const auto sent = ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent > 0) {
                answer.remove_prefix(static_cast<std::size_t>(sent));
                continue;
            }
            if (sent < 0 && errno == EINTR)
                continue;
            if (sent == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || is_stopping ||
                Clock::now() >= deadline)
                return false;
            // The scheduler wakes for what can be read; a scraper takes its answer in a few of these.
            boost::this_fiber::sleep_for(2ms);
        }
        return true;
    }

    void serve(int fd) const {
        auto asked = Readable::watch(fd);
        if (!asked)
            return;
        const auto deadline = Clock::now() + time_to_ask;
        std::string received;
        for (;;) {
            std::array<char, 1024> bytes{};
            const auto got = ::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
            if (got > 0) {
                received.append(bytes.data(), static_cast<std::size_t>(got));
                if (const auto request = parse_request(received)) {
                    if (send(fd, answer_to(*request, *request == Request::metrics ? metrics() : "")))
                        ::shutdown(fd, SHUT_WR);
                    return;
                }
                continue;
            }
            if (got < 0 && errno == EINTR)
                continue;
            if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || is_stopping ||
                !asked->wait_until(deadline))
                return;
        }
    }

    void forget_finished() {
        for (auto each = connections.begin(); each != connections.end();)
            if (each->is_done) {
                each->fiber.join();
                each = connections.erase(each);
            } else {
                ++each;
            }
    }

    void accept_all() {
        for (;;) {
            Fd client{::accept4(socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
            if (!client)
                return; // none left, or one that is gone already
            forget_finished();
            if (connections.size() >= most_connections)
                continue;
            auto& connection = connections.emplace_back();
            connection.socket = std::move(client);
            connection.fiber = boost::fibers::fiber{[this, &connection] {
                serve(connection.socket.get());
                connection.is_done = true;
                // Told now, not when the next one comes.
                connection.socket = Fd{};
            }};
        }
    }

    void run() {
        while (!is_stopping) {
            accept_all();
            // Edge-triggered: a connection that could not be accepted for want of a descriptor is seen again.
            static_cast<void>(readable->wait_until(Clock::now() + 1s));
        }
    }

    void stop() {
        is_stopping = true;
        readable->interrupt();
        fiber.join();
        for (auto& connection : connections) {
            // Whoever waits for a request sees the end of it.
            if (connection.socket)
                ::shutdown(connection.socket.get(), SHUT_RDWR);
            connection.fiber.join();
        }
    }
};

MetricsServer::MetricsServer(std::unique_ptr<State> state) : _state{std::move(state)} {}
MetricsServer::MetricsServer(MetricsServer&&) noexcept = default;

MetricsServer::~MetricsServer() {
    if (_state)
        _state->stop();
}

std::uint16_t MetricsServer::port() const {
    return _state->port;
}

Result<MetricsServer> MetricsServer::start(std::string_view text, std::function<std::string()> metrics) {
    auto address = parse_listen_address(text);
    if (!address)
        return tl::unexpected{address.error()};
    const auto asked = fmt::format("listen on {}", printable(text));
    auto state = std::make_unique<State>();
    state->metrics = std::move(metrics);
    state->socket = Fd{::socket(address->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!state->socket)
        return fail_errno(ErrorKind::host_lacks, asked);
    const int on = 1;
    static_cast<void>(::setsockopt(state->socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    if (::bind(state->socket.get(), generic(address->address), address->bytes) != 0 ||
        ::listen(state->socket.get(), static_cast<int>(most_connections)) != 0 ||
        ::getsockname(state->socket.get(), generic(address->address), &address->bytes) != 0)
        return fail_errno(ErrorKind::bad_input, asked, "name another port");
    state->port = ntohs(address->address.ss_family == AF_INET6 ? as<sockaddr_in6>(address->address).sin6_port
                                                               : as<sockaddr_in>(address->address).sin_port);
    auto readable = Readable::watch(state->socket.get());
    if (!readable)
        return tl::unexpected{readable.error()};
    state->readable = std::make_unique<Readable>(*std::move(readable));
    state->fiber = boost::fibers::fiber{[state = state.get()] { state->run(); }};
    return MetricsServer{std::move(state)};
}

} // namespace nestbed::report
