#include "report/paired_ratio.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "report/normal_noise.hpp"

namespace nestbed::report {
namespace {

TEST(PairedRatio, IsTheMedianOfTheRounds) {
    struct Case {
        std::vector<double> a, b;
        double ratio;
        std::uint64_t rounds;
    };
    const double nan = std::nan("");
    for (const auto& [a, b, ratio, rounds] : std::vector<Case>{
             {{2}, {1}, 2, 1},
             {{2, 8}, {1, 1}, 4, 2}, // geometric
             {{2, 3, 100}, {1, 1, 1}, 3, 3},
             // The host is ten times slower in the second round, and it does not matter.
             {{10, 1, 10}, {5, 0.5, 5}, 2, 3},
             {{4, nan, 0, -1, 6, HUGE_VAL}, {2, 1, 1, 1, 3, 1}, 2, 2},
             {{4, 6, 8}, {2}, 2, 1},
         }) {
        const auto paired = paired_ratio(a, b, 1);
        ASSERT_TRUE(paired);
        EXPECT_DOUBLE_EQ(paired->ratio, ratio);
        EXPECT_EQ(paired->rounds, rounds);
        EXPECT_FALSE(paired->ci95) << "too few rounds";
    }
    EXPECT_FALSE(paired_ratio(std::vector<double>{}, std::vector{1.0}, 1));
    EXPECT_FALSE(paired_ratio(std::vector{0.0}, std::vector{1.0}, 1));
}

TEST(PairedRatio, HasAnIntervalFromSixRoundsOn) {
    const std::vector<double> a{2.0, 2.2, 2.1, 1.9, 2.3, 1.8}, b(6, 1.0);
    EXPECT_FALSE(paired_ratio(std::span{a}.first(5), b, 1)->ci95);
    const auto six = paired_ratio(a, b, 1);
    ASSERT_TRUE(six->ci95);
    EXPECT_GE(six->ci95->low, 1.8);
    EXPECT_LT(six->ci95->low, 2.0);
    EXPECT_GT(six->ci95->high, 2.1);
    EXPECT_LE(six->ci95->high, 2.3);
    EXPECT_EQ(six->ci95, paired_ratio(a, b, 1)->ci95) << "the same seed";
    const auto inverse = paired_ratio(b, a, 1);
    EXPECT_NEAR(inverse->ratio * six->ratio, 1, 1e-12);
    // What does not vary has no width.
    EXPECT_EQ(paired_ratio(b, b, 1)->ci95, (Interval{1, 1}));
}

// Rounds with a drift that is the same for both and a hundred times their difference.
TEST(PairedRatio, DoesNotCareForWhatBothHaveInCommon) {
    std::vector<double> a, b;
    NormalNoise noise{7};
    for (int round = 0; round < 10; ++round) {
        const double host = std::pow(2, round);
        a.push_back(host * 1.05 * (1 + 0.01 * noise.next()));
        b.push_back(host * (1 + 0.01 * noise.next()));
    }
    const auto paired = paired_ratio(a, b, 3);
    EXPECT_NEAR(paired->ratio, 1.05, 0.02);
    EXPECT_GT(paired->ci95->low, 1.02);
    EXPECT_LT(paired->ci95->high, 1.08);
}

// The better of `things` equal ones against the next, with a tenth of the rounds disturbed.
double false_winners(std::size_t things, std::size_t rounds) {
    NormalNoise noise{things * 100 + rounds};
    int won = 0;
    constexpr int trials = 300;
    for (int trial = 0; trial < trials; ++trial) {
        std::vector<std::pair<double, std::vector<double>>> measured;
        for (std::size_t thing = 0; thing < things; ++thing) {
            std::vector<double> values;
            for (std::size_t round = 0; round < rounds; ++round)
                values.push_back(std::exp(0.05 * noise.next()) * (std::abs(noise.next()) > 1.645 ? 0.6 : 1));
            auto sorted = values;
            std::sort(sorted.begin(), sorted.end());
            measured.emplace_back(sorted[(rounds - 1) / 2], values);
        }
        std::sort(measured.rbegin(), measured.rend());
        const auto lead =
            paired_ratio(measured[0].second, measured[1].second, static_cast<std::uint64_t>(trial));
        won += lead->ci95->low > 1 ? 1 : 0;
    }
    return static_cast<double>(won) / trials;
}

TEST(PairedRatio, SeldomFindsAWinnerAmongEquals) {
    for (const std::size_t things : {2U, 8U})
        for (const std::size_t rounds : {6U, 10U})
            EXPECT_LE(false_winners(things, rounds), 0.05) << things << " things, " << rounds << " rounds";
}

} // namespace
} // namespace nestbed::report
