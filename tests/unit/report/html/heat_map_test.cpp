#include "report/html/heat_map.hpp"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/base64.hpp"

namespace nestbed::report {
namespace {

using testing::ElementsAre;

Matrix matrix(std::uint32_t rows, std::uint32_t columns, std::vector<float> values) {
    return {.name = "latency", .unit = "us", .rows = rows, .columns = columns, .values = std::move(values)};
}

TEST(HeatMap, HasLogarithmicLevels) {
    const auto map = heat_map(matrix(1, 4, {1, 10, 100, std::nanf("")}), 100);
    EXPECT_THAT(map.levels, ElementsAre(1, 128, 255, 0));
    EXPECT_EQ(map.low, 1);
    EXPECT_EQ(map.high, 100);
    EXPECT_EQ(map.block, 1U);
}

TEST(HeatMap, KeepsOneOutlierFromTheScale) {
    std::vector<float> values(400, 2);
    for (std::size_t i = 0; i < 200; ++i)
        values[i] = 1;
    values[399] = 1e6F;
    const auto map = heat_map(matrix(20, 20, values), 1000);
    EXPECT_EQ(map.low, 1);
    EXPECT_EQ(map.high, 2);
    EXPECT_EQ(map.levels[0], 1);
    EXPECT_EQ(map.levels[399], 255);
}

TEST(HeatMap, MayHaveNothingOrOneValue) {
    EXPECT_TRUE(heat_map(matrix(0, 0, {}), 100).levels.empty());
    EXPECT_TRUE(heat_map(matrix(2, 2, {1}), 100).levels.empty()); // damaged
    EXPECT_THAT(heat_map(matrix(1, 2, {std::nanf(""), 0}), 100).levels, ElementsAre(0, 0));
    EXPECT_THAT(heat_map(matrix(1, 2, {3, 3}), 100).levels, ElementsAre(1, 1));
}

TEST(HeatMap, TakesMeansOfBlocksWhereThereAreTooMany) {
    const auto map = heat_map(matrix(3, 3, {1, 3, 100, 1, 3, 100, 10, 10, 10}), 4);
    EXPECT_EQ(map.block, 2U);
    EXPECT_EQ(map.rows, 2U);
    EXPECT_EQ(map.columns, 2U);
    EXPECT_EQ(map.low, 2); // of 1, 3, 1, 3
    EXPECT_EQ(map.high, 100);
    EXPECT_THAT(map.levels, ElementsAre(1, 255, testing::_, testing::_));
    for (const auto vcpus : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 1024U}) {
        const auto whole = heat_map(matrix(vcpus, vcpus, std::vector<float>(vcpus * vcpus, 1)), 1'048'576);
        EXPECT_EQ(whole.block, 1U) << vcpus;
        const auto small = heat_map(matrix(vcpus, vcpus, std::vector<float>(vcpus * vcpus, 1)), 10'000);
        EXPECT_LE(small.levels.size(), 10'000U) << vcpus;
        EXPECT_GE(small.rows * small.block, vcpus) << vcpus;
    }
}

TEST(HeatMap, IsBytesInBase64) {
    EXPECT_EQ(to_json(heat_map(matrix(1, 3, {1, 10, 100}), 9))["levels"], "AYD/");
}

} // namespace
} // namespace nestbed::report
