// The shape that the guest is shown where the user gives none. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/plan.hpp"

namespace nestbed::topology {

// Where one vCPU ended up; enough to see what it shares with its neighbours.
struct VcpuHome {
    std::uint32_t virtual_node = 0;
    // Of the host, counted over all of it; equal for all vCPUs where nothing is pinned.
    std::uint32_t package = 0;
    std::uint32_t core = 0;
    std::uint32_t pu = 0;

    bool operator==(const VcpuHome&) const = default;
};

struct ShapeChoice {
    Shape shape;
    std::string reason;
};

// Sockets are the longest equal runs of vCPUs that stay within one host package and virtual node: a guest
// socket that straddles two nodes would claim a last-level cache across them. Threads are host siblings where
// each guest core has them whole. `homes` has one entry or more; `pinned` false: nothing is known of packages
// and cores, and sockets stay within virtual nodes only.
[[nodiscard]] ShapeChoice derive_shape(const std::vector<VcpuHome>& homes, bool pinned);

// What a given shape promises and the placement does not keep, in words; empty where all is well.
[[nodiscard]] std::vector<std::string> broken_promises(const Shape& shape, const std::vector<VcpuHome>& homes,
                                                       bool pinned);

} // namespace nestbed::topology
