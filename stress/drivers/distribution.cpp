#include "stress/drivers/distribution.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "report/stats.hpp"

namespace nestbed::stress {

namespace {

constexpr int classes_per_doubling = 4;
constexpr int least_exponent = -10;
constexpr int most_exponent = 63;

int class_of(double sample) {
    if (sample < std::exp2(least_exponent))
        return least_exponent * classes_per_doubling;
    // The nearest float below a power of two may have its logarithm rounded up to it: one class is then late
    // by one sample's worth, which the bound check below puts right.
    auto index = static_cast<int>(std::floor(std::log2(sample) * classes_per_doubling));
    const auto bound = [](int i) { return std::exp2(static_cast<double>(i) / classes_per_doubling); };
    while (sample < bound(index))
        --index;
    while (sample >= bound(index + 1))
        ++index;
    return std::min(index, most_exponent * classes_per_doubling);
}

} // namespace

report::Histogram histogram_of(std::span<const double> samples) {
    std::vector<double> finite;
    std::ranges::copy_if(samples, std::back_inserter(finite), [](double s) { return std::isfinite(s); });
    if (finite.empty())
        return {};
    const auto [least, most] = std::ranges::minmax(finite);
    const auto first = class_of(least);
    const auto last = class_of(most);
    report::Histogram histogram;
    for (int i = first; i <= last + 1; ++i)
        histogram.bounds.push_back(std::exp2(static_cast<double>(i) / classes_per_doubling));
    if (least < histogram.bounds.front())
        histogram.bounds.front() = std::min(0.0, least);
    if (most >= histogram.bounds.back())
        histogram.bounds.back() = std::nextafter(most, std::numeric_limits<double>::infinity());
    histogram.counts.resize(histogram.bounds.size() - 1);
    for (const double sample : finite)
        ++histogram.counts[static_cast<std::size_t>(class_of(sample) - first)];
    return histogram;
}

report::Distribution distribution(std::string name, std::string unit, std::span<const double> samples) {
    return {std::move(name), report::summarize(samples, std::move(unit)), histogram_of(samples)};
}

} // namespace nestbed::stress
