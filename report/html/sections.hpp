// Parts of the page that are tables and text.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "report/comparison.hpp"
#include "report/html/page.hpp"

namespace nestbed::report {

[[nodiscard]] std::string comparison_html(const Comparison& comparison);

// Failures first; those that passed folded away where there are many.
[[nodiscard]] std::string checks_html(std::span<const CheckResult> checks);

// Places for the charts, the coefficients, points that did not pass, and percentiles. `prefix` makes the
// charts' ids unique on the page.
[[nodiscard]] std::string sweep_html(const Sweep& sweep, const std::string& prefix);

// A table for each driver, and how well the scores foretold it.
[[nodiscard]] std::string place_html(const PlaceComparison& comparison);

[[nodiscard]] std::string figures_html(std::span<const BenchFigure> figures);

// Everything of one run.
[[nodiscard]] std::string run_html(const ReportedRun& run, const std::string& prefix);

// <td> with text, or with a number in four significant digits, "-" for none.
[[nodiscard]] std::string cell(std::string_view text);
[[nodiscard]] std::string cell(double number);
[[nodiscard]] std::string badge(Verdict verdict);
// A row of <th>.
[[nodiscard]] std::string head(std::initializer_list<std::string_view> titles);
// The command, if there is one, in a box of its own.
[[nodiscard]] std::string command_html(std::string_view command);

} // namespace nestbed::report
