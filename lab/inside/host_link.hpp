// The second serial line, as seen from inside.
#pragma once

#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "lab/frame.hpp"
#include "lab/message.hpp"

namespace nestbed::lab {

class HostLink {
public:
    // Opens the line and has it carry bytes as they are. Errors: host_lacks.
    [[nodiscard]] static Result<HostLink> open(const char* device);

    // Waits until all of it is on its way.
    void send(const Message& message);
    // Whether the host has asked for an interrupt since the last call; does not wait.
    [[nodiscard]] bool take_interrupt();
    // Waits until the line is empty.
    void drain();

    [[nodiscard]] int fd() const noexcept { return _fd.get(); }

private:
    explicit HostLink(Fd fd) : _fd{std::move(fd)} {}

    Fd _fd;
    Sender _sender;
    FrameReader _reader;
};

} // namespace nestbed::lab
