// Whole things divided in proportion.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nestbed::topology {

// Shares of `total` in proportion to `weights`, by the largest remainder: they sum up exactly, each is the
// exact share rounded down or up, and of equal remainders the first wins. The weights' sum is at most 2^31;
// where it is 0, so are all shares.
[[nodiscard]] std::vector<std::uint64_t> apportion(std::uint64_t total,
                                                   std::span<const std::uint64_t> weights);

} // namespace nestbed::topology
