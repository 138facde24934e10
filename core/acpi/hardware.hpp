// What the tables tell of, besides vCPUs and memory. The machine fills it with what it really has.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.hpp"

namespace nestbed::acpi {

struct Ioapic {
    std::uint8_t id = 0;
    std::uint32_t address = 0xfec0'0000;
    std::uint32_t gsi_base = 0;
    std::uint32_t pins = 24;
};

// A 16550 on eight I/O ports.
struct Serial {
    std::uint16_t port = 0x3f8;
    std::uint32_t gsi = 4;
};

// One virtio-mmio window, edge-triggered; below 4 GiB.
struct VirtioMmio {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    std::uint32_t gsi = 0;
};

struct Hardware {
    Ioapic ioapic;
    std::vector<Serial> serial;
    std::vector<VirtioMmio> virtio;
    // Registers of one byte, each with a port of its own.
    std::uint16_t sleep_control_port = 0;
    std::uint16_t sleep_status_port = 0;
    std::uint16_t reset_port = 0;
    std::uint8_t reset_value = 0;
};

// What the guest writes to the sleep control register to be switched off: SLP_EN with the type that \_S5 has
// for it (ACPI 6.3, 4.8.3.7 "Sleep Control and Status Registers": the type in bits 4:2, SLP_EN in bit 5).
inline constexpr std::uint8_t soft_off_type = 5;
inline constexpr std::uint8_t sleep_enable = 1 << 5;

[[nodiscard]] constexpr bool is_soft_off(std::uint8_t sleep_control) {
    return (sleep_control & (sleep_enable | 7 << 2)) == (sleep_enable | soft_off_type << 2);
}

// Errors: bad_input for a register without a port of its own, for a GSI that is no pin of the I/O APIC or
// that two devices have (edges of two devices on one pin get lost), for windows that are empty, pass 4 GiB or
// overlap, and for more windows than the DSDT has names for.
[[nodiscard]] Status check(const Hardware& hardware);

} // namespace nestbed::acpi
