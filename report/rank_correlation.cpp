#include "report/rank_correlation.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nestbed::report {

namespace {

bool has_order(std::span<const double> values) {
    return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); }) &&
           std::any_of(values.begin(), values.end(), [&](double value) { return value != values.front(); });
}

bool can_be_compared(std::span<const double> a, std::span<const double> b) {
    return a.size() == b.size() && a.size() >= 3 && has_order(a) && has_order(b);
}

int sign(double value) {
    return value > 0 ? 1 : value < 0 ? -1 : 0;
}

} // namespace

std::vector<double> average_ranks(std::span<const double> values) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
    std::vector<double> ranks(values.size());
    for (std::size_t first = 0; first < order.size();) {
        auto end = first;
        while (end < order.size() && values[order[end]] == values[order[first]])
            ++end;
        // The mean of first + 1 to end.
        for (auto i = first; i < end; ++i)
            ranks[order[i]] = static_cast<double>(first + 1 + end) / 2;
        first = end;
    }
    return ranks;
}

std::optional<double> spearman(std::span<const double> a, std::span<const double> b) {
    if (!can_be_compared(a, b))
        return std::nullopt;
    const auto x = average_ranks(a), y = average_ranks(b);
    const double mean = static_cast<double>(a.size() + 1) / 2;
    double xy = 0, xx = 0, yy = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        xy += (x[i] - mean) * (y[i] - mean);
        xx += (x[i] - mean) * (x[i] - mean);
        yy += (y[i] - mean) * (y[i] - mean);
    }
    return xy / std::sqrt(xx * yy);
}

std::optional<double> kendall_tau_b(std::span<const double> a, std::span<const double> b) {
    if (!can_be_compared(a, b))
        return std::nullopt;
    double agreeing = 0, in_a = 0, in_b = 0; // of pairs: alike less unlike; not tied in a; not tied in b
    for (std::size_t i = 0; i < a.size(); ++i)
        for (std::size_t j = i + 1; j < a.size(); ++j) {
            const int in_order_of_a = sign(a[j] - a[i]), in_order_of_b = sign(b[j] - b[i]);
            agreeing += in_order_of_a * in_order_of_b;
            in_a += in_order_of_a != 0 ? 1 : 0;
            in_b += in_order_of_b != 0 ? 1 : 0;
        }
    return agreeing / std::sqrt(in_a * in_b);
}

} // namespace nestbed::report
