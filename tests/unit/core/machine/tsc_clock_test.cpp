#include "core/machine/tsc_clock.hpp"

#include <cstdint>

#include <gtest/gtest.h>

namespace nestbed::machine {
namespace {

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock::time_point;

constexpr Time start{1h};

TEST(TscClock, GoesThroughBothSamplesAndEvenlyBetween) {
    const auto clock = TscClock::between({5'000, start}, {5'000 + 3'000'000, start + 1ms}); // 3 GHz
    ASSERT_TRUE(clock);
    EXPECT_EQ(clock->time_of(5'000), start);
    EXPECT_EQ(clock->time_of(5'000 + 3'000), start + 1us);
    EXPECT_EQ(clock->time_of(5'000 + 1'500'000), start + 500us);
    EXPECT_EQ(clock->time_of(5'000 + 3'000'000), start + 1ms);
}

TEST(TscClock, KnowsNothingOfOtherTimes) {
    const auto clock = TscClock::between({5'000, start}, {6'000, start + 1us});
    ASSERT_TRUE(clock);
    for (const std::uint64_t tsc : {std::uint64_t{0}, std::uint64_t{4'999}, std::uint64_t{6'001}, UINT64_MAX})
        EXPECT_FALSE(clock->time_of(tsc)) << tsc;
}

TEST(TscClock, DoesNotRoundInALongRun) {
    constexpr std::uint64_t ticks = 3'000'000'000 * 86'400 * 30; // of 3 GHz in a month
    const auto clock = TscClock::between({1ULL << 62, start}, {(1ULL << 62) + ticks, start + 720h});
    ASSERT_TRUE(clock);
    for (std::uint64_t i = 0; i <= 1000; ++i) {
        const auto ns = static_cast<std::int64_t>(ticks / 3 - i * 1'000'003);
        EXPECT_EQ(clock->time_of((1ULL << 62) + static_cast<std::uint64_t>(ns) * 3),
                  start + std::chrono::nanoseconds{ns});
    }
}

TEST(TscClock, WantsTwoSamplesThatDiffer) {
    EXPECT_FALSE(TscClock::between({5, start}, {5, start + 1s}));
    EXPECT_FALSE(TscClock::between({5, start}, {4, start + 1s})) << "the guest has set its TSC back";
    EXPECT_FALSE(TscClock::between({5, start}, {9, start}));
    EXPECT_FALSE(TscClock::between({5, start + 1s}, {9, start}));
}

} // namespace
} // namespace nestbed::machine
