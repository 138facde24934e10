#include "report/place_comparison_json.hpp"

#include <utility>

#include "report/stats_json.hpp"
#include "report/sweep_json.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t most_drivers = 1000;
constexpr std::size_t most_places = 1000;

Json or_null(const std::optional<double>& value) {
    return value ? number(*value) : Json(nullptr);
}

std::optional<double> maybe_number(const Field& field) {
    return field.is_null() ? std::nullopt : std::optional{field.number()};
}

Json to_json(const MeasuredPlace& place) {
    return {{"configuration", to_json(place.configuration)},
            {"predicted_cost", or_null(place.predicted_cost)},
            {"rounds", place.rounds},
            {"median", number(place.median)}};
}

Json to_json(const PlaceVerdict& verdict) {
    Json json{{"driver", verdict.driver},       {"figure", verdict.figure}, {"unit", verdict.unit},
              {"predictor", verdict.predictor}, {"places", Json::array()},  {"lead", nullptr}};
    for (const auto& place : verdict.places)
        json["places"].push_back(to_json(place));
    if (const auto& lead = verdict.lead)
        json["lead"] = {{"ratio", number(lead->ratio)},
                        {"rounds", lead->rounds},
                        {"ci95", lead->ci95 ? to_json(*lead->ci95) : Json(nullptr)}};
    if (!verdict.why_no_winner.empty())
        json["why_no_winner"] = verdict.why_no_winner;
    json["spearman"] = or_null(verdict.spearman);
    json["kendall_tau_b"] = or_null(verdict.kendall);
    if (!verdict.why_no_correlation.empty())
        json["why_no_correlation"] = verdict.why_no_correlation;
    return json;
}

MeasuredPlace read_place(const Field& field) {
    return {.configuration = read_configuration(field.member("configuration")),
            .predicted_cost = maybe_number(field.member("predicted_cost")),
            .rounds = field.member("rounds").count(),
            .median = field.member("median").number()};
}

PairedRatio read_lead(const Field& field) {
    PairedRatio lead{
        .ratio = field.member("ratio").number(), .rounds = field.member("rounds").count(), .ci95 = {}};
    if (const auto interval = field.member("ci95"); !interval.is_null())
        lead.ci95 = interval.interval();
    return lead;
}

PlaceVerdict read_verdict(const Field& field) {
    PlaceVerdict verdict;
    verdict.driver = field.member("driver").text();
    verdict.figure = field.member("figure").text();
    verdict.unit = field.member("unit").text();
    verdict.predictor = field.member("predictor").text();
    for (const auto& place : field.member("places").elements(most_places))
        verdict.places.push_back(read_place(place));
    if (const auto lead = field.member("lead"); !lead.is_null())
        verdict.lead = read_lead(lead);
    if (const auto why = field.find("why_no_winner"))
        verdict.why_no_winner = why->text();
    verdict.spearman = maybe_number(field.member("spearman"));
    verdict.kendall = maybe_number(field.member("kendall_tau_b"));
    if (const auto why = field.find("why_no_correlation"))
        verdict.why_no_correlation = why->text();
    return verdict;
}

} // namespace

Json to_json(const PlaceComparison& comparison) {
    Json json{{"drivers", Json::array()}};
    for (const auto& verdict : comparison.drivers)
        json["drivers"].push_back(to_json(verdict));
    return json;
}

PlaceComparison read_place_comparison(const Field& field) {
    PlaceComparison comparison;
    for (const auto& verdict : field.member("drivers").elements(most_drivers))
        comparison.drivers.push_back(read_verdict(verdict));
    return comparison;
}

} // namespace nestbed::report
