// One figure of two documents, compared.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "report/comparison.hpp"

namespace nestbed::report {

// What ratios can be made of.
[[nodiscard]] inline bool is_positive(double value) {
    return std::isfinite(value) && value > 0;
}

// `change` of a figure whose ratio is known.
[[nodiscard]] Change judge(const ComparedFigure& figure, double threshold_percent);

// Repetitions on both sides. All but the subject, name, unit and direction of `figure` is filled in; nothing
// where there is no ratio.
[[nodiscard]] std::optional<ComparedFigure>
figure_of_samples(ComparedFigure figure, const std::vector<double>& a, const std::vector<double>& b);

// One interval on each side, around the `a` and `b` that `figure` has.
[[nodiscard]] std::optional<ComparedFigure> figure_of_intervals(ComparedFigure figure,
                                                                const std::optional<Interval>& a,
                                                                const std::optional<Interval>& b);

// What a check measured in one run on each side.
[[nodiscard]] std::optional<ComparedFigure>
figure_of_measurements(const std::string& subject, const Measurement& a, const Measurement& b);

} // namespace nestbed::report
