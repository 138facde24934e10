// What a person types while a guest runs.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <boost/fiber/fiber.hpp>
#include <termios.h>

#include "core/supervise/epoll_scheduler.hpp"
#include "core/supervise/supervisor.hpp"

namespace nestbed::cli {

// Splits what was typed into what is the guest's and what is ours: Ctrl-A x ends the guest, Ctrl-A Ctrl-A is
// one Ctrl-A for it.
class EscapeKeys {
public:
    struct Typed {
        std::vector<std::byte> for_guest;
        bool end = false;
    };
    [[nodiscard]] Typed take(std::span<const std::byte> bytes);

private:
    bool _after_escape = false;
};

// A terminal, or a pipe, from which a guest is typed to. A terminal passes every key on as it is until this
// is destroyed; it is put back as it was by SIGINT and SIGTERM from outside too, since these only cancel.
class Typing {
public:
    // `feed` gives how many bytes there was room for; what there was none for is offered again. Nothing where
    // `fd` is neither.
    [[nodiscard]] static std::unique_ptr<Typing>
    start(int fd, supervise::Supervisor& supervisor,
          std::function<std::size_t(std::span<const std::byte>)> feed);
    Typing(const Typing&) = delete;
    Typing& operator=(const Typing&) = delete;
    Typing(Typing&&) = delete;
    Typing& operator=(Typing&&) = delete;
    ~Typing();

private:
    Typing(int fd, supervise::Readable readable, supervise::Supervisor& supervisor,
           std::function<std::size_t(std::span<const std::byte>)> feed);
    void read();
    void pass_on(std::vector<std::byte> bytes);

    int _fd;
    std::optional<termios> _before;
    supervise::Readable _readable;
    supervise::Supervisor& _supervisor;
    std::function<std::size_t(std::span<const std::byte>)> _feed;
    EscapeKeys _keys;
    bool _stop = false;
    boost::fibers::fiber _fiber;
};

} // namespace nestbed::cli
