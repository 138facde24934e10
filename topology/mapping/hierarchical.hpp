// The mapper for large cases: vCPUs divided top-down over the host's units, then improved by moves and swaps.
#pragma once

#include "topology/mapping/problem.hpp"

namespace nestbed::topology::mapping {

// Deterministic: its work is bounded by counts, never by time. 1024 vCPUs with all 2^19 pairs on 4096 PUs
// take about a second.
[[nodiscard]] Mapping map_hierarchically(const Problem& problem);

} // namespace nestbed::topology::mapping
