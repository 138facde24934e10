// By how much one thing is more than another, where both were measured in the same rounds.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "report/stats.hpp"

namespace nestbed::report {

// Rounds below which no interval is given: five that all agree happen by chance in 1 of 16 times.
inline constexpr std::size_t least_paired_rounds = 6;

struct PairedRatio {
    double ratio = 1; // the median over rounds of a to b
    std::uint64_t rounds = 0;
    // 95 % confidence: percentiles of the medians of rounds that are drawn anew, with replacement (Efron,
    // Tibshirani, An Introduction to the Bootstrap, section 13.3). They are those of 99 %, since percentiles
    // of so few rounds are too narrow. Without 1 in it the two differ by more than their noise. Empty below
    // least_paired_rounds.
    std::optional<Interval> ci95;
};

// a[i] and b[i] are of one round; rounds in which one of them is no positive number are left out, and so is
// what the longer one has more. The same seed gives the same interval. Empty where no round is left.
[[nodiscard]] std::optional<PairedRatio> paired_ratio(std::span<const double> a, std::span<const double> b,
                                                      std::uint64_t seed);

} // namespace nestbed::report
