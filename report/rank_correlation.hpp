// Whether two lists put the same things into the same order.
#pragma once

#include <optional>
#include <span>
#include <vector>

namespace nestbed::report {

// The rank of each, 1 for the least; equal ones share the mean of their ranks. All are finite.
[[nodiscard]] std::vector<double> average_ranks(std::span<const double> values);

// From -1, the reverse order, to 1, the same order. Empty where the lists are not of one length, have fewer
// than 3 elements or one that is not finite, or where all of one list are equal.

// Spearman's rho: Pearson's correlation of the average ranks.
[[nodiscard]] std::optional<double> spearman(std::span<const double> a, std::span<const double> b);

// Kendall's tau-b, which corrects for ties on both sides. Quadratic.
[[nodiscard]] std::optional<double> kendall_tau_b(std::span<const double> a, std::span<const double> b);

} // namespace nestbed::report
