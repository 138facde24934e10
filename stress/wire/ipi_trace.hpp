// The last IPIs of each vCPU, for a timeline; kept where the host asks for it. Compiles freestanding.
//
// A ring has one writer, its vCPU. The host reads it once no vCPU runs any more.
#pragma once

#include <cstdint>

namespace nestbed::stress::wire::ipi_trace {

struct Ipi {
    std::uint32_t sender; // vCPUs
    std::uint32_t receiver;
    std::uint64_t sent;  // TSC of the sender, before it wrote its ICR
    std::uint64_t taken; // TSC of the receiver, at the start of its handler
};

inline constexpr std::uint64_t most_entries = 1024;

// Followed by its IPIs.
struct alignas(64) Ring {
    std::uint64_t written; // guest: IPIs so far, the last of which are there
    std::uint64_t mask;    // host: IPIs that there is room for, a power of two, less one
};

constexpr std::uint64_t ring_bytes(std::uint64_t entries) {
    return (sizeof(Ring) + entries * sizeof(Ipi) + 63) / 64 * 64;
}

} // namespace nestbed::stress::wire::ipi_trace
