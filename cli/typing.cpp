#include "cli/typing.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <utility>

#include <boost/fiber/operations.hpp>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace nestbed::cli {

namespace {

constexpr std::byte escape{0x01}; // Ctrl-A
constexpr std::chrono::milliseconds offer_again{10};

bool is_typed_to(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0)
        return false;
    // In the background a read would stop the process.
    if (::isatty(fd) != 0)
        return ::tcgetpgrp(fd) == ::getpgrp();
    return S_ISFIFO(status.st_mode);
}

// Or its end has come.
bool has_bytes(int fd) {
    pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&wanted, 1, 0) > 0;
}

} // namespace

EscapeKeys::Typed EscapeKeys::take(std::span<const std::byte> bytes) {
    Typed typed;
    for (const auto byte : bytes) {
        if (std::exchange(_after_escape, false)) {
            if (byte == std::byte{'x'})
                typed.end = true;
            else if (byte == escape)
                typed.for_guest.push_back(byte);
        } else if (byte == escape) {
            _after_escape = true;
        } else {
            typed.for_guest.push_back(byte);
        }
    }
    return typed;
}

std::unique_ptr<Typing> Typing::start(int fd, supervise::Supervisor& supervisor,
                                      std::function<std::size_t(std::span<const std::byte>)> feed) {
    if (!is_typed_to(fd))
        return nullptr;
    auto readable = supervise::Readable::watch(fd);
    if (!readable)
        return nullptr;
    return std::unique_ptr<Typing>{new Typing{fd, std::move(*readable), supervisor, std::move(feed)}};
}

Typing::Typing(int fd, supervise::Readable readable, supervise::Supervisor& supervisor,
               std::function<std::size_t(std::span<const std::byte>)> feed)
    : _fd{fd}, _readable{std::move(readable)}, _supervisor{supervisor}, _feed{std::move(feed)} {
    termios settings{};
    if (::isatty(fd) != 0 && ::tcgetattr(fd, &settings) == 0) {
        _before = settings;
        ::cfmakeraw(&settings);
        settings.c_oflag |= OPOST; // what we print ourselves ends its lines with \n
        ::tcsetattr(fd, TCSANOW, &settings);
    }
    _fiber = boost::fibers::fiber{[this] { read(); }};
}

Typing::~Typing() {
    _stop = true;
    _readable.interrupt();
    _fiber.join();
    if (_before)
        ::tcsetattr(_fd, TCSANOW, &*_before);
}

void Typing::read() {
    std::array<std::byte, 256> block{};
    while (!_stop) {
        if (!_readable.wait_until(supervise::Deadline::max()))
            continue;
        // Not by O_NONBLOCK, which would be the shell's as well.
        while (!_stop && has_bytes(_fd)) {
            const auto got = ::read(_fd, block.data(), block.size());
            if (got <= 0)
                return;
            auto typed = _keys.take(std::span{block}.first(static_cast<std::size_t>(got)));
            pass_on(std::move(typed.for_guest));
            if (typed.end)
                return _supervisor.cancel(SIGINT);
        }
    }
}

void Typing::pass_on(std::vector<std::byte> bytes) {
    std::span<const std::byte> rest{bytes};
    while (!_stop && !rest.empty()) {
        rest = rest.subspan(_feed(rest));
        if (!rest.empty())
            boost::this_fiber::sleep_for(offer_again);
    }
}

} // namespace nestbed::cli
