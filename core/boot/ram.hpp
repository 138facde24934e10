// Where a guest's RAM lies: one or two ranges per virtual node, around the hole below 4 GiB.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "topology/plan.hpp"

namespace nestbed::boot {

// The APICs, the reset vector and the pages of KVM_SET_TSS_ADDR live below 4 GiB; RAM leaves that GiB free.
inline constexpr std::uint64_t hole_start = 0xc000'0000;
inline constexpr std::uint64_t hole_end = 0x1'0000'0000;

struct RamRange {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    std::uint32_t virtual_node = 0;

    [[nodiscard]] std::uint64_t end() const { return address + bytes; }
    bool operator==(const RamRange&) const = default;
};

// Ascending, without overlap. Nodes of no memory have no range.
[[nodiscard]] std::vector<RamRange> ram_ranges(std::span<const topology::NodePlacement> nodes);

} // namespace nestbed::boot
