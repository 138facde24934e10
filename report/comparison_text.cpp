#include <algorithm>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "report/comparison.hpp"
#include "report/stats_json.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t most_names = 8; // of those that are in one document only

std::string percent(double ratio) {
    return fmt::format("{:+.1f} %", (ratio - 1) * 100);
}

// "1.23e+06 -> 9.8e+05 interrupts/s, -20.3 % (95 %: -25.1 % to -14.8 %)".
std::string figure_text(const ComparedFigure& figure) {
    auto text = fmt::format("{}: {} {:.4g} -> {:.4g}", printable(figure.subject), printable(figure.name),
                            figure.a, figure.b);
    if (!figure.unit.empty())
        text += ' ' + printable(figure.unit);
    text += ", " + percent(figure.ratio);
    if (const auto& ci = figure.ratio_ci95)
        text += fmt::format(" (95 %: {} to {})", percent(ci->low), percent(ci->high));
    else
        text += fmt::format(" ({} and {} samples)", figure.a_count, figure.b_count);
    if (figure.is_within_runs && figure.change == Change::difference)
        text += ", within one run each";
    return text;
}

std::string verdict_text(const ComparedVerdict& verdict) {
    auto text =
        fmt::format("{}: {} -> {}", printable(verdict.subject), to_string(verdict.a), to_string(verdict.b));
    if (const auto often = how_often_bad(verdict); !often.empty())
        text += ", " + often;
    if (!verdict.summary.empty() && verdict.b != Verdict::pass)
        text += ", " + printable(verdict.summary);
    if (!verdict.repeat.empty() && is_bad(verdict.b))
        text += "\n    " + printable(verdict.repeat);
    return text;
}

std::uint64_t count(const Comparison& comparison, Change change) {
    const auto is_it = [&](const auto& each) { return each.change == change; };
    return static_cast<std::uint64_t>(
        std::count_if(comparison.figures.begin(), comparison.figures.end(), is_it) +
        std::count_if(comparison.verdicts.begin(), comparison.verdicts.end(), is_it));
}

void add_section(std::string& text, const Comparison& comparison, Change change, const std::string& title) {
    if (count(comparison, change) == 0)
        return;
    text += title + ":\n";
    for (const auto& verdict : comparison.verdicts)
        if (verdict.change == change)
            text += "  " + verdict_text(verdict) + '\n';
    for (const auto& figure : comparison.figures)
        if (figure.change == change)
            text += "  " + figure_text(figure) + '\n';
    text += '\n';
}

void add_names(std::string& text, const std::vector<std::string>& names, const std::string& where) {
    if (names.empty())
        return;
    text += "Only in " + printable(where) + ": ";
    for (std::size_t i = 0; i < std::min(names.size(), most_names); ++i)
        text += (i > 0 ? "; " : "") + printable(names[i]);
    if (names.size() > most_names)
        text += fmt::format(" and {} more", names.size() - most_names);
    text += '\n';
}

std::string_view to_string(Better better) {
    return better == Better::more ? "more" : better == Better::less ? "less" : "neither";
}

std::string plural(std::uint64_t number, std::string_view word) {
    return fmt::format("{} {}{}", number, word, number == 1 ? "" : "s");
}

} // namespace

std::uint64_t judged_figures(const Comparison& comparison) {
    return static_cast<std::uint64_t>(
        std::count_if(comparison.figures.begin(), comparison.figures.end(),
                      [](const ComparedFigure& figure) { return figure.ratio_ci95.has_value(); }));
}

std::string how_often_bad(const ComparedVerdict& verdict) {
    if ((verdict.a_points <= 1 && verdict.b_points <= 1) || (verdict.a_bad == 0 && verdict.b_bad == 0))
        return {};
    return fmt::format("{} of {} did not hold, before {} of {}", verdict.b_bad, verdict.b_points,
                       verdict.a_bad, verdict.a_points);
}

std::string format_comparison(const Comparison& comparison) {
    std::string text = fmt::format("{} -> {}\n", printable(comparison.a), printable(comparison.b));
    for (const auto& caveat : comparison.caveats)
        text += "Not alike in " + printable(caveat) + '\n';
    text += '\n';
    const auto beyond = fmt::format("more than {:g} % and more than the noise", comparison.threshold_percent);
    add_section(text, comparison, Change::regression, "Worse (a verdict, or by " + beyond + ")");
    add_section(text, comparison, Change::improvement, "Better (a verdict, or by " + beyond + ")");
    add_section(text, comparison, Change::difference, "Different (larger than the noise)");
    add_section(text, comparison, Change::unknown, "Too few samples to tell");
    add_names(text, comparison.only_in_a, comparison.a);
    add_names(text, comparison.only_in_b, comparison.b);
    const auto compared = comparison.figures.size();
    text +=
        fmt::format("{}, {}; {} compared, {} of them within the noise; {} the same\n",
                    plural(count(comparison, Change::regression), "regression"),
                    plural(count(comparison, Change::improvement), "improvement"), plural(compared, "figure"),
                    count(comparison, Change::noise), plural(comparison.same_verdicts, "verdict"));
    if (const auto judged = judged_figures(comparison); judged >= 20)
        text += fmt::format("At 95 % confidence, about {} of {} figures differ by chance alone.\n",
                            judged / 20, judged);
    return text;
}

Json to_json(const Comparison& comparison) {
    Json json{{"a", comparison.a},
              {"b", comparison.b},
              {"threshold_percent", comparison.threshold_percent},
              {"regression", has_regression(comparison)},
              {"verdicts", Json::array()},
              {"same_verdicts", comparison.same_verdicts},
              {"figures", Json::array()}};
    for (const auto& verdict : comparison.verdicts)
        json["verdicts"].push_back({{"subject", verdict.subject},
                                    {"a", to_string(verdict.a)},
                                    {"b", to_string(verdict.b)},
                                    {"change", to_string(verdict.change)},
                                    {"summary", verdict.summary},
                                    {"repeat", verdict.repeat},
                                    {"a_points", verdict.a_points},
                                    {"a_bad", verdict.a_bad},
                                    {"b_points", verdict.b_points},
                                    {"b_bad", verdict.b_bad}});
    for (const auto& figure : comparison.figures)
        json["figures"].push_back(
            {{"subject", figure.subject},
             {"name", figure.name},
             {"unit", figure.unit},
             {"better", to_string(figure.better)},
             {"a", number(figure.a)},
             {"b", number(figure.b)},
             {"a_count", figure.a_count},
             {"b_count", figure.b_count},
             {"ratio", number(figure.ratio)},
             {"ratio_ci95", figure.ratio_ci95 ? to_json(*figure.ratio_ci95) : Json(nullptr)},
             {"within_runs", figure.is_within_runs},
             {"change", to_string(figure.change)}});
    json["only_in_a"] = comparison.only_in_a;
    json["only_in_b"] = comparison.only_in_b;
    json["caveats"] = comparison.caveats;
    return json;
}

} // namespace nestbed::report
