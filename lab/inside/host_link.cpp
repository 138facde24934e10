#include "lab/inside/host_link.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

namespace nestbed::lab {

namespace {

Result<Fd> open_line(const char* device) {
    Fd fd{::open(device, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)};
    termios settings{};
    if (!fd || ::tcgetattr(fd.get(), &settings) != 0)
        return fail_errno(ErrorKind::host_lacks, std::string{"open the serial line "} + device,
                          "use a kernel with CONFIG_SERIAL_8250=y");
    ::cfmakeraw(&settings);
    settings.c_cflag |= CLOCAL | CREAD;
    ::cfsetspeed(&settings, B115200);
    if (::tcsetattr(fd.get(), TCSANOW, &settings) != 0)
        return fail_errno(ErrorKind::host_lacks, std::string{"set up the serial line "} + device);
    return fd;
}

} // namespace

Result<HostLink> HostLink::open(const char* to_host, const char* from_host) {
    auto out = open_line(to_host);
    if (!out)
        return tl::unexpected{out.error()};
    auto in = open_line(from_host);
    if (!in)
        return tl::unexpected{in.error()};
    return HostLink{std::move(*out), std::move(*in)};
}

void HostLink::send(const Message& message) {
    const auto bytes = _sender.encode(message);
    std::string_view rest = bytes;
    while (!rest.empty()) {
        const auto written = ::write(_to_host.get(), rest.data(), rest.size());
        if (written >= 0) {
            rest.remove_prefix(static_cast<std::size_t>(written));
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return; // nobody is left to be told
        pollfd writable{_to_host.get(), POLLOUT, 0};
        ::poll(&writable, 1, 1000);
    }
}

bool HostLink::take_interrupt() {
    std::array<char, 4096> block{};
    bool asked = false;
    for (auto got = ::read(_from_host.get(), block.data(), block.size()); got > 0;
         got = ::read(_from_host.get(), block.data(), block.size()))
        for (const auto& frame : _reader.take({block.data(), static_cast<std::size_t>(got)}))
            asked = asked || frame.type == FrameType::interrupt;
    return asked;
}

void HostLink::drain() {
    ::tcdrain(_to_host.get());
}

} // namespace nestbed::lab
