#include "report/comparison_figures.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "report/rank_test.hpp"

namespace nestbed::report {

namespace {

// Between the middle two where there are two.
double median_of(std::vector<double> values) {
    if (values.empty())
        return Summary::nothing;
    std::sort(values.begin(), values.end());
    const auto middle = values.size() / 2;
    return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::vector<double> samples_of(const Measurement& measurement) {
    const auto kept =
        without_warmup(measurement.samples, static_cast<std::size_t>(measurement.summary.warmup));
    return {kept.begin(), kept.end()};
}

} // namespace

Better better_of(std::string_view unit) {
    if (unit.ends_with("/s"))
        return Better::more;
    constexpr std::array<std::string_view, 10> costs{"s",     "ms",    "us",  "ns",  "cycles",
                                                     "ticks", "bytes", "KiB", "MiB", "bytes/vCPU"};
    return std::find(costs.begin(), costs.end(), unit) != costs.end() ? Better::less : Better::neither;
}

Change judge(const ComparedFigure& figure, double threshold_percent) {
    if (!figure.ratio_ci95)
        return Change::unknown;
    const auto [low, high] = *figure.ratio_ci95;
    if (low <= 1 && high >= 1)
        return Change::noise;
    const bool is_large = std::abs(figure.ratio - 1) * 100 > threshold_percent;
    if (!is_large || figure.better == Better::neither || figure.is_within_runs)
        return Change::difference;
    return (figure.ratio > 1) == (figure.better == Better::more) ? Change::improvement : Change::regression;
}

std::optional<ComparedFigure> figure_of_samples(ComparedFigure figure, const std::vector<double>& a,
                                                const std::vector<double>& b) {
    const auto estimate = estimate_ratio(a, b);
    if (!estimate)
        return std::nullopt;
    figure.a = median_of(a);
    figure.b = median_of(b);
    figure.a_count = a.size();
    figure.b_count = b.size();
    figure.ratio = estimate->ratio;
    figure.ratio_ci95 = estimate->ci95;
    return figure;
}

std::optional<ComparedFigure> figure_of_intervals(ComparedFigure figure, const std::optional<Interval>& a,
                                                  const std::optional<Interval>& b) {
    if (!is_positive(figure.a) || !is_positive(figure.b))
        return std::nullopt;
    figure.ratio = figure.b / figure.a;
    if (a && b && is_positive(a->low) && is_positive(b->low) && a->high >= a->low && b->high >= b->low)
        figure.ratio_ci95 = Interval{.low = b->low / a->high, .high = b->high / a->low};
    return figure;
}

std::optional<ComparedFigure> figure_of_measurements(const std::string& subject, const Measurement& a,
                                                     const Measurement& b) {
    ComparedFigure figure;
    figure.subject = subject;
    figure.name = a.name;
    figure.unit = a.summary.unit;
    figure.better = better_of(figure.unit);
    figure.is_within_runs = true;
    const auto a_samples = samples_of(a), b_samples = samples_of(b);
    if (!a_samples.empty() && !b_samples.empty())
        return figure_of_samples(figure, a_samples, b_samples);
    figure.a = a.summary.median;
    figure.b = b.summary.median;
    figure.a_count = a.summary.count;
    figure.b_count = b.summary.count;
    return figure_of_intervals(figure, a.summary.median_ci95, b.summary.median_ci95);
}

} // namespace nestbed::report
