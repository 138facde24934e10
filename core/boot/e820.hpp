// What a guest that brings its own kernel is told of its memory: the firmware's map of addresses.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/boot/placement.hpp"
#include "core/boot/ram.hpp"

namespace nestbed::boot {

// ACPI 6.5, table 15.1 "Address Range Types".
enum class E820Type : std::uint32_t {
    usable = 1,   // AddressRangeMemory
    reserved = 2, // AddressRangeReserved
    acpi = 3,     // AddressRangeACPI: tables, which the guest may reclaim once it has read them
    nvs = 4,      // AddressRangeNVS
    unusable = 5, // AddressRangeUnusable
};

struct E820Entry {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    E820Type type = E820Type::reserved;

    [[nodiscard]] std::uint64_t end() const { return address + bytes; }
    bool operator==(const E820Entry&) const = default;
};

// What the BIOS of a PC keeps for itself: the extended BIOS data area, the last KiB below 640 KiB, then video
// memory and ROMs up to 1 MiB.
inline constexpr std::uint64_t bios_area = 0x9fc00;
inline constexpr std::uint64_t bios_area_end = 0x10'0000;

// Ascending, without overlap, neighbours of one type joined: `ram` is usable but for the BIOS's area, which
// is reserved, and for `acpi_tables`, which are of type acpi wherever they lie. Extents end at or below 2^64
// - 1.
[[nodiscard]] std::vector<E820Entry> e820_map(std::span<const RamRange> ram,
                                              std::span<const Extent> acpi_tables);

} // namespace nestbed::boot
