// Which memory each vCPU works on. Values only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/boot/placement.hpp"

namespace nestbed::stress {

struct MemoryPart {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0; // 0: none
    std::size_t node = 0;    // index
};

struct MemoryParts {
    MemoryPart local;
    MemoryPart remote; // of another node, another one for each vCPU of a node; none where there is one node
};

// For each vCPU, by the index of its node, equal parts: a power of two of bytes, `most` at most, all in the
// last halves of the nodes' free memory, whose first halves stay for tables. Empty where a part would be
// below a page.
[[nodiscard]] std::vector<MemoryParts> divide_memory(std::span<const boot::Extent> free_of_node,
                                                     std::span<const std::size_t> node_of_vcpu,
                                                     std::uint64_t most);

} // namespace nestbed::stress
