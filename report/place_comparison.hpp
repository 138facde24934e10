// Placements, measured in rounds and compared driver by driver; and how well their scores foretold it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "report/paired_ratio.hpp"
#include "report/sweep.hpp"

namespace nestbed::report {

// What is known before anything runs.
struct PlaceCandidate {
    Configuration configuration;
    std::optional<double> predicted_cost; // less is better; empty where the score says nothing of the plan
};

struct PlaceQuestion {
    std::string driver;
    std::string fact;      // of a point, which is compared: "local_bytes_per_second"; empty: the throughput
    std::string unit;      // of the figure, of which more is better: "passes/s"
    std::string predictor; // what the costs are of: "traffic all to all"
    std::vector<PlaceCandidate> candidates;
};

struct MeasuredPlace {
    Configuration configuration;
    std::optional<double> predicted_cost;
    std::uint64_t rounds = 0; // in which the driver passed
    double median = Summary::nothing;
};

// Of one driver.
struct PlaceVerdict {
    std::string driver;
    std::string figure; // "throughput", or the fact's name
    std::string unit;
    std::string predictor;
    std::vector<MeasuredPlace> places; // the best median first, those without any last
    std::optional<PairedRatio> lead;   // of the first over the second, by the rounds that both passed
    std::string why_no_winner;         // empty: the first is better by more than the noise
    // Of predicted costs and medians, over the places that have both: 1 where the order is as predicted.
    std::optional<double> spearman, kendall;
    std::string why_no_correlation; // empty where there are both
};

struct PlaceComparison {
    std::vector<PlaceVerdict> drivers;
};

// Points of other drivers and configurations, and those that did not pass, do not count. `seed` is that of
// paired_ratio().
[[nodiscard]] PlaceVerdict judge_places(const PlaceQuestion& question, std::span<const SweepPoint> points,
                                        std::uint64_t seed);

} // namespace nestbed::report
