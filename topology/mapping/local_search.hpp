// Moves and swaps that make a placement cheaper, in the manner of Kernighan and Lin.
#pragma once

#include <cstdint>

#include "topology/mapping/live_cost.hpp"
#include "topology/random_numbers.hpp"

namespace nestbed::topology::mapping {

// Work that is left: about one unit for each change whose cost is looked at. A count and not a time, so that
// the same problem has the same answer everywhere.
struct Budget {
    std::int64_t left = 0;

    void spend(std::size_t units) { left -= static_cast<std::int64_t>(units); }
    [[nodiscard]] bool is_spent() const { return left <= 0; }
};

// PUs that may take one more vCPU, one of those that are alike.
[[nodiscard]] std::vector<std::uint32_t> open_pus(const Problem& problem, const LiveCost& live);

// Until no single move or swap makes it cheaper, or the budget is spent.
void descend(const Problem& problem, LiveCost& live, Budget& budget);

// Disturbs a little, descends again, and keeps what is not worse, until the budget is spent.
void shake(const Problem& problem, LiveCost& live, Budget& budget, SplitMix64& numbers);

} // namespace nestbed::topology::mapping
