#include "stress/bench/figure.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "report/json.hpp"
#include "stress/bench/rounds.hpp"

namespace nestbed::bench {

namespace {

using Json = nlohmann::ordered_json;

// Of the document; docs/result-format.md says when it grows.
constexpr int schema_version = 1;

Json number(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json known(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

Json to_json(const report::Summary& summary) {
    return {{"count", summary.count},
            {"min", number(summary.min)},
            {"median", number(summary.median)},
            {"max", number(summary.max)}};
}

Json to_json(const Figure& figure) {
    Json json{
        {"name", figure.name}, {"what", figure.what}, {"unit", figure.unit}, {"ours", to_json(figure.ours)}};
    if (figure.other)
        json["other"] = to_json(*figure.other);
    if (figure.ratio)
        json["ratio"] = to_json(*figure.ratio);
    json["target"] = {{figure.at_most ? "at_most" : "at_least", figure.target}};
    json["holds"] = figure.holds();
    return json;
}

} // namespace

bool Figure::holds() const {
    const auto value = ratio ? ratio->median : ours.median;
    return at_most ? value <= target : value >= target;
}

std::optional<Figure> figure_of(Figure about, std::span<const double> ours) {
    if (ours.empty())
        return std::nullopt;
    about.ours = report::summarize(ours, about.unit);
    return about;
}

std::optional<Figure> figure_of_pairs(Figure about, std::span<const double> ours,
                                      std::span<const double> other) {
    const auto pairs = std::min(ours.size(), other.size());
    auto figure = figure_of(std::move(about), ours.first(pairs));
    if (!figure)
        return std::nullopt;
    figure->other = report::summarize(other.first(pairs), figure->unit);
    figure->ratio =
        report::summarize(figure->at_most ? pairwise_ratios(ours, other) : pairwise_ratios(other, ours), "");
    return figure;
}

std::string to_text(const Figure& figure) {
    auto line = fmt::format("{:<6} {:<16} ours {:.4g} {}", figure.holds() ? "holds" : "misses", figure.name,
                            figure.ours.median, figure.unit);
    if (figure.other)
        line += fmt::format(", other {:.4g} {}", figure.other->median, figure.unit);
    if (figure.ratio)
        line += fmt::format(", ratio {:.2f} ({:.2f} to {:.2f}, {} pair{})", figure.ratio->median,
                            figure.ratio->min, figure.ratio->max, figure.ratio->count,
                            figure.ratio->count == 1 ? "" : "s");
    return line + fmt::format(", {} {:g}\n       {}\n", figure.at_most ? "at most" : "at least",
                              figure.target, figure.what);
}

Json to_json(std::span<const Figure> figures, const report::HostFacts& host, const Error* error) {
    Json json{{"schema_version", schema_version},
              {"program", {{"name", "nestbed"}, {"version", report::program_version()}}},
              {"host", {{"kernel", known(host.kernel)}, {"cpu_model", known(host.cpu_model)}}},
              {"figures", Json::array()}};
    for (const auto& figure : figures)
        json["figures"].push_back(to_json(figure));
    if (error != nullptr)
        json["error"] = report::to_json(*error);
    return json;
}

} // namespace nestbed::bench
