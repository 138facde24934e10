#include "core/device/test_device.hpp"

#include <algorithm>
#include <utility>

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

namespace {

constexpr std::uint64_t page_mask = ~0xfffULL;

} // namespace

TestDevice::TestDevice(Init init) : _init{std::move(init)}, _scratch(4), _window(window_bytes) {}

void TestDevice::attach_to(PortBus& ports, MmioBus& memory) {
    ports.attach(scratch, scratch_bytes + 4 - scratch, *this);
    ports.attach(first_line, lines, *this);
    memory.attach(window, window_bytes, *this);
}

void TestDevice::access(const PortAccess& access) {
    if (access.port >= first_line)
        set_line(access);
    else if (access.port >= flush && access.port < scratch_bytes)
        flush_pages(access);
    else
        access_scratch(access);
}

void TestDevice::access(const MmioAccess& access) {
    const auto offset = access.address - window;
    if (offset >= window_bytes || access.data.size() > window_bytes - offset)
        return;
    const std::lock_guard lock{_mutex};
    const auto bytes = std::span{_window}.subspan(offset, access.data.size());
    if (access.write)
        std::ranges::copy(access.data, bytes.begin());
    else
        std::ranges::copy(bytes, access.data.begin());
}

void TestDevice::access_scratch(const PortAccess& access) {
    const std::uint32_t first = access.port < scratch_bytes ? scratch : scratch_bytes;
    const std::lock_guard lock{_mutex};
    byte_by_byte(
        access,
        [&](std::uint32_t port) {
            return port - first < _scratch.size() ? std::to_integer<std::uint8_t>(_scratch[port - first])
                                                  : std::uint8_t{0xff};
        },
        [&](std::uint32_t port, std::uint8_t value) {
            if (port - first < _scratch.size())
                _scratch[port - first] = std::byte{value};
        });
}

// No lock: each line has its own.
void TestDevice::set_line(const PortAccess& access) {
    byte_by_byte(
        access, [](std::uint32_t) { return std::uint8_t{0xff}; },
        [&](std::uint32_t port, std::uint8_t value) {
            const auto number = port - first_line;
            if (number < _init.interrupt_lines.size() && _init.interrupt_lines[number] != nullptr)
                _init.interrupt_lines[number]->set(value != 0);
        });
}

void TestDevice::flush_pages(const PortAccess& access) const {
    if (!access.out) {
        std::ranges::fill(access.data, std::byte{0xff});
        return;
    }
    each_repetition(access, [&](std::span<const std::byte> bytes) {
        if (access.port == flush && bytes.size() == 4 && _init.flush_page)
            _init.flush_page(number_in(bytes) & page_mask);
    });
}

} // namespace nestbed::device
