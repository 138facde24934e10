// From hwloc's tree to the plain values of a Host.
#pragma once

#include <hwloc.h>

#include "topology/host.hpp"

namespace nestbed::topology {

// Fills pus, nodes, distances and the counts. `memory_is_known` false: sizes in the tree are ignored.
[[nodiscard]] Host walk(hwloc_topology_t topology, bool memory_is_known);

} // namespace nestbed::topology
