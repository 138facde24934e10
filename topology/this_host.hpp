// What only the running kernel can say about a node: how much is free, now.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/host.hpp"

namespace nestbed::topology {

struct NodeState {
    std::uint64_t memory_bytes = 0; // 0: not told
    // What the kernel can give: free pages, the file cache and half of the reclaimable slabs.
    std::uint64_t free_bytes = 0;
    std::vector<HugePagePool> huge_pages; // ascending by page size
};

// From /sys/devices/system/node/nodeN. For the only node of a host the totals of /proc/meminfo are used:
// they are all that a kernel without NUMA has, and in some virtual machines a node's own count falls short.
[[nodiscard]] NodeState read_node_state(std::uint32_t os_index, bool is_only_node);

// os indexes of the PUs that the scheduler leaves alone (/sys/devices/system/cpu/isolated), ascending.
[[nodiscard]] std::vector<std::uint32_t> read_isolated_pus();

} // namespace nestbed::topology
