#include "report/plan_score.hpp"

#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

topology::Score example_score(double mean_cost) {
    topology::Score score;
    score.pairs = topology::PairScore{.mean_cost = mean_cost,
                                      .mean_numa_distance = 12.5,
                                      .worst_numa_distance = 21,
                                      .shared_llc = 0.75,
                                      .shared_core = 0.25};
    score.memory_locality = {1, 0.5};
    score.max_vcpus_per_pu = 3;
    score.mean_vcpus_per_pu = 1.5;
    score.stranded_cores = 1;
    return score;
}

TEST(PlanScore, AsJsonHasEveryFigure) {
    const nlohmann::json expected{{"pairs",
                                   {{"mean_cost", 7.5},
                                    {"mean_numa_distance", 12.5},
                                    {"worst_numa_distance", 21},
                                    {"shared_llc", 0.75},
                                    {"shared_core", 0.25}}},
                                  {"memory_locality", {1.0, 0.5}},
                                  {"max_vcpus_per_pu", 3},
                                  {"mean_vcpus_per_pu", 1.5},
                                  {"stranded_cores", 1}};
    EXPECT_EQ(nlohmann::json(to_json(example_score(7.5))), expected);
    EXPECT_TRUE(to_json(topology::Score{})["pairs"].is_null());
    const auto none = to_json(topology::Alternative{.share = 0.5, .change = 0, .pu = {}, .partner = {}});
    EXPECT_TRUE(none["pu"].is_null() && none["partner"].is_null());
    const auto one = to_json(topology::Alternative{.share = 0.5, .change = -0.25, .pu = 7, .partner = 2});
    EXPECT_EQ(nlohmann::json(one),
              nlohmann::json({{"share", 0.5}, {"change", -0.25}, {"pu", 7}, {"partner", 2}}));
}

TEST(PlanScore, AsTextSaysWhatIsNotKnown) {
    EXPECT_THAT(format_score(example_score(7.5), "ring"),
                AllOf(HasSubstr("traffic ring"),
                      HasSubstr("mean cost 7.50, mean NUMA distance 12.5, worst 21"),
                      HasSubstr("75 % of the traffic stays in a last-level cache, 25 % in a core"),
                      HasSubstr("75 % of vCPUs beside their memory"),
                      HasSubstr("1.50 vCPUs a PU used, 3 at most"), HasSubstr("1 core idle")));
    EXPECT_THAT(format_score({}, "ring"), AllOf(HasSubstr("nothing is known of pairs"),
                                                Not(HasSubstr("mean cost")), Not(HasSubstr("a PU used"))));
}

TEST(PlanScore, ATableHasTheBestFirst) {
    const auto host = test::example_host(1, 4);
    auto dear = test::example_plan(host, 2), cheap = dear, unknown = dear;
    dear.policy = topology::Policy::scatter;
    cheap.policy = topology::Policy::llc;
    unknown.policy = topology::Policy::none;
    const auto table =
        format_comparison({{unknown, {}}, {dear, example_score(20)}, {cheap, example_score(5)}}, "pairs");
    const auto llc = table.find("\n  llc "), scatter = table.find("\n  scatter "),
               none = table.find("\n  none ");
    ASSERT_NE(none, std::string::npos);
    EXPECT_LT(llc, scatter);
    EXPECT_LT(scatter, none);
    EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 2 + 1 + 3);
    EXPECT_THAT(table.substr(none), AllOf(HasSubstr("?"), HasSubstr("any")));
}

TEST(PlanScore, AnExplanationHasEachVcpu) {
    const auto plan = test::example_plan(test::example_host(1, 4), 3);
    const auto text = format_explanation(plan,
                                         {{.share = 0.5, .change = 0.125, .pu = 3, .partner = {}},
                                          {.share = 0.25, .change = 0, .pu = 0, .partner = 0},
                                          {.share = 0.25, .change = 0, .pu = {}, .partner = {}}},
                                         "ring");
    EXPECT_THAT(text, AllOf(HasSubstr("vCPU 0: PU 0. its virtual node"),
                            HasSubstr("50.00 % of all cost is its; PU 3: +12.500 % of all cost\n"),
                            HasSubstr("PU 0 in exchange with vCPU 0: as good\n"),
                            HasSubstr("there is no other place\n")));
    EXPECT_THAT(format_explanation(plan, {}, "ring"),
                AllOf(HasSubstr("vCPU 2: "), Not(HasSubstr("cost is its"))));
}

} // namespace
} // namespace nestbed::report
