#include "core/device/pci_test_device.hpp"

#include <array>
#include <string_view>

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

namespace {

// A test's header, as it is read at the start of either region: which test, how wide its accesses are,
// where they go and what they write, how many have come, and its name. Writing the first byte starts a
// test.
constexpr std::uint32_t start_offset = 0;
constexpr std::uint32_t width_offset = 1;
constexpr std::uint32_t target_offset = 4;
constexpr std::uint32_t data_offset = 8;
constexpr std::uint32_t count_offset = 12;
constexpr std::uint32_t name_offset = 16;

// Behind the header and in the second half of each region.
constexpr std::uint32_t memory_target = 2048;
constexpr std::uint32_t port_target = 128;
constexpr std::uint8_t expected_data = 0xfa;
constexpr std::uint8_t access_width = 1;

constexpr std::uint8_t byte_of(std::uint32_t value, std::uint32_t number) {
    return static_cast<std::uint8_t>(value >> 8 * number);
}

} // namespace

void PciTestDevice::attach_to(PortBus& bus, MmioBus& memory) {
    bus.attach(_init.port, ports, *this);
    memory.attach(_init.address, memory_bytes, *this);
}

PciConfig PciTestDevice::config() const {
    PciConfig config{{.vendor = 0x1b36,
                      .device = 0x0005,
                      .class_code = 0x00'ff'00, // QEMU's PCI_CLASS_OTHERS
                      .subsystem_vendor = 0x1af4,
                      .subsystem = 0x1100}};
    config.set_memory_bar(0, _init.address, memory_bytes);
    config.set_io_bar(1, _init.port, ports);
    return config;
}

void PciTestDevice::access(const PortAccess& access) {
    byte_by_byte(
        access, [this](std::uint32_t port) { return read(port - _init.port); },
        [this](std::uint32_t port, std::uint8_t value) { write(Test::port, port - _init.port, value); });
}

void PciTestDevice::access(const MmioAccess& access) {
    auto offset = static_cast<std::uint32_t>(access.address - _init.address);
    for (auto& byte : access.data) {
        if (access.write)
            write(Test::memory, offset, std::to_integer<std::uint8_t>(byte));
        else
            byte = std::byte{read(offset)};
        ++offset;
    }
}

std::uint8_t PciTestDevice::read(std::uint32_t offset) const {
    const Test test = _test;
    if (test == Test::none)
        return 0;
    const std::string_view name = test == Test::memory ? "mmio-no-eventfd" : "portio-no-eventfd";
    if (offset >= name_offset)
        return offset - name_offset < name.size() ? static_cast<std::uint8_t>(name[offset - name_offset]) : 0;
    if (offset >= count_offset)
        return byte_of(_count, offset - count_offset);
    if (offset >= data_offset)
        return byte_of(expected_data, offset - data_offset);
    if (offset >= target_offset)
        return byte_of(test == Test::memory ? memory_target : port_target, offset - target_offset);
    return offset == width_offset ? access_width : 0;
}

void PciTestDevice::write(Test kind, std::uint32_t offset, std::uint8_t value) {
    if (offset == start_offset) {
        _count = 0;
        _test = value == 0 ? kind : Test::none;
    } else if (_test == kind && value == expected_data &&
               offset == (kind == Test::memory ? memory_target : port_target)) {
        ++_count;
    }
}

} // namespace nestbed::device
