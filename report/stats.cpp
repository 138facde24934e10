#include "report/stats.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

namespace nestbed::report {

namespace {

// How many of the smallest and of the largest samples the 95 % interval for the median leaves out. How many
// of n samples fall below the population's median is binomial with p = 1/2, so the interval from the k-th
// smallest to the k-th largest misses it with probability 2 P(Bin(n, 1/2) < k). (Conover, Practical
// Nonparametric Statistics, section 3.2.) Empty where not even the whole range reaches 95 %.
std::optional<std::size_t> trimmed_per_side(std::size_t n) {
    constexpr double tail = 0.025;
    constexpr std::size_t most_exact = 1000; // 2^-n is a normal double up to there
    if (n > most_exact) {
        // The normal approximation, whose error is far below one rank at this size.
        const auto count = static_cast<double>(n);
        return static_cast<std::size_t>((count - 1.96 * std::sqrt(count)) / 2) - 1;
    }
    double probability = std::ldexp(1.0, -static_cast<int>(n)); // of exactly k below the median
    double below = probability;
    if (below > tail)
        return std::nullopt;
    std::size_t k = 0;
    for (;; ++k) {
        probability *= static_cast<double>(n - k) / static_cast<double>(k + 1);
        below += probability;
        if (below > tail)
            return k;
    }
}

std::optional<Interval> median_interval(std::span<const double> sorted) {
    const auto trimmed = trimmed_per_side(sorted.size());
    if (!trimmed)
        return std::nullopt;
    return Interval{.low = sorted[*trimmed], .high = sorted[sorted.size() - 1 - *trimmed]};
}

} // namespace

std::span<const double> without_warmup(std::span<const double> samples, std::size_t count) {
    return samples.subspan(std::min(count, samples.size()));
}

std::optional<double> percentile(std::span<const double> sorted, double percent) {
    if (sorted.empty())
        return std::nullopt;
    // Multiplied first: 7 / 100 * 100 is above 7 in binary and would name the next rank.
    const auto rank = std::ceil(percent * static_cast<double>(sorted.size()) / 100);
    return sorted[rank < 1 ? 0 : std::min(static_cast<std::size_t>(rank), sorted.size()) - 1];
}

Summary summarize(std::span<const double> samples, std::string unit, std::size_t warmup) {
    const auto kept = without_warmup(samples, warmup);
    std::vector<double> sorted;
    sorted.reserve(kept.size());
    std::copy_if(kept.begin(), kept.end(), std::back_inserter(sorted),
                 [](double v) { return std::isfinite(v); });
    std::sort(sorted.begin(), sorted.end());

    Summary summary;
    summary.unit = std::move(unit);
    summary.warmup = samples.size() - kept.size();
    summary.count = sorted.size();
    if (sorted.empty())
        return summary;
    summary.min = sorted.front();
    summary.median = *percentile(sorted, 50);
    summary.p90 = *percentile(sorted, 90);
    summary.p99 = *percentile(sorted, 99);
    summary.max = sorted.back();
    summary.mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / static_cast<double>(sorted.size());
    summary.median_ci95 = median_interval(sorted);
    return summary;
}

} // namespace nestbed::report
