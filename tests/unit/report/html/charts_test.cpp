#include "report/html/charts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/usl.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

SweepPoint point(const std::string& driver, std::uint32_t vcpus, std::uint32_t repetition, double speed) {
    auto one = test::example_point(driver, vcpus, repetition);
    one.seconds = 1;
    one.operations = speed;
    return one;
}

TEST(ScalingCharts, HaveTheMedianAndTheRangeOfTheRepetitions) {
    Sweep sweep;
    for (const auto& [speed, repetition] : {std::pair{30.0, 0U}, {10.0, 1U}, {20.0, 2U}})
        sweep.points.push_back(point("locks", 4, repetition, speed));
    auto bad = point("locks", 4, 3, 1000);
    bad.verdict = Verdict::fail;
    sweep.points.push_back(bad);
    const auto charts = scaling_charts(sweep);
    ASSERT_EQ(charts.size(), 1U);
    EXPECT_EQ(charts[0]["title"], "locks");
    EXPECT_EQ(charts[0]["y"], "interrupts/s");
    EXPECT_EQ(charts[0]["series"][0]["name"], "numa 2M svm:-vgif 2x1x2x1");
    EXPECT_EQ(charts[0]["series"][0]["points"], nlohmann::ordered_json::parse("[[4, 20.0, 10.0, 30.0]]"));
    EXPECT_TRUE(charts[0]["series"][0]["curve"].empty());
}

TEST(ScalingCharts, HaveTheFittedCurve) {
    Sweep sweep;
    for (const auto vcpus : {1U, 2U, 4U, 8U, 16U, 32U})
        sweep.points.push_back(point("locks", vcpus, 0, usl_throughput(100, 0.1, 0.01, vcpus)));
    sweep.fits = fit_sweep(sweep.points);
    const auto series = scaling_charts(sweep)[0]["series"][0];
    EXPECT_EQ(series["curve"].front()[0], 1.0);
    EXPECT_NEAR(series["curve"].front()[1].get<double>(), 100, 1e-6);
    EXPECT_NEAR(series["curve"].back()[0].get<double>(), 32, 1e-9);
    EXPECT_NEAR(series["knee"][0].get<double>(), 9.4868, 1e-3);
}

TEST(Histograms, AreOfTheMostVcpusAndOfAllRepetitions) {
    Sweep sweep;
    sweep.points = {point("ipi", 1, 0, 1), point("ipi", 4, 0, 1), point("ipi", 4, 1, 1)};
    const auto json = histograms(sweep);
    ASSERT_EQ(json.size(), 1U);
    EXPECT_EQ(json[0]["counts"], nlohmann::ordered_json::parse("[2, 4, 6]"));
    EXPECT_THAT(json[0]["title"].get<std::string>(), testing::HasSubstr("4 vCPUs"));
}

TEST(Histograms, PutBucketsTogetherWhereThereAreMany) {
    Sweep sweep;
    sweep.points = {point("ipi", 1, 0, 1)};
    auto& histogram = sweep.points[0].distributions[0].histogram;
    histogram = {.bounds = {0}, .counts = {}};
    for (int i = 1; i <= 201; ++i) {
        histogram.bounds.push_back(i);
        histogram.counts.push_back(1);
    }
    const auto json = histograms(sweep)[0];
    EXPECT_EQ(json["counts"].size(), 51U); // of 4 each, and the last of 1
    EXPECT_EQ(json["counts"][0], 4);
    EXPECT_EQ(json["counts"][50], 1);
    EXPECT_EQ(json["bounds"].size(), 52U);
    EXPECT_EQ(json["bounds"][51], 201.0);
}

// Each repetition's histogram begins and ends where its own samples do.
TEST(Histograms, AddRepetitionsOfOtherBounds) {
    Sweep sweep;
    for (std::uint32_t repetition = 0; repetition < 3; ++repetition)
        sweep.points.push_back(point("d", 4, repetition, 1));
    sweep.points[0].distributions[0].histogram = {.bounds = {4, 8, 16}, .counts = {1, 2}};
    sweep.points[1].distributions[0].histogram = {.bounds = {1, 8}, .counts = {5}};
    sweep.points[2].distributions[0].histogram = {.bounds = {32, 64}, .counts = {7}};
    const auto json = histograms(sweep)[0];
    EXPECT_EQ(json["bounds"], (nlohmann::json{1.0, 8.0, 16.0, 32.0, 64.0}));
    EXPECT_EQ(json["counts"], (nlohmann::json{6, 2, 0, 7}));
    EXPECT_EQ(json["repetitions"], 3);
}

TEST(HeatMaps, ShareWhatAPageCanHold) {
    Sweep sweep;
    for (int driver = 0; driver < 4; ++driver) {
        auto one = point("d" + std::to_string(driver), 1024, 0, 1);
        sweep.points.push_back(one);
    }
    const auto json = heat_maps(sweep, 2'097'152);
    ASSERT_EQ(json.size(), 4U);
    std::size_t letters = 0;
    for (const auto& map : json) {
        EXPECT_EQ(map["block"], 2);
        letters += map["levels"].get<std::string>().size();
    }
    EXPECT_LT(letters, 3'000'000U);
    sweep.points.resize(2);
    EXPECT_EQ(heat_maps(sweep, 2'097'152)[0]["block"], 1);
}

} // namespace
} // namespace nestbed::report
