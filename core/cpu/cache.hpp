// The caches that the guest is shown: the host's geometry, the guest's sharing.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cpu/table.hpp"
#include "topology/virtual_topology.hpp"

namespace nestbed::core::cpu {

// One cache, in the fields that leaf 4 and leaf 0x8000001D have in common (SDM volume 2, CPUID leaf 04H; APM
// volume 3, appendix E, Fn8000_001D).
struct Cache {
    std::uint32_t type = 0;  // 1 data, 2 instruction, 3 unified
    std::uint32_t level = 0; // from 1
    bool fully_associative = false;
    std::uint32_t ebx = 0; // line size, partitions and ways, each less 1
    std::uint32_t ecx = 0; // sets less 1
    std::uint32_t edx = 0; // inclusiveness, write-back invalidate, indexing

    bool operator==(const Cache&) const = default;
};

// The host's caches from leaf 4, or 0x8000001D for the AMD family. Where it tells none, or one that cannot be
// (a type, level or line size that does not exist, the same cache twice), the whole list is not believed and
// a plain one stands in: 32 KiB L1 data and instruction, 1 MiB L2, 32 MiB L3, lines of 64 bytes.
[[nodiscard]] std::vector<Cache> caches_of(const Table& supported, Vendor vendor);

// How many low bits of an APIC id differ among the vCPUs that share the cache: levels 1 and 2 belong to a
// core, everything above to a die, which is the socket where a socket has one die.
[[nodiscard]] unsigned sharing_bits(std::uint32_t level, const topology::FieldWidths& widths);

// The subleaves of leaf 4 or 0x8000001D, the terminating one included.
[[nodiscard]] Table cache_entries(const std::vector<Cache>& caches, Vendor vendor,
                                  const topology::FieldWidths& widths);

} // namespace nestbed::core::cpu
