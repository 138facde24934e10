#include "report/rank_test.hpp"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "report/normal_noise.hpp"

namespace nestbed::report {
namespace {

// Critical values of the two-sided test at 5 %, as tables of the Mann-Whitney U have them; a table's value is
// the largest U that is rejected, which is one less than the rank of the interval's end.
TEST(RankTest, LeavesOutAsManyPairsAsTheTablesSay) {
    struct Case {
        std::size_t a, b;
        std::optional<std::size_t> trimmed;
    };
    for (const auto& [a, b, trimmed] : std::vector<Case>{{0, 9, {}},
                                                         {1, 30, {}},
                                                         {2, 7, {}},
                                                         {2, 8, 0},
                                                         {3, 3, {}},
                                                         {3, 5, 0},
                                                         {4, 4, 0},
                                                         {5, 5, 2},
                                                         {5, 8, 6},
                                                         {8, 5, 6},
                                                         {10, 10, 23},
                                                         {12, 20, 69},
                                                         {20, 20, 127}})
        EXPECT_EQ(trimmed_pairs(a, b), trimmed) << a << " and " << b;
}

TEST(RankTest, GoesOverIntoTheNormalDistributionWithoutAStep) {
    const auto exact = static_cast<double>(*trimmed_pairs(30, 30));
    const auto approximate = static_cast<double>(*trimmed_pairs(31, 30));
    EXPECT_NEAR(approximate / exact, 31.0 / 30, 0.02);
}

TEST(RankTest, GivesTheMedianOfAllRatios) {
    const auto estimate = estimate_ratio(std::vector{1.0, 2.0, 4.0}, std::vector{8.0});
    ASSERT_TRUE(estimate);
    EXPECT_DOUBLE_EQ(estimate->ratio, 4);
    EXPECT_FALSE(estimate->ci95);
    const auto other =
        estimate_ratio(std::vector<double>{10.0, 11, 12, 13}, std::vector<double>{20.0, 22, 24, 26});
    EXPECT_DOUBLE_EQ(other->ci95->low, 20.0 / 13);
    EXPECT_DOUBLE_EQ(other->ci95->high, 2.6);
    const auto inverse =
        estimate_ratio(std::vector<double>{20.0, 22, 24, 26}, std::vector<double>{10.0, 11, 12, 13});
    EXPECT_NEAR(inverse->ratio * other->ratio, 1, 1e-12);
}

TEST(RankTest, LeavesOutWhatIsNoPositiveNumber) {
    EXPECT_FALSE(estimate_ratio(std::vector<double>{}, std::vector{1.0}));
    EXPECT_FALSE(estimate_ratio(std::vector{1.0}, std::vector{0.0, -1.0, std::nan(""), HUGE_VAL}));
    EXPECT_DOUBLE_EQ(estimate_ratio(std::vector{std::nan(""), 2.0}, std::vector{3.0, -7.0})->ratio, 1.5);
}

TEST(RankTest, TakesAThousandOfManySamples) {
    std::vector<double> a, b;
    for (int i = 1; i <= 100'000; ++i) {
        a.push_back(1000 + i);
        b.push_back(2000 + 2 * i);
    }
    const auto estimate = estimate_ratio(a, b);
    EXPECT_NEAR(estimate->ratio, 2, 0.01);
    EXPECT_NEAR(estimate->ci95->low, 1.87, 0.1);
}

// Of the same population, 1 is in the interval in 95 % of the cases or a little more; of two that are 20 %
// apart, 1.2 is, and 1 is not.
TEST(RankTest, IsRightAsOftenAsItSays) {
    for (const double truth : {1.0, 1.2}) {
        NormalNoise noise{7};
        int covered = 0, told_apart = 0;
        constexpr int rounds = 2000;
        for (int round = 0; round < rounds; ++round) {
            std::vector<double> a, b;
            for (int i = 0; i < 6; ++i) {
                a.push_back(std::exp(0.05 * noise.next()));
                b.push_back(truth * std::exp(0.05 * noise.next()));
            }
            const auto interval = *estimate_ratio(a, b)->ci95;
            covered += interval.low <= truth && truth <= interval.high;
            told_apart += interval.low > 1 || interval.high < 1;
        }
        // Exact probability for 6 and 6: 1 - 2 * 0.0206 = 0.959.
        EXPECT_NEAR(covered, 0.959 * rounds, 45);
        if (truth > 1) {
            EXPECT_GT(told_apart, 0.98 * rounds);
        }
    }
}

} // namespace
} // namespace nestbed::report
