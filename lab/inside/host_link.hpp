// The serial lines, as seen from inside: what is sent goes over the second, what is heard comes over the
// first, since not every emulator has a line for both that loses nothing.
#pragma once

#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "lab/frame.hpp"
#include "lab/message.hpp"

namespace nestbed::lab {

class HostLink {
public:
    // Opens the lines and has them carry bytes as they are. Errors: host_lacks.
    [[nodiscard]] static Result<HostLink> open(const char* to_host, const char* from_host);

    // Waits until all of it is on its way.
    void send(const Message& message);
    // Whether the host has asked for an interrupt since the last call; does not wait.
    [[nodiscard]] bool take_interrupt();
    // Waits until all has gone out.
    void drain();

    // Readable when the host may have asked for an interrupt.
    [[nodiscard]] int fd() const noexcept { return _from_host.get(); }

private:
    HostLink(Fd to_host, Fd from_host) : _to_host{std::move(to_host)}, _from_host{std::move(from_host)} {}

    Fd _to_host;
    Fd _from_host;
    Sender _sender;
    FrameReader _reader;
};

} // namespace nestbed::lab
