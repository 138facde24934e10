#include "report/place_comparison.hpp"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::report {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

Configuration place(const std::string& policy) {
    return {.policy = policy, .page_size = "4K", .nested = "auto", .topology = ""};
}

SweepPoint point(const std::string& policy, std::uint32_t round, double figure) {
    SweepPoint measured;
    measured.driver = "c2c";
    measured.configuration = place(policy);
    measured.repetition = round;
    measured.verdict = Verdict::pass;
    measured.operations = figure;
    measured.seconds = 1;
    measured.facts["local"] = 1000 - figure;
    return measured;
}

// By policy, a figure for each round.
std::vector<SweepPoint> points(const std::map<std::string, std::vector<double>>& figures) {
    std::vector<SweepPoint> all;
    for (const auto& [policy, values] : figures)
        for (std::uint32_t round = 0; round < values.size(); ++round)
            all.push_back(point(policy, round, values[round]));
    return all;
}

PlaceQuestion question(const std::vector<std::pair<std::string, std::optional<double>>>& costs) {
    PlaceQuestion asked{
        .driver = "c2c", .fact = "", .unit = "passes/s", .predictor = "traffic all to all", .candidates = {}};
    for (const auto& [policy, cost] : costs)
        asked.candidates.push_back({place(policy), cost});
    return asked;
}

std::vector<std::string> order(const PlaceVerdict& verdict) {
    std::vector<std::string> policies;
    for (const auto& each : verdict.places)
        policies.push_back(each.configuration.policy);
    return policies;
}

TEST(JudgePlaces, FindsTheWinnerAndWhatWasForetold) {
    // Rounds differ by more than policies do.
    const auto all = points({{"a", {100, 200, 300, 400, 500, 600}},
                             {"b", {120, 240, 361, 480, 602, 720}},
                             {"c", {90, 180, 270, 360, 450, 540}}});
    const auto verdict = judge_places(question({{"a", 11}, {"b", 10}, {"c", 12}}), all, 1);
    EXPECT_THAT(order(verdict), testing::ElementsAre("b", "a", "c"));
    EXPECT_THAT(verdict.why_no_winner, IsEmpty());
    EXPECT_NEAR(verdict.lead->ratio, 1.2, 0.001);
    EXPECT_GT(verdict.lead->ci95->low, 1.19);
    EXPECT_EQ(verdict.places[0].rounds, 6U);
    EXPECT_EQ(verdict.places[0].median, 361);
    EXPECT_EQ(verdict.figure, "throughput");
    EXPECT_NEAR(*verdict.spearman, 1, 1e-12);
    EXPECT_NEAR(*verdict.kendall, 1, 1e-12);
    EXPECT_THAT(verdict.why_no_correlation, IsEmpty());
    const auto wrong = judge_places(question({{"a", 11}, {"b", 12}, {"c", 10}}), all, 1);
    EXPECT_NEAR(*wrong.spearman, -1, 1e-12);
}

TEST(JudgePlaces, ComparesTheFactWhereOneIsNamed) {
    auto asked = question({{"a", 11}, {"b", 10}});
    asked.fact = "local"; // 1000 less the throughput
    const auto verdict = judge_places(asked, points({{"a", {100, 100}}, {"b", {200, 200}}}), 1);
    EXPECT_THAT(order(verdict), testing::ElementsAre("a", "b"));
    EXPECT_EQ(verdict.places[0].median, 900);
    EXPECT_EQ(verdict.figure, "local");
}

TEST(JudgePlaces, SaysWhyThereIsNoWinner) {
    struct Case {
        std::map<std::string, std::vector<double>> figures;
        std::string why;
    };
    for (const auto& [figures, why] : std::vector<Case>{
             {{}, "nothing was measured"},
             {{{"a", {1, 2, 3, 4, 5, 6}}}, "nothing to compare"},
             {{{"a", {100, 100, 100, 100, 100}}, {"b", {1, 1, 1, 1, 1}}}, "5 rounds are too few to tell, 6"},
             {{{"a", {101, 99, 101, 99, 101, 99, 101}}, {"b", {99, 101, 99, 101, 99, 101, 99}}},
              "the differences are within the noise"},
         })
        EXPECT_THAT(judge_places(question({{"a", 1}, {"b", 2}}), points(figures), 1).why_no_winner,
                    HasSubstr(why));
}

TEST(JudgePlaces, PairsRoundsAndLeavesOutThoseThatDidNotPass) {
    auto all =
        points({{"a", {100, 200, 300, 400, 500, 600, 700}}, {"b", {50, 100, 150, 200, 250, 300, 350}}});
    all[2].verdict = Verdict::fail; // a's third round
    all[2].operations = 1e9;
    all[7].verdict = Verdict::hang; // b's first
    std::swap(all[0], all[13]);
    all.push_back(point("never asked for", 0, 1e9));
    auto other = point("a", 2, 1e9);
    other.driver = "memory";
    all.push_back(other);
    const auto verdict = judge_places(question({{"a", 1}, {"b", 2}, {"d", 3}}), all, 1);
    EXPECT_THAT(order(verdict), testing::ElementsAre("a", "b", "d"));
    EXPECT_EQ(verdict.places[0].rounds, 6U);
    EXPECT_EQ(verdict.places[1].rounds, 6U);
    EXPECT_EQ(verdict.places[2].rounds, 0U);
    EXPECT_TRUE(std::isnan(verdict.places[2].median));
    EXPECT_EQ(verdict.lead->rounds, 5U);
    EXPECT_NEAR(verdict.lead->ratio, 2, 1e-12);
}

TEST(JudgePlaces, SaysWhyNothingWasForetold) {
    const auto all = points({{"a", {1}}, {"b", {2}}, {"c", {3}}});
    EXPECT_THAT(judge_places(question({{"a", 1}, {"b", 2}}), all, 1).why_no_correlation,
                HasSubstr("fewer than 3"));
    EXPECT_THAT(judge_places(question({{"a", 1}, {"b", 2}, {"c", {}}}), all, 1).why_no_correlation,
                HasSubstr("fewer than 3"));
    EXPECT_THAT(judge_places(question({{"a", 5}, {"b", 5}, {"c", 5}}), all, 1).why_no_correlation,
                HasSubstr("all scores are the same"));
    EXPECT_THAT(judge_places(question({{"a", 1}, {"b", 2}, {"c", 3}}),
                             points({{"a", {1}}, {"b", {1}}, {"c", {1}}}), 1)
                    .why_no_correlation,
                HasSubstr("all measurements are the same"));
    const auto tied = judge_places(question({{"a", 5}, {"b", 5}, {"c", 4}}), all, 1);
    EXPECT_NEAR(*tied.spearman, std::sqrt(0.75), 1e-12);
}

} // namespace
} // namespace nestbed::report
