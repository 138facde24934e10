// Where the devices of a PC are in a guest's address spaces, and on which pins of the I/O APIC.
#pragma once

#include <cstdint>

#include "core/boot/ram.hpp"
#include "core/device/ioapic.hpp"

namespace nestbed::pc {

inline constexpr std::uint32_t com1_gsi = 4; // as on every PC
inline constexpr std::uint32_t com2_gsi = 3;
inline constexpr std::uint16_t com2_port = 0x2f8;

// In the hole below 4 GiB; the pins from this one on are free on a PC without ISA cards.
inline constexpr std::uint64_t virtio_base = boot::hole_start + 0x1000'0000;
inline constexpr std::uint64_t virtio_bytes = 0x1000;
inline constexpr std::uint32_t first_virtio_gsi = 5;
inline constexpr std::size_t most_virtio_devices = device::Ioapic::pins - first_virtio_gsi;

} // namespace nestbed::pc
