// The usable part of a host as a tree of units: clusters of near nodes, nodes, packages, caches, cores, PUs.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/mapping/costs.hpp"

namespace nestbed::topology::mapping {

struct Unit {
    std::vector<std::uint32_t> pus; // positions in usable.pus; the only one where there are no children
    std::vector<Unit> children;     // two or more, or none
};

// Levels with one member are left out. Nodes are taken together where they are nearer to each other than to
// the rest.
[[nodiscard]] Unit unit_tree(const Costs& costs);

} // namespace nestbed::topology::mapping
