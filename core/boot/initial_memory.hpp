// All that a guest finds in its memory when it starts, as a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/boot/payload.hpp"
#include "core/boot/placement.hpp"
#include "topology/plan.hpp"

namespace nestbed::boot {

struct Bytes {
    std::uint64_t address = 0;       // guest-physical
    std::span<const std::byte> data; // of the payload, or of InitialMemory::made
};

struct InitialMemory {
    std::vector<Bytes> pieces;
    std::vector<std::vector<std::byte>> made;
    std::uint64_t cr3 = 0; // for the BSP, which starts at Payload::entry64 in 64-bit mode

    InitialMemory() = default;
    InitialMemory(InitialMemory&&) = default;
    InitialMemory& operator=(InitialMemory&&) = default;
    // A copy's pieces would view the original.
    InitialMemory(const InitialMemory&) = delete;
    InitialMemory& operator=(const InitialMemory&) = delete;
    ~InitialMemory() = default;
};

// Views `payload`, whose segments are not small. Payload, page tables for [0, mapped_end), the tables of APIC
// ids and vCPUs, descriptor tables and mailbox of each vCPU, header and boot block. `tsc_khz` is the guest's.
[[nodiscard]] InitialMemory initial_memory(const Payload& payload, const topology::Plan& plan,
                                           const GuestPlacement& placement, std::uint64_t mapped_end,
                                           bool gib_pages, std::uint64_t tsc_khz);

} // namespace nestbed::boot
