// A guest's IN, OUT, load and store in one line each, and what devices are connected to.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/device/interrupt_line.hpp"
#include "core/device/mmio_bus.hpp"
#include "core/device/port_bus.hpp"
#include "core/device/register_bytes.hpp"

namespace nestbed::device::test {

inline std::uint32_t in(PortDevice& device, std::uint16_t port, std::uint8_t width = 1) {
    std::array<std::byte, 4> data{};
    const auto bytes = std::span{data}.first(width);
    device.access({.vcpu = 0, .port = port, .out = false, .width = width, .data = bytes});
    return static_cast<std::uint32_t>(number_in(bytes));
}

inline void out(PortDevice& device, std::uint16_t port, std::uint32_t value, std::uint8_t width = 1) {
    std::array<std::byte, 4> data{};
    const auto bytes = std::span{data}.first(width);
    put_number(bytes, value);
    device.access({.vcpu = 0, .port = port, .out = true, .width = width, .data = bytes});
}

// REP OUTSB, as one exit.
inline void out_string(PortDevice& device, std::uint16_t port, std::string_view text) {
    std::vector<std::byte> data;
    for (const char c : text)
        data.push_back(static_cast<std::byte>(c));
    device.access({.vcpu = 0, .port = port, .out = true, .width = 1, .data = data});
}

inline std::uint64_t load(MmioDevice& device, std::uint64_t address, std::uint8_t width = 4) {
    std::array<std::byte, 8> data;
    data.fill(std::byte{0xaa});
    const auto bytes = std::span{data}.first(width);
    device.access({.vcpu = 0, .address = address, .write = false, .width = width, .data = bytes});
    return number_in(bytes);
}

inline void store(MmioDevice& device, std::uint64_t address, std::uint64_t value, std::uint8_t width = 4) {
    std::array<std::byte, 8> data{};
    const auto bytes = std::span{data}.first(width);
    put_number(bytes, value);
    device.access({.vcpu = 0, .address = address, .write = true, .width = width, .data = bytes});
}

// Remembers each level that it was set to.
struct RecordedLine final : InterruptLine {
    void set(bool level) override { levels.push_back(level); }
    [[nodiscard]] bool asserted() const { return !levels.empty() && levels.back(); }

    std::vector<bool> levels;
};

struct RecordedMessages final : MessageSink {
    void send(const Message& message) override { sent.push_back(message); }

    std::vector<Message> sent;
};

} // namespace nestbed::device::test
