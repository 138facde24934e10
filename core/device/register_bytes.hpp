// The bytes of an access as numbers, and wide accesses to devices that are eight bits wide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/device/port_bus.hpp"

namespace nestbed::device {

// Little-endian; bytes from the ninth on are not looked at.
constexpr std::uint64_t number_in(std::span<const std::byte> bytes) {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < bytes.size() && i < 8; ++i)
        number |= std::to_integer<std::uint64_t>(bytes[i]) << 8 * i;
    return number;
}

// Little-endian; bytes from the ninth on become zero.
constexpr void put_number(std::span<std::byte> bytes, std::uint64_t number) {
    for (auto& byte : bytes) {
        byte = static_cast<std::byte>(number & 0xff);
        number >>= 8;
    }
}

// Calls `each(span)` for every repetition of an access, with the `width` bytes of that one.
template<typename Each>
void each_repetition(const PortAccess& access, Each&& each) {
    const std::size_t width = access.width;
    for (auto rest = access.data; width > 0 && rest.size() >= width; rest = rest.subspan(width))
        each(rest.first(width));
}

// A wide access reaches an eight-bit device as accesses to consecutive ports, lowest first: `read(port)`
// gives a byte, `write(port, byte)` takes one. Ports may be beyond the device's last and beyond 0xffff.
template<typename Read, typename Write>
void byte_by_byte(const PortAccess& access, Read&& read, Write&& write) {
    each_repetition(access, [&](std::span<std::byte> bytes) {
        std::uint32_t port = access.port;
        for (auto& byte : bytes) {
            if (access.out)
                write(port, std::to_integer<std::uint8_t>(byte));
            else
                byte = std::byte{read(port)};
            ++port;
        }
    });
}

} // namespace nestbed::device
