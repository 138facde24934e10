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
    even,  // as many for each PU
};

// By vCPU: a PU. Fair in the sense of is_fair(). What a vCPU says is taken for up to `blur`/256 more or less
// than it is, 255 at most: the cheapest cut at the top is not always the beginning of the cheapest placement,
// and so each of those that are nearly as cheap is taken in some divisions.
[[nodiscard]] std::vector<std::uint32_t> divide(const Problem& problem, const Unit& tree, Filling filling,
                                                std::uint32_t blur, SplitMix64& numbers);

} // namespace nestbed::topology::mapping
