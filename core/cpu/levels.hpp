// The level leaves 0xB, 0x1F and 0x80000026: one subleaf per level of the topology.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cpu/table.hpp"
#include "topology/virtual_topology.hpp"

namespace nestbed::core::cpu {

struct Level {
    std::uint32_t type = 0;       // ECX 15:8; its meaning differs between the leaves
    unsigned shift = 0;           // EAX 4:0; the id shifted right by it names the next level up
    std::uint64_t processors = 0; // EBX 15:0; vCPUs in one instance of this level
};

// Threads and cores. The leaf has no dies, so its core level ends where the socket begins (SDM volume 2,
// CPUID leaf 0BH; APM volume 3, appendix E, Fn0000_000B).
[[nodiscard]] std::vector<Level> levels_of_topology(const topology::Shape& shape);

// Threads, cores, and dies where a socket has several (SDM volume 2, CPUID leaf 1FH).
[[nodiscard]] std::vector<Level> levels_of_topology_v2(const topology::Shape& shape);

// Cores, complexes, dies, sockets, always all four as on hardware. A level's shift names that level itself:
// the core level's shift is the width of the thread field. A die has one complex (APM volume 3, appendix E,
// Fn8000_0026).
[[nodiscard]] std::vector<Level> levels_of_amd_topology(const topology::Shape& shape);

// The subleaves, then a terminating one. EDX, the x2APIC id, is left 0 here.
[[nodiscard]] Table level_entries(std::uint32_t leaf, const std::vector<Level>& levels);

} // namespace nestbed::core::cpu
