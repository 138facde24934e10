// The topology as a vCPU sees it from inside, judged as a strict operating system would.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/cpu/table.hpp"
#include "topology/virtual_topology.hpp"

namespace nestbed::core::cpu {

// What CPUID left in the registers, executed with EAX = leaf and ECX = subleaf.
struct SeenCpuid {
    std::uint32_t leaf = 0;
    std::uint32_t subleaf = 0;
    std::uint32_t eax = 0;
    std::uint32_t ebx = 0;
    std::uint32_t ecx = 0;
    std::uint32_t edx = 0;
};

struct LeafId {
    std::uint32_t leaf = 0;
    std::uint32_t subleaf = 0;

    bool operator==(const LeafId&) const = default;
};

// The leaves that topology_complaints() judges, for a guest with this table: leaf 0, 0x80000000 and each
// subleaf of the topology leaves with the terminating ones, in ascending order. Under 25 pairs.
[[nodiscard]] std::vector<LeafId> leaves_to_dump(const Table& guest_cpuid);

// One line for each thing that is wrong, empty where all is right: `seen` against the shape that was asked
// for, `x2apic_id_msr` (MSR 0x802, read on that vCPU) against all of them. A leaf that was not dumped is a
// complaint.
[[nodiscard]] std::vector<std::string> topology_complaints(const topology::Shape& shape, std::uint32_t vcpu,
                                                           std::span<const SeenCpuid> seen,
                                                           std::uint32_t x2apic_id_msr);

} // namespace nestbed::core::cpu
