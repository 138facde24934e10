// Where the host puts what the payload needs: page tables, tables, the ring, scratch memory and one block per
// vCPU, each block on its vCPU's own virtual node.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "core/boot/ram.hpp"
#include "topology/plan.hpp"

namespace nestbed::boot {

struct Extent {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
};

struct GuestPlacement {
    Extent page_tables;
    Extent percpu_table; // 8 bytes per APIC id, from 0 to the largest
    Extent vcpu_blocks;  // 8 bytes per vCPU
    Extent header;
    Extent ring;
    Extent scratch; // the largest stretch of RAM left
    // The largest stretch left of each virtual node, in the order of the plan; `scratch` is one of them.
    std::vector<Extent> node_scratch;
    std::vector<std::uint64_t> blocks; // GPA of each vCPU's block
};

// `image_end` is the first address past the payload. Errors: bad_input when the memory is too small, saying
// what has no room on which virtual node and how much memory is enough, or when it is so large that its page
// tables do not fit below 4 GiB.
[[nodiscard]] Result<GuestPlacement> place_guest(const topology::Plan& plan, std::span<const RamRange> ram,
                                                 std::uint64_t image_end, bool gib_pages);

// Guest memory that `vcpus` vCPUs need for every check, in bytes: what is used when nobody says.
[[nodiscard]] std::uint64_t default_memory_bytes(std::uint32_t vcpus);

} // namespace nestbed::boot
