#include "core/device/pci_host.hpp"

#include <algorithm>

#include "core/device/register_bytes.hpp"

namespace nestbed::device {

namespace {

// The address register: enable, bus, device, function, register. Bits 30:24 are zero. Bits 1:0 would be zero
// on hardware, but stay and count here, as in QEMU: kvm-unit-tests put the offset of a byte or word there and
// access the first data port.
constexpr std::uint32_t enable = 1U << 31;
constexpr std::uint32_t address_bits = 0x80ff'ffff;

} // namespace

void PciHost::attach_to(PortBus& bus) {
    bus.attach(address_port, 1, *this); // narrower accesses to the other three are nobody's
    bus.attach(data_port, 4, *this);
}

void PciHost::access(const PortAccess& access) {
    const std::lock_guard lock{_mutex};
    if (access.port >= data_port)
        access_data(access);
    else
        access_address(access);
}

// Only a 32-bit access to its first port is one to the address register; all others pass by.
void PciHost::access_address(const PortAccess& access) {
    if (access.port != address_port || access.width != 4) {
        if (!access.out)
            std::ranges::fill(access.data, std::byte{0xff});
        return;
    }
    each_repetition(access, [this, &access](std::span<std::byte> bytes) {
        if (access.out)
            _address = static_cast<std::uint32_t>(number_in(bytes)) & address_bits;
        else
            put_number(bytes, _address);
    });
}

// Bytes, words and the double word of the selected register. What reaches over its end reads all ones there.
void PciHost::access_data(const PortAccess& access) {
    auto* const function = selected();
    const unsigned number = _address >> 2 & 0x3f;
    const std::size_t first = (_address & 3) | (access.port & 3U);
    each_repetition(access, [&](std::span<std::byte> bytes) {
        const auto inside = bytes.first(std::min(bytes.size(), 4 - first));
        if (!access.out) {
            std::ranges::fill(bytes, std::byte{0xff});
            if (function != nullptr)
                put_number(inside, function->read(number) >> 8 * first);
        } else if (function != nullptr) {
            // In one piece, since a base address register wants to be asked for its size in one.
            const auto ones = (1ULL << 8 * inside.size()) - 1;
            function->write(number, static_cast<std::uint32_t>(number_in(inside) << 8 * first),
                            static_cast<std::uint32_t>(ones << 8 * first));
        }
    });
}

PciConfig* PciHost::selected() {
    const bool bus_0 = (_address >> 16 & 0xff) == 0;
    const bool function_0 = (_address >> 8 & 7) == 0;
    auto& function = _functions[_address >> 11 & 0x1f];
    return (_address & enable) != 0 && bus_0 && function_0 && function ? &*function : nullptr;
}

PciConfig pci_host_bridge() {
    // Red Hat's ids for a generic PCI Express host bridge, for which no system has a quirk.
    return PciConfig{{.vendor = 0x1b36,
                      .device = 0x0008,
                      .class_code = 0x06'00'00,
                      .subsystem_vendor = 0x1af4,
                      .subsystem = 0x1100}};
}

} // namespace nestbed::device
