// vCPUs divided over a tree of units from the top: each cut in two where the least traffic crosses.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/mapping/problem.hpp"
#include "topology/mapping/unit_tree.hpp"
#include "topology/random_numbers.hpp"

namespace nestbed::topology::mapping {

enum class Filling {
    tight, // all into one half of the units where they fit
    loose, // wherever the cut is least
};

// By vCPU: a PU. Fair in the sense of is_fair().
[[nodiscard]] std::vector<std::uint32_t> divide(const Problem& problem, const Unit& tree, Filling filling,
                                                SplitMix64& numbers);

} // namespace nestbed::topology::mapping
