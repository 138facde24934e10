#include "report/place_comparison.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "report/rank_correlation.hpp"

namespace nestbed::report {

namespace {

using Rounds = std::map<std::uint32_t, double>; // by repetition

struct Candidate {
    MeasuredPlace place;
    Rounds figures;
};

Rounds figures_of(const PlaceQuestion& question, const Configuration& configuration,
                  std::span<const SweepPoint> points) {
    Rounds figures;
    for (const auto& point : points) {
        if (point.driver != question.driver || point.configuration != configuration ||
            point.verdict != Verdict::pass)
            continue;
        auto figure = throughput(point);
        if (!question.fact.empty()) {
            const auto at = point.facts.find(question.fact);
            figure = at == point.facts.end() ? std::nullopt : std::optional{at->second};
        }
        if (figure && std::isfinite(*figure) && *figure > 0)
            figures[point.repetition] = *figure;
    }
    return figures;
}

double median_of(const Rounds& figures) {
    std::vector<double> values;
    for (const auto& [round, value] : figures)
        values.push_back(value);
    return summarize(values, {}).median;
}

std::optional<PairedRatio> lead_of(const Rounds& first, const Rounds& second, std::uint64_t seed) {
    std::vector<double> a, b;
    for (const auto& [round, value] : first)
        if (const auto at = second.find(round); at != second.end()) {
            a.push_back(value);
            b.push_back(at->second);
        }
    return paired_ratio(a, b, seed);
}

std::string why_no_winner(std::size_t measured, const std::optional<PairedRatio>& lead) {
    if (measured == 0)
        return "nothing was measured";
    if (measured == 1)
        return "there is nothing to compare it with";
    if (!lead || !lead->ci95)
        return fmt::format("{} rounds are too few to tell, {} are needed", lead ? lead->rounds : 0,
                           least_paired_rounds);
    return lead->ci95->low > 1 ? "" : "the differences are within the noise";
}

void correlate(PlaceVerdict& verdict) {
    std::vector<double> costs, figures;
    for (const auto& place : verdict.places)
        if (place.predicted_cost && place.rounds > 0) {
            costs.push_back(*place.predicted_cost);
            figures.push_back(-place.median);
        }
    verdict.spearman = spearman(costs, figures);
    verdict.kendall = kendall_tau_b(costs, figures);
    if (verdict.spearman && verdict.kendall)
        return;
    const auto tie = [](const std::vector<double>& values) {
        return std::all_of(values.begin(), values.end(), [&](double v) { return v == values.front(); });
    };
    verdict.why_no_correlation = costs.size() < 3 ? "fewer than 3 placements have a score and a measurement"
                                 : tie(costs)     ? "all scores are the same"
                                 : tie(figures)   ? "all measurements are the same"
                                                  : "a score or a measurement is no number";
}

} // namespace

PlaceVerdict judge_places(const PlaceQuestion& question, std::span<const SweepPoint> points,
                          std::uint64_t seed) {
    PlaceVerdict verdict;
    verdict.driver = question.driver;
    verdict.figure = question.fact.empty() ? "throughput" : question.fact;
    verdict.unit = question.unit;
    verdict.predictor = question.predictor;
    std::vector<Candidate> candidates;
    for (const auto& [configuration, cost] : question.candidates) {
        auto figures = figures_of(question, configuration, points);
        MeasuredPlace place{.configuration = configuration,
                            .predicted_cost = cost,
                            .rounds = figures.size(),
                            .median = median_of(figures)};
        candidates.push_back({std::move(place), std::move(figures)});
    }
    std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
        if (a.place.rounds == 0 || b.place.rounds == 0)
            return a.place.rounds > b.place.rounds;
        return a.place.median > b.place.median;
    });
    const auto measured = static_cast<std::size_t>(std::count_if(
        candidates.begin(), candidates.end(), [](const Candidate& each) { return each.place.rounds > 0; }));
    if (measured > 1)
        verdict.lead = lead_of(candidates[0].figures, candidates[1].figures, seed);
    verdict.why_no_winner = why_no_winner(measured, verdict.lead);
    for (auto& candidate : candidates)
        verdict.places.push_back(std::move(candidate.place));
    correlate(verdict);
    return verdict;
}

} // namespace nestbed::report
