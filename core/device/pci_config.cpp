#include "core/device/pci_config.hpp"

namespace nestbed::device {

namespace {

// Numbers of 32-bit registers in a type 0 header.
constexpr unsigned id_register = 0;
constexpr unsigned command_register = 1;
constexpr unsigned class_register = 2;
constexpr unsigned first_bar_register = 4;
constexpr unsigned subsystem_register = 11;
constexpr unsigned interrupt_register = 15;

constexpr std::uint32_t io_bar = 1;
constexpr std::uint32_t io_enable = 1;
constexpr std::uint32_t memory_enable = 2;

} // namespace

PciConfig::PciConfig(const Identity& identity) {
    _values[id_register] = identity.vendor | std::uint32_t{identity.device} << 16;
    _values[class_register] = identity.class_code << 8;
    _values[subsystem_register] = identity.subsystem_vendor | std::uint32_t{identity.subsystem} << 16;
    // I/O, memory, bus master, parity, SERR, interrupt disable. They have no effect: there is neither DMA nor
    // an interrupt, and the base addresses stay decoded.
    _writable[command_register] = 0x0547;
    _writable[interrupt_register] = 0xff; // the line, firmware's note to the operating system
}

void PciConfig::set_memory_bar(unsigned number, std::uint32_t address, std::uint32_t bytes) {
    _bars.at(number) = {.value = address, .size_mask = ~(bytes - 1)};
    _values[command_register] |= memory_enable;
}

void PciConfig::set_io_bar(unsigned number, std::uint16_t port, std::uint16_t bytes) {
    _bars.at(number) = {.value = port | io_bar, .size_mask = ~(std::uint32_t{bytes} - 1) | io_bar};
    _values[command_register] |= io_enable;
}

std::uint32_t PciConfig::read(unsigned number) const {
    const unsigned bar = number - first_bar_register;
    if (number >= first_bar_register && bar < bars)
        return _bars[bar].sizing ? _bars[bar].size_mask : _bars[bar].value;
    return _values[number];
}

void PciConfig::write(unsigned number, std::uint32_t value, std::uint32_t mask) {
    const unsigned bar = number - first_bar_register;
    if (number >= first_bar_register && bar < bars) {
        _bars[bar].sizing = (value & mask) == ~0U;
        return;
    }
    const auto changed = mask & _writable[number];
    _values[number] = (_values[number] & ~changed) | (value & changed);
}

} // namespace nestbed::device
