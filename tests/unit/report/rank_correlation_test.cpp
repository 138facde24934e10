#include "report/rank_correlation.hpp"

#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::report {
namespace {

using Values = std::vector<double>;

TEST(AverageRanks, AreSharedByEquals) {
    EXPECT_THAT(average_ranks(Values{}), testing::IsEmpty());
    EXPECT_THAT(average_ranks(Values{7}), testing::ElementsAre(1));
    EXPECT_THAT(average_ranks(Values{30, 10, 20}), testing::ElementsAre(3, 1, 2));
    EXPECT_THAT(average_ranks(Values{5, 1, 5, 9}), testing::ElementsAre(2.5, 1, 2.5, 4));
    EXPECT_THAT(average_ranks(Values{2, 2, 2}), testing::ElementsAre(2, 2, 2));
}

TEST(RankCorrelation, IsAsInTheTextbooks) {
    struct Case {
        Values a, b;
        double rho, tau;
    };
    for (const auto& [a, b, rho, tau] : std::vector<Case>{
             {{1, 2, 3}, {10, 20, 4000}, 1, 1},
             {{1, 2, 3}, {3, 2, 1}, -1, -1},
             // One neighbouring exchange of four: 1 - 6 * 2 / (4 * 15), and (5 - 1) / 6.
             {{1, 2, 3, 4}, {1, 3, 2, 4}, 0.8, 4.0 / 6},
             // Ranks 1.5, 1.5, 3 against 1, 2, 3: 1.5 / sqrt(1.5 * 2), and 2 / sqrt(2 * 3).
             {{5, 5, 6}, {1, 2, 3}, 1.5 / std::sqrt(3.0), 2 / std::sqrt(6.0)},
             {{1, 1, 2, 2}, {1, 1, 2, 2}, 1, 1},
             {{1, 2, 1, 2}, {1, 1, 2, 2}, 0, 0},
         }) {
        ASSERT_TRUE(spearman(a, b));
        EXPECT_NEAR(*spearman(a, b), rho, 1e-12);
        EXPECT_NEAR(*kendall_tau_b(a, b), tau, 1e-12);
        EXPECT_NEAR(*spearman(b, a), rho, 1e-12);
        EXPECT_NEAR(*kendall_tau_b(b, a), tau, 1e-12);
    }
}

TEST(RankCorrelation, IsNotDefinedWhereThereIsNoOrder) {
    for (const auto& [a, b] : std::vector<std::pair<Values, Values>>{{{}, {}},
                                                                     {{1, 2}, {1, 2}},
                                                                     {{1, 2, 3}, {1, 2}},
                                                                     {{4, 4, 4}, {1, 2, 3}},
                                                                     {{1, 2, 3}, {4, 4, 4}},
                                                                     {{1, std::nan(""), 3}, {1, 2, 3}}}) {
        EXPECT_FALSE(spearman(a, b));
        EXPECT_FALSE(kendall_tau_b(a, b));
    }
}

} // namespace
} // namespace nestbed::report
