#include "report/stats.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::report {
namespace {

// 1, 2, ..., n, largest first, so that nothing is right without sorting.
std::vector<double> one_to(std::size_t n) {
    std::vector<double> values(n);
    std::iota(values.rbegin(), values.rend(), 1.0);
    return values;
}

TEST(Percentile, IsTheNearestRank) {
    struct Case {
        std::size_t samples;
        double percent;
        double expected;
    };
    const std::vector<Case> cases{
        {1, 0, 1},   {1, 50, 1},      {1, 100, 1},    {2, 50, 1},        {2, 51, 2},      {3, 50, 2},
        {4, 50, 2},  {5, 90, 5},      {10, 90, 9},    {10, 91, 10},      {100, 7, 7},     {100, 99, 99},
        {100, 0, 1}, {100, 100, 100}, {101, 99, 100}, {1000, 99.9, 999}, {1000, 50, 500},
    };
    for (const auto& [samples, percent, expected] : cases) {
        auto sorted = one_to(samples);
        std::sort(sorted.begin(), sorted.end());
        EXPECT_EQ(percentile(sorted, percent), expected) << percent << " % of " << samples;
    }
    EXPECT_EQ(percentile({}, 50), std::nullopt);
}

TEST(Warmup, IsTheFirstSamplesAndNoMoreThanThereAre) {
    const std::vector<double> samples{9, 8, 7};
    EXPECT_EQ(without_warmup(samples, 0).size(), 3U);
    ASSERT_EQ(without_warmup(samples, 2).size(), 1U);
    EXPECT_EQ(without_warmup(samples, 2)[0], 7);
    EXPECT_TRUE(without_warmup(samples, 3).empty());
    EXPECT_TRUE(without_warmup(samples, 4).empty());
}

TEST(Summarize, GivesEachFigure) {
    const auto summary = summarize(one_to(200), "ns");
    EXPECT_EQ(summary.unit, "ns");
    EXPECT_EQ(summary.warmup, 0U);
    EXPECT_EQ(summary.count, 200U);
    EXPECT_EQ(summary.min, 1);
    EXPECT_EQ(summary.median, 100);
    EXPECT_EQ(summary.p90, 180);
    EXPECT_EQ(summary.p99, 198);
    EXPECT_EQ(summary.max, 200);
    EXPECT_EQ(summary.mean, 100.5);
}

TEST(Summarize, LeavesTheWarmupOut) {
    const std::vector<double> samples{1e9, 1e9, 3, 1, 2};
    const auto summary = summarize(samples, "ns", 2);
    EXPECT_EQ(summary.warmup, 2U);
    EXPECT_EQ(summary.count, 3U);
    EXPECT_EQ(summary.max, 3);
    EXPECT_EQ(summary.mean, 2);
}

TEST(Summarize, OfOneSampleIsThatSample) {
    const auto summary = summarize(std::vector{5.0}, "ns");
    EXPECT_EQ(summary.count, 1U);
    for (const double figure :
         {summary.min, summary.median, summary.p90, summary.p99, summary.max, summary.mean})
        EXPECT_EQ(figure, 5);
    EXPECT_FALSE(summary.median_ci95);
}

TEST(Summarize, OfNoSamplesHasNoFigures) {
    for (const auto& summary : {summarize({}, "ns"), summarize(std::vector{1.0, 2.0}, "ns", 5)}) {
        EXPECT_EQ(summary.count, 0U);
        for (const double figure :
             {summary.min, summary.median, summary.p90, summary.p99, summary.max, summary.mean})
            EXPECT_TRUE(std::isnan(figure));
        EXPECT_FALSE(summary.median_ci95);
    }
    EXPECT_EQ(summarize(std::vector{1.0, 2.0}, "ns", 5).warmup, 2U);
}

TEST(Summarize, CountsOnlyFiniteNumbers) {
    using Limits = std::numeric_limits<double>;
    const auto summary =
        summarize(std::vector{Limits::quiet_NaN(), 2.0, Limits::infinity(), 1.0, -Limits::infinity()}, "ns");
    EXPECT_EQ(summary.count, 2U);
    EXPECT_EQ(summary.min, 1);
    EXPECT_EQ(summary.max, 2);
}

// The ranks are those that statistics tables give for the sign test at 5 % (two-sided).
TEST(MedianInterval, HasTheRanksOfTheBinomialTable) {
    struct Case {
        std::size_t samples;
        double low;
    };
    const std::vector<Case> cases{{6, 1},  {8, 1},  {9, 2},  {10, 2},  {12, 3},
                                  {15, 4}, {20, 6}, {25, 8}, {50, 18}, {100, 40}};
    for (const auto& [samples, low] : cases) {
        const auto ci = summarize(one_to(samples), "").median_ci95;
        ASSERT_TRUE(ci) << samples;
        EXPECT_EQ(ci->low, low) << samples;
        EXPECT_EQ(ci->high, static_cast<double>(samples) + 1 - low) << samples;
    }
    for (std::size_t samples = 0; samples < 6; ++samples)
        EXPECT_FALSE(summarize(one_to(samples), "").median_ci95) << samples;
}

TEST(MedianInterval, GoesOnSmoothlyWhereTheApproximationTakesOver) {
    const auto exact = summarize(one_to(1000), "").median_ci95;
    const auto approximate = summarize(one_to(1001), "").median_ci95;
    ASSERT_TRUE(exact && approximate);
    EXPECT_EQ(exact->low, 469);
    EXPECT_NEAR(approximate->low, exact->low, 1);
    EXPECT_NEAR(approximate->high, exact->high, 1.5);
}

} // namespace
} // namespace nestbed::report
