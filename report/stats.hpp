// Samples condensed to the figures that runs are compared by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>

namespace nestbed::report {

struct Interval {
    double low = 0;
    double high = 0;

    bool operator==(const Interval&) const = default;
};

// Every figure but the mean is one of the samples, by nearest rank, so nothing is shown that never happened.
// With no samples they are all NaN.
struct Summary {
    static constexpr double nothing = std::numeric_limits<double>::quiet_NaN();

    std::string unit;         // of the figures: "ns", "cycles", "bytes"; "" for a plain number
    std::uint64_t warmup = 0; // leading samples left out
    std::uint64_t count = 0;  // samples that the figures are of
    double min = nothing;
    double median = nothing;
    double p90 = nothing;
    double p99 = nothing;
    double max = nothing;
    double mean = nothing;
    // Where the median of the whole population lies with at least 95 % confidence, whatever its distribution;
    // empty below 6 samples, which cannot say it.
    std::optional<Interval> median_ci95;
};

// The samples without the first `count`; empty where there are no more than that.
[[nodiscard]] std::span<const double> without_warmup(std::span<const double> samples, std::size_t count);

// Nearest rank: the smallest sample that at least `percent` % of the samples do not exceed. `sorted` ascends
// and `percent` is in 0..100; 0 gives the smallest. Empty where there are no samples.
[[nodiscard]] std::optional<double> percentile(std::span<const double> sorted, double percent);

// Samples in the order they were taken, the first `warmup` of which are left out. Those that are no finite
// number are left out as well, and so are missing in `count`.
[[nodiscard]] Summary summarize(std::span<const double> samples, std::string unit, std::size_t warmup = 0);

} // namespace nestbed::report
