#include "report/paired_ratio.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "topology/random_numbers.hpp"

namespace nestbed::report {

namespace {

constexpr std::size_t resamples = 4000;
constexpr double tail = 0.005;

// Geometric between the two in the middle, so that a and b exchanged give the inverse. Not empty.
double median_of(std::vector<double>& ratios) {
    const auto nth = [&](std::size_t n) {
        const auto at = ratios.begin() + static_cast<std::ptrdiff_t>(n);
        std::nth_element(ratios.begin(), at, ratios.end());
        return *at;
    };
    return std::sqrt(nth((ratios.size() - 1) / 2) * nth(ratios.size() / 2));
}

} // namespace

std::optional<PairedRatio> paired_ratio(std::span<const double> a, std::span<const double> b,
                                        std::uint64_t seed) {
    const auto is_usable = [](double value) { return std::isfinite(value) && value > 0; };
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        if (is_usable(a[i]) && is_usable(b[i]) && is_usable(a[i] / b[i]))
            ratios.push_back(a[i] / b[i]);
    if (ratios.empty())
        return std::nullopt;
    PairedRatio paired;
    paired.rounds = ratios.size();
    auto drawn = ratios;
    paired.ratio = median_of(drawn);
    if (ratios.size() < least_paired_rounds)
        return paired;
    topology::SplitMix64 numbers{seed};
    std::vector<double> medians;
    for (std::size_t i = 0; i < resamples; ++i) {
        for (auto& ratio : drawn)
            ratio = ratios[static_cast<std::size_t>(numbers.below(ratios.size()))];
        medians.push_back(median_of(drawn));
    }
    std::sort(medians.begin(), medians.end());
    const auto cut = static_cast<std::size_t>(tail * static_cast<double>(resamples));
    paired.ci95 = Interval{.low = medians[cut], .high = medians[resamples - 1 - cut]};
    return paired;
}

} // namespace nestbed::report
