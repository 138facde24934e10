#include "base/ranges.hpp"

#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed {
namespace {

using Numbers = std::vector<std::uint32_t>;

Numbers every(std::uint32_t step, std::uint32_t count) {
    Numbers numbers;
    for (std::uint32_t i = 0; i < count; ++i)
        numbers.push_back(i * step);
    return numbers;
}

TEST(Ranges, AreWrittenAsLinuxDoes) {
    struct Case {
        Numbers numbers;
        std::string expected;
    };
    const std::vector<Case> cases{
        {{}, ""},
        {{0}, "0"},
        {{7}, "7"},
        {{0, 1}, "0-1"},
        {{0, 2}, "0,2"},
        {{0, 1, 2, 3, 8}, "0-3,8"},
        {{8, 3, 1, 0, 2, 3}, "0-3,8"},
        {{5, 6, 9, 10, 12}, "5-6,9-10,12"},
        {{0, 4294967294U, 4294967295U}, "0,4294967294-4294967295"},
        {every(1, 1024), "0-1023"},
    };
    for (const auto& [numbers, expected] : cases)
        EXPECT_EQ(format_ranges(numbers), expected);
}

TEST(Ranges, AreShortenedOnlyWhereTheyDoNotFit) {
    EXPECT_EQ(format_ranges_within(every(2, 5), 24), "0,2,4,6,8");
    EXPECT_EQ(format_ranges_within(every(2, 512), 24), "0-1022 step 2");
    EXPECT_EQ(format_ranges_within(every(1, 4096), 24), "0-4095");
    EXPECT_EQ(format_ranges_within({}, 24), "");
}

TEST(Ranges, AreCutAtACommaWithTheCountOfAll) {
    auto numbers = every(3, 200);
    numbers.push_back(10'000);
    for (const std::size_t width : {24U, 25U, 26U, 27U, 40U}) {
        const auto text = format_ranges_within(numbers, width);
        EXPECT_LE(text.size(), width);
        EXPECT_TRUE(text.starts_with("0,3,6,9,12")) << text;
        EXPECT_TRUE(text.ends_with(",... (201)")) << text;
        const auto whole = format_ranges(numbers);
        const auto kept = text.substr(0, text.find(",..."));
        EXPECT_TRUE(whole.starts_with(kept + ",")) << text;
    }
}

} // namespace
} // namespace nestbed
