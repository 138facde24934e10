#include "stress/sweep/schedule.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

constexpr StressDriver a{.name = "a", .title = "", .invariant = "", .unit = ""};
constexpr StressDriver b{.name = "b", .title = "", .invariant = "", .unit = "", .least_vcpus = 2};
constexpr StressDriver c{.name = "c", .title = "", .invariant = "", .unit = ""};
constexpr std::array<const StressDriver*, 2> two{&a, &b};
constexpr std::array<const StressDriver*, 3> three{&a, &b, &c};
constexpr std::array<std::uint32_t, 2> counts{1, 288};

// "a/288/c1/r0"
std::vector<std::string> names(const std::vector<PlannedPoint>& points) {
    std::vector<std::string> all;
    for (const auto& p : points)
        all.push_back(std::string{p.driver->name} + "/" + std::to_string(p.vcpus) + "/c" +
                      std::to_string(p.configuration) + "/r" + std::to_string(p.repetition));
    return all;
}

TEST(PlanSweep, RepeatsAllBeforeAnythingTwice) {
    EXPECT_THAT(names(plan_sweep({two, 2, counts, 7}, 2)),
                ElementsAre("a/1/c0/r0", "a/1/c1/r0", "a/288/c0/r0", "a/288/c1/r0", "b/288/c0/r0",
                            "b/288/c1/r0", "a/1/c0/r1", "a/1/c1/r1", "a/288/c0/r1", "a/288/c1/r1",
                            "b/288/c0/r1", "b/288/c1/r1"));
}

TEST(PlanSweep, ConfigurationsDoTheSameWorkAndRepetitionsOther) {
    for (const auto& point : plan_sweep({two, 3, counts, 40}, 3))
        EXPECT_EQ(point.seed, 40U + point.repetition);
}

TEST(PlanSweep, RunsNothingOnFewerVcpusThanItNeeds) {
    for (const auto& point : plan_sweep({two, 1, counts, 1}, 1))
        EXPECT_GE(point.vcpus, point.driver->least_vcpus);
    constexpr std::array<std::uint32_t, 1> one{1};
    constexpr std::array<const StressDriver*, 1> only{&b};
    EXPECT_TRUE(plan_sweep({only, 1, one, 1}, 5).empty());
    EXPECT_TRUE(plan_mix_round({only, 1, one, 1}, 0).empty());
}

TEST(OrderOfRound, IsAPermutationOfTheSeedAlone) {
    std::set<std::vector<std::size_t>> firsts;
    for (std::uint64_t seed = 0; seed < 20; ++seed)
        for (const std::size_t count : {0U, 1U, 2U, 3U, 7U, 256U}) {
            auto order = order_of_round(count, 5, seed);
            EXPECT_EQ(order, order_of_round(count, 5, seed));
            if (count == 7)
                firsts.insert(order_of_round(count, 0, seed));
            std::sort(order.begin(), order.end());
            for (std::size_t i = 0; i < count; ++i)
                EXPECT_EQ(order.at(i), i);
            EXPECT_EQ(order.size(), count);
        }
    EXPECT_GT(firsts.size(), 15U);
}

// A drift that grows from place to place adds up to the same for all.
TEST(OrderOfRound, BalancesEachPairOfRounds) {
    for (const std::size_t count : {1U, 2U, 3U, 4U, 9U})
        for (std::uint32_t round = 0; round < 24; round += 2) {
            const auto first = order_of_round(count, round, 3), second = order_of_round(count, round + 1, 3);
            std::vector<std::size_t> places(count);
            for (std::size_t at = 0; at < count; ++at) {
                places[first[at]] += at;
                places[second[at]] += at;
            }
            EXPECT_THAT(places, testing::Each(count - 1)) << count << " in round " << round;
        }
}

TEST(OrderOfRound, HasEachOnceAtEachPlaceInTwiceAsManyRounds) {
    for (const std::size_t count : {2U, 3U, 5U}) {
        std::set<std::pair<std::size_t, std::size_t>> seen;
        for (std::uint32_t round = 0; round < 2 * count; round += 2)
            for (std::size_t at = 0; at < count; ++at)
                seen.emplace(order_of_round(count, round, 9)[at], at);
        EXPECT_EQ(seen.size(), count * count);
    }
}

TEST(PlanSweep, BalancesConfigurationsWhereAskedTo) {
    const auto points = plan_sweep({two, 3, counts, 7, true}, 4);
    ASSERT_EQ(points.size(), 3U * 3 * 4); // a on two counts, b on one
    for (std::size_t first = 0; first < points.size(); first += 3) {
        const auto order = order_of_round(3, points[first].repetition, 7);
        for (std::size_t i = 0; i < 3; ++i) {
            EXPECT_EQ(points[first + i].configuration, order[i]);
            EXPECT_EQ(points[first + i].driver, points[first].driver);
            EXPECT_EQ(points[first + i].vcpus, points[first].vcpus);
        }
    }
}

TEST(PlanMixRound, HasEachDriverOnceInAnOrderOfTheSeed) {
    std::set<std::vector<std::string>> orders;
    for (std::uint32_t round = 0; round < 20; ++round) {
        const auto points = plan_mix_round({three, 2, counts, 5}, round);
        std::multiset<std::string_view> drivers;
        for (const auto& point : points) {
            drivers.insert(point.driver->name);
            EXPECT_GE(point.vcpus, point.driver->least_vcpus);
            EXPECT_LT(point.configuration, 2U);
            EXPECT_EQ(point.seed, 5U + round);
        }
        EXPECT_THAT(drivers, testing::UnorderedElementsAre("a", "b", "c"));
        EXPECT_EQ(names(points), names(plan_mix_round({three, 2, counts, 5}, round))) << "the same seed";
        orders.insert(names(points));
    }
    EXPECT_GT(orders.size(), 5U);
    EXPECT_NE(names(plan_mix_round({three, 2, counts, 5}, 1)),
              names(plan_mix_round({three, 2, counts, 6}, 1)));
}

TEST(MixSlot, GivesEachDriverSomeTurns) {
    EXPECT_EQ(mix_slot(80s, 20), 1s);
    EXPECT_EQ(mix_slot(1s, 20), 50ms);
    EXPECT_EQ(mix_slot(24h, 20), 5s);
    EXPECT_EQ(mix_slot(4s, 0), 1s);
}

} // namespace
} // namespace nestbed::stress
