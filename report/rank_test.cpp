#include "report/rank_test.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace nestbed::report {

namespace {

constexpr std::size_t most_samples = 1000;
// Samples of both groups up to which the distribution is computed exactly.
constexpr std::size_t most_exact = 60;
constexpr double tail = 0.025;

std::vector<double> usable(std::span<const double> samples) {
    std::vector<double> sorted;
    std::copy_if(samples.begin(), samples.end(), std::back_inserter(sorted),
                 [](double sample) { return std::isfinite(sample) && sample > 0; });
    std::sort(sorted.begin(), sorted.end());
    if (sorted.size() <= most_samples)
        return sorted;
    std::vector<double> spaced;
    for (std::size_t i = 0; i < most_samples; ++i)
        spaced.push_back(sorted[i * (sorted.size() - 1) / (most_samples - 1)]);
    return spaced;
}

// Probability of each value of U, the number of pairs in which b is below a, where both come from the same
// population: the coefficients of the Gaussian binomial (a + b over a) divided by their sum.
std::vector<double> distribution_of_u(std::size_t a, std::size_t b) {
    std::vector<double> weights(a * b + 1, 0.0);
    weights[0] = 1;
    double total = 1;
    for (std::size_t i = 1; i <= a; ++i) {
        // Times (1 - q^(b + i)), then divided by (1 - q^i).
        for (std::size_t u = weights.size(); u-- > b + i;)
            weights[u] -= weights[u - b - i];
        for (std::size_t u = i; u < weights.size(); ++u)
            weights[u] += weights[u - i];
        total *= static_cast<double>(b + i) / static_cast<double>(i);
    }
    for (auto& weight : weights)
        weight /= total;
    return weights;
}

} // namespace

std::optional<std::size_t> trimmed_pairs(std::size_t a, std::size_t b) {
    if (a == 0 || b == 0)
        return std::nullopt;
    if (a + b > most_exact) {
        const auto pairs = static_cast<double>(a * b);
        const double deviation = std::sqrt(pairs * static_cast<double>(a + b + 1) / 12);
        const double trimmed = std::floor(pairs / 2 - 1.96 * deviation);
        return trimmed < 1 ? std::nullopt : std::optional{static_cast<std::size_t>(trimmed) - 1};
    }
    double below = 0;
    std::size_t trimmed = 0;
    for (const double probability : distribution_of_u(a, b)) {
        below += probability;
        if (below > tail)
            break;
        ++trimmed;
    }
    return trimmed == 0 ? std::nullopt : std::optional{trimmed - 1};
}

std::optional<RatioEstimate> estimate_ratio(std::span<const double> a, std::span<const double> b) {
    const auto first = usable(a), second = usable(b);
    if (first.empty() || second.empty())
        return std::nullopt;
    std::vector<double> ratios;
    ratios.reserve(first.size() * second.size());
    for (const double x : first)
        for (const double y : second)
            ratios.push_back(y / x);
    const auto nth = [&](std::size_t n) {
        const auto at = ratios.begin() + static_cast<std::ptrdiff_t>(n);
        std::nth_element(ratios.begin(), at, ratios.end());
        return *at;
    };
    RatioEstimate estimate;
    // Geometric, so that a and b exchanged give the inverse.
    estimate.ratio = std::sqrt(nth((ratios.size() - 1) / 2) * nth(ratios.size() / 2));
    if (const auto trimmed = trimmed_pairs(first.size(), second.size()))
        estimate.ci95 = Interval{.low = nth(*trimmed), .high = nth(ratios.size() - 1 - *trimmed)};
    return estimate;
}

} // namespace nestbed::report
