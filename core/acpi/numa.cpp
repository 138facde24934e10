#include "core/acpi/numa.hpp"

#include <algorithm>

#include "core/acpi/madt.hpp"
#include "core/acpi/table.hpp"

namespace nestbed::acpi {

namespace {

// From revision 2 on the proximity domain in the short structure has 32 bits; before, Linux takes 8 of them.
constexpr std::uint8_t srat_revision = 3;
constexpr std::uint8_t slit_revision = 1;
constexpr std::uint32_t enabled = 1;

constexpr std::uint32_t local_distance = 10;
constexpr std::uint32_t assumed_distance = 20;
constexpr std::uint32_t farthest_distance = 254;

Bytes local_apic_affinity(const topology::VcpuPlacement& vcpu) {
    const auto domain = vcpu.virtual_node;
    return Writer{}
        .u8(0)
        .u8(16)
        .u8(static_cast<std::uint8_t>(domain))
        .u8(static_cast<std::uint8_t>(vcpu.apic_id))
        .u32(enabled)
        .u8(0) // local SAPIC EID
        .u8(static_cast<std::uint8_t>(domain >> 8))
        .u16(static_cast<std::uint16_t>(domain >> 16))
        .u32(0) // clock domain
        .take();
}

Bytes local_x2apic_affinity(const topology::VcpuPlacement& vcpu) {
    return Writer{}
        .u8(2)
        .u8(24)
        .u16(0)
        .u32(vcpu.virtual_node)
        .u32(vcpu.apic_id)
        .u32(enabled)
        .u32(0) // clock domain
        .u32(0)
        .take();
}

Bytes memory_affinity(const boot::RamRange& range) {
    return Writer{}
        .u8(1)
        .u8(40)
        .u32(range.virtual_node)
        .u16(0)
        .u64(range.address)
        .u64(range.bytes)
        .u32(0)
        .u32(enabled) // neither hot-pluggable nor non-volatile
        .u64(0)
        .take();
}

} // namespace

Bytes srat(const topology::Plan& plan, std::span<const boot::RamRange> ram) {
    // Linux numbers its nodes in the order in which it first meets their domains, processors before memory.
    // The plan numbers its nodes in the order of its vCPUs, so the guest's node N is virtual node N.
    Writer body;
    body.u32(1).u64(0); // reserved
    for (const auto& vcpu : plan.vcpus)
        body.bytes(vcpu.apic_id <= max_short_apic_id ? local_apic_affinity(vcpu)
                                                     : local_x2apic_affinity(vcpu));
    for (const auto& range : ram)
        body.bytes(memory_affinity(range));
    return table("SRAT", srat_revision, body.take());
}

std::vector<std::uint8_t> slit_distances(const topology::Plan& plan) {
    const auto count = plan.nodes.size();
    std::vector<std::uint8_t> distances;
    distances.reserve(count * count);
    const auto distance = [&](std::size_t from, std::size_t to) {
        if (from == to)
            return local_distance;
        if (from >= plan.distances.size() || to >= plan.distances[from].size())
            return assumed_distance;
        return std::clamp(plan.distances[from][to], local_distance + 1, farthest_distance);
    };
    for (std::size_t from = 0; from < count; ++from)
        for (std::size_t to = 0; to < count; ++to)
            distances.push_back(static_cast<std::uint8_t>(distance(from, to)));
    return distances;
}

Bytes slit(const topology::Plan& plan) {
    Writer body;
    body.u64(plan.nodes.size());
    for (const auto distance : slit_distances(plan))
        body.u8(distance);
    return table("SLIT", slit_revision, body.take());
}

} // namespace nestbed::acpi
