#include "stress/drivers/memory_parts.hpp"

#include <algorithm>
#include <bit>

#include "base/units.hpp"
#include "core/wire/layout.hpp"

namespace nestbed::stress {

namespace {

// The last half, in whole pages.
boot::Extent last_half(const boot::Extent& extent) {
    const auto begin = round_up(extent.address + extent.bytes / 2, nestbed::wire::page_bytes);
    const auto end = (extent.address + extent.bytes) / nestbed::wire::page_bytes * nestbed::wire::page_bytes;
    return {begin, end > begin ? end - begin : 0};
}

} // namespace

std::vector<MemoryParts> divide_memory(std::span<const boot::Extent> free_of_node,
                                       std::span<const std::size_t> node_of_vcpu, std::uint64_t most) {
    const auto nodes = free_of_node.size();
    std::vector<std::size_t> remote_of_vcpu;
    std::vector<std::uint64_t> users(nodes);
    std::vector<std::size_t> met(nodes); // vCPUs of each node so far
    for (const auto node : node_of_vcpu) {
        ++users[node];
        if (nodes == 1)
            continue;
        remote_of_vcpu.push_back((node + 1 + met[node]++ % (nodes - 1)) % nodes);
        ++users[remote_of_vcpu.back()];
    }
    std::vector<boot::Extent> left;
    auto bytes = most;
    for (std::size_t node = 0; node < nodes; ++node) {
        left.push_back(last_half(free_of_node[node]));
        if (users[node] != 0)
            bytes = std::min(bytes, left[node].bytes / users[node]);
    }
    bytes = std::bit_floor(bytes);
    if (bytes < nestbed::wire::page_bytes)
        return {};
    const auto take = [&](std::size_t node) {
        const MemoryPart part{left[node].address, bytes, node};
        left[node].address += bytes;
        return part;
    };
    std::vector<MemoryParts> parts;
    for (std::size_t vcpu = 0; vcpu < node_of_vcpu.size(); ++vcpu)
        parts.push_back({take(node_of_vcpu[vcpu]), nodes > 1 ? take(remote_of_vcpu[vcpu]) : MemoryPart{}});
    return parts;
}

} // namespace nestbed::stress
