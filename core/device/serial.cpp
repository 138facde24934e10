#include "core/device/serial.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

Serial::Serial(Init init) : _init{std::move(init)} {
    _output.reserve(output_bytes);
}

void Serial::access(const PortAccess& access) {
    const std::lock_guard lock{_mutex};
    // Half of all accesses: a kernel or a test that prints, a byte or a string at a time.
    if (access.out && access.port == _init.base && access.width == 1 && _uart.transmits()) {
        transmit(access.data);
        return;
    }
    byte_by_byte(
        access,
        [this](std::uint32_t port) {
            const auto number = port - _init.base;
            return number < ports ? _uart.read(number) : std::uint8_t{0xff};
        },
        [this](std::uint32_t port, std::uint8_t value) {
            const auto number = port - _init.base;
            if (number >= ports)
                return;
            if (number == 0 && _uart.transmits()) {
                const std::byte byte{value};
                transmit({&byte, 1});
            } else {
                _uart.write(number, value);
            }
        });
    refill();
    drive_interrupt();
}

std::size_t Serial::feed(std::span<const std::byte> bytes) {
    // Held for long while whoever takes the output has no room; the control thread must not wait for that.
    const std::unique_lock lock{_mutex, std::try_to_lock};
    if (!lock)
        return 0;
    refill();
    const auto taken = std::min(bytes.size(), input_bytes - _input.size());
    _input.insert(_input.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
    _input_refused = taken < bytes.size();
    refill();
    drive_interrupt();
    return taken;
}

void Serial::flush() {
    const std::lock_guard lock{_mutex};
    hand_over();
}

// The interrupt falls while the holding register is full and rises when it is empty again: an
// edge-triggered I/O APIC pin wants to see both.
void Serial::transmit(std::span<const std::byte> bytes) {
    if (bytes.empty())
        return;
    _uart.begin_transmission();
    drive_interrupt();
    keep(bytes);
    _uart.end_transmission();
    drive_interrupt();
}

void Serial::keep(std::span<const std::byte> bytes) {
    const bool line_ends = std::ranges::find(bytes, std::byte{'\n'}) != bytes.end();
    while (!bytes.empty()) {
        const auto part = bytes.first(std::min(bytes.size(), output_bytes - _output.size()));
        _output.insert(_output.end(), part.begin(), part.end());
        bytes = bytes.subspan(part.size());
        if (_output.size() == output_bytes)
            hand_over();
    }
    if (line_ends)
        hand_over();
}

void Serial::hand_over() {
    if (_output.empty())
        return;
    if (_init.output)
        _init.output(_output);
    _output.clear();
}

void Serial::refill() {
    while (!_input.empty() && _uart.has_room()) {
        _uart.receive(std::to_integer<std::uint8_t>(_input.front()));
        _input.pop_front();
    }
    if (_input_refused && _input.size() <= input_bytes / 2) {
        _input_refused = false;
        if (_init.input_wanted)
            _init.input_wanted();
    }
}

void Serial::drive_interrupt() {
    const bool interrupts = _uart.interrupts();
    if (interrupts == _interrupt_asserted)
        return;
    _interrupt_asserted = interrupts;
    if (_init.interrupt != nullptr)
        _init.interrupt->set(interrupts);
}

} // namespace nestbed::device
