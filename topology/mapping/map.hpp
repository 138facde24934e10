// The mapper that a plan uses.
#pragma once

#include "topology/mapping/problem.hpp"

namespace nestbed::topology::mapping {

// The optimum where that can be proven quickly, else the hierarchical method's. Deterministic, and fair in
// the sense of is_fair().
[[nodiscard]] Mapping map(const Problem& problem);

} // namespace nestbed::topology::mapping
