#include <algorithm>

#include <fmt/format.h>

#include "report/html/escape.hpp"
#include "report/html/sections.hpp"

namespace nestbed::report {

namespace {

std::string percent(double ratio) {
    return fmt::format("{:+.1f} %", (ratio - 1) * 100);
}

std::string figure_row(const ComparedFigure& figure) {
    const auto interval =
        figure.ratio_ci95
            ? fmt::format("{} to {}", percent(figure.ratio_ci95->low), percent(figure.ratio_ci95->high))
            : fmt::format("{} and {} samples", figure.a_count, figure.b_count);
    return fmt::format("<tr class=\"{}\">", to_string(figure.change)) + cell(to_string(figure.change)) +
           cell(figure.subject) + cell(figure.name) + cell(figure.a) + cell(figure.b) + cell(figure.unit) +
           cell(percent(figure.ratio)) + cell(interval) + "</tr>\n";
}

std::string verdict_row(const ComparedVerdict& verdict) {
    return fmt::format("<tr class=\"{}\">", to_string(verdict.change)) + cell(to_string(verdict.change)) +
           cell(verdict.subject) + "<td>" + badge(verdict.a) + " &rarr; " + badge(verdict.b) + "</td><td>" +
           html(how_often_bad(verdict)) + (how_often_bad(verdict).empty() ? "" : "<br>") +
           html(verdict.summary) + command_html(is_bad(verdict.b) ? verdict.repeat : "") + "</td></tr>\n";
}

template<typename Items>
auto count(const Items& items, Change change) {
    return std::count_if(items.begin(), items.end(), [&](const auto& each) { return each.change == change; });
}

std::string names(const std::vector<std::string>& list, const std::string& where) {
    if (list.empty())
        return {};
    std::string text = fmt::format("<details><summary>{} only in {}</summary><ul>", list.size(), html(where));
    for (const auto& name : list)
        text += "<li>" + html(name) + "</li>";
    return text + "</ul></details>\n";
}

} // namespace

std::string comparison_html(const Comparison& comparison) {
    auto text =
        fmt::format("<section><h2>{} compared with {}</h2>\n", html(comparison.b), html(comparison.a));
    const auto total = [&](Change change) {
        return count(comparison.verdicts, change) + count(comparison.figures, change);
    };
    text += fmt::format("<p class=\"{}\"><b>{} worse, {} better</b> by more than {:g} % and more than the "
                        "noise; {} differ by "
                        "more than the noise otherwise, {} are within it, {} have too few samples to tell; "
                        "{} verdicts are the "
                        "same.</p>\n",
                        has_regression(comparison)       ? "regression"
                        : total(Change::improvement) > 0 ? "improvement"
                                                         : "",
                        total(Change::regression), total(Change::improvement), comparison.threshold_percent,
                        total(Change::difference), total(Change::noise), total(Change::unknown),
                        comparison.same_verdicts);
    for (const auto& caveat : comparison.caveats)
        text += "<p>Not alike in " + html(caveat) + "</p>\n";
    if (!comparison.verdicts.empty()) {
        text += "<table>" + head({"change", "what", "verdict", "found"});
        for (const auto& verdict : comparison.verdicts)
            text += verdict_row(verdict);
        text += "</table>\n";
    }
    const auto titles =
        head({"change", "what", "figure", "before", "after", "unit", "change", "95 % confidence"});
    const auto is_told = [](const ComparedFigure& figure) {
        return figure.change != Change::noise && figure.change != Change::unknown;
    };
    const auto add = [&](bool told) {
        text += "<table>" + titles;
        for (const auto& figure : comparison.figures)
            if (is_told(figure) == told)
                text += figure_row(figure);
        text += "</table>\n";
    };
    const auto told = std::count_if(comparison.figures.begin(), comparison.figures.end(), is_told);
    if (told > 0)
        add(true);
    if (const auto rest = static_cast<std::ptrdiff_t>(comparison.figures.size()) - told; rest > 0) {
        text += fmt::format("<details><summary>{} figures within the noise or of too few samples</summary>",
                            rest);
        add(false);
        text += "</details>\n";
    }
    text += names(comparison.only_in_a, comparison.a) + names(comparison.only_in_b, comparison.b);
    return text +
           "<p><small>Ratios are medians of all pairs of repetitions, their intervals those of Mann and "
           "Whitney's test. What one run measured by itself is told by the noise within it, and is never "
           "called worse "
           "or better. At 95 % confidence 1 in 20 figures differs by chance.</small></p></section>\n";
}

} // namespace nestbed::report
