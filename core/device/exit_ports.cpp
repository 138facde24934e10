#include "core/device/exit_ports.hpp"

#include <algorithm>
#include <string_view>

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

void DebugExit::access(const PortAccess& access) {
    if (!access.out) {
        std::ranges::fill(access.data, std::byte{0});
        return;
    }
    each_repetition(access, [&](std::span<const std::byte> bytes) {
        _ending.report({.kind = Ending::Kind::exit_code,
                        .exit_code = status_of(static_cast<std::uint32_t>(number_in(bytes))),
                        .vcpu = access.vcpu});
    });
}

void ShutdownPort::access(const PortAccess& access) {
    byte_by_byte(
        access, [](std::uint32_t) { return std::uint8_t{0xff}; },
        [&](std::uint32_t port, std::uint8_t byte) {
            if (port == access.port && completes(byte))
                _ending.report({.kind = Ending::Kind::power_off, .vcpu = access.vcpu});
        });
}

bool ShutdownPort::completes(std::uint8_t byte) {
    constexpr std::string_view text = "Shutdown";
    const std::lock_guard lock{_mutex};
    if (byte != static_cast<std::uint8_t>(text[_matched]))
        _matched = 0; // its first letter is nowhere else in it
    if (byte == static_cast<std::uint8_t>(text[_matched]))
        ++_matched;
    if (_matched < text.size())
        return false;
    _matched = 0;
    return true;
}

} // namespace nestbed::device
