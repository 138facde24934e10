#include "core/boot/ram.hpp"

#include <algorithm>

namespace nestbed::boot {

std::vector<RamRange> ram_ranges(std::span<const topology::NodePlacement> nodes) {
    std::vector<RamRange> ranges;
    std::uint64_t next = 0;
    for (const auto& node : nodes) {
        auto left = node.memory_bytes;
        while (left > 0) {
            if (next == hole_start)
                next = hole_end;
            const auto bytes = next < hole_start ? std::min(left, hole_start - next) : left;
            ranges.push_back({next, bytes, node.virtual_node});
            next += bytes;
            left -= bytes;
        }
    }
    return ranges;
}

} // namespace nestbed::boot
