// Whether two groups of samples differ by more than their noise, and by how much, whatever their
// distribution.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "report/stats.hpp"

namespace nestbed::report {

struct RatioEstimate {
    // The median of all ratios of a sample of `b` to one of `a` (Hodges and Lehmann).
    double ratio = 1;
    // 95 % confidence or more: what Mann and Whitney's test does not reject at 5 % (Hollander, Wolfe,
    // Nonparametric Statistical Methods, section 4.3). Without 1 in it the groups differ by more than their
    // noise. Empty where the groups are so small (3 and 3, 2 and 7) that no order of theirs is unlikely.
    std::optional<Interval> ci95;
};

// Samples that are no positive numbers are left out; of more than 1000 in a group only 1000, evenly spaced in
// order of size. Empty where a group has none left.
[[nodiscard]] std::optional<RatioEstimate> estimate_ratio(std::span<const double> a,
                                                          std::span<const double> b);

// How many of the smallest and of the largest pairs the interval leaves out for groups of these sizes; empty
// where not even all pairs make 95 %.
[[nodiscard]] std::optional<std::size_t> trimmed_pairs(std::size_t a, std::size_t b);

} // namespace nestbed::report
