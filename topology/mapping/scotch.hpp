// Scotch's answer to the same problem, to compare with. No plan depends on it.
#pragma once

#include "base/error.hpp"
#include "topology/mapping/problem.hpp"

namespace nestbed::topology::mapping {

// False where the library was not there when this was built.
[[nodiscard]] bool has_scotch();

// Scotch's static mapping onto a tree of nodes, packages, caches, cores and PUs, with leaves left out where
// the host has no PU; vCPUs that it puts on a full PU go to the nearest with room. Its random numbers follow
// from `seed` alone. Errors: host_lacks without the library, and for hosts whose nodes are not equally far.
[[nodiscard]] Result<Mapping> map_with_scotch(const Problem& problem, std::uint32_t seed = 1);

} // namespace nestbed::topology::mapping
