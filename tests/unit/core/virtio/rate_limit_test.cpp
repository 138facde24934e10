#include "core/virtio/rate_limit.hpp"

#include <gtest/gtest.h>

namespace nestbed::virtio {
namespace {

using namespace std::chrono_literals;

constexpr Clock::time_point start{1000s};

// How many requests of so many tokens pass until `end`, each as soon as it may.
std::uint64_t passed_until(TokenBucket bucket, std::uint64_t tokens, Clock::time_point end) {
    std::uint64_t passed = 0;
    for (auto now = start;;) {
        const auto wait = bucket.wait(tokens, now);
        if (wait == 0s) {
            bucket.take(tokens, now);
            ++passed;
            continue;
        }
        now += wait;
        if (now >= end)
            return passed;
    }
}

struct RateCase {
    std::uint64_t per_second;
    std::uint64_t tokens; // each
    Clock::duration time;
    std::uint64_t passed;
};

TEST(TokenBucket, LetsThroughARateAndABurst) {
    for (const auto& [per_second, tokens, time, passed] :
         {RateCase{1000, 1, 1s, 1100}, // a tenth of a second's worth at once, then the rate
          RateCase{1000, 1, 1ms, 100}, RateCase{10, 1, 1s, 10}, RateCase{10, 1, 10s, 100},
          RateCase{1, 1, 10s, 10}, // less than one token a burst: one at a time
          RateCase{1'000'000, 4096, 1s, 268}, RateCase{1000, 5000, 10s, 2}, // owed for 5 s each
          // Rates whose tokens are no whole nanoseconds: nothing is lost by rounding.
          RateCase{3, 1, 1000s, 3000}, RateCase{7'000'000'000, 512, 10ms, 1'503'906}}) {
        EXPECT_NEAR(static_cast<double>(passed_until(TokenBucket{per_second}, tokens, start + time)),
                    static_cast<double>(passed), 1)
            << per_second << "/s, " << tokens << " each";
    }
}

TEST(TokenBucket, SaysHowLongToWait) {
    TokenBucket bucket{1000};
    for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(bucket.wait(1, start), 0s) << i;
        bucket.take(1, start);
    }
    EXPECT_EQ(bucket.wait(1, start), 1ms);
    EXPECT_EQ(bucket.wait(50, start), 50ms);
    EXPECT_EQ(bucket.wait(100, start), 100ms);
    EXPECT_EQ(bucket.wait(100'000, start), 100ms) << "more than a burst: when it is full";
    EXPECT_EQ(bucket.wait(1, start + 1ms - 1ns), 1ns);
    EXPECT_EQ(bucket.wait(1, start + 1ms), 0s);
    EXPECT_EQ(bucket.wait(51, start + 50ms), 1ms);
}

TEST(TokenBucket, IdleTimeIsNotSavedUp) {
    TokenBucket bucket{1000};
    EXPECT_EQ(passed_until(bucket, 1, start + 1ns), 100U);
    bucket.take(100, start);
    const auto later = start + 3600s;
    bucket.take(100, later);
    EXPECT_EQ(bucket.wait(1, later), 1ms);
}

TEST(TokenBucket, TakesTheLargestRequestAtTheLowestRate) {
    TokenBucket bucket{1};
    constexpr auto most = std::uint64_t{UINT32_MAX};
    EXPECT_EQ(bucket.wait(most, start), 0s);
    bucket.take(most, start);
    EXPECT_EQ(bucket.wait(1, start), std::chrono::seconds{most});
}

TEST(RateLimit, TheTighterOneCounts) {
    RateLimit limit{100, 1'000'000};
    EXPECT_EQ(limit.wait(100'000, start), 0s);
    limit.take(100'000, start);
    EXPECT_EQ(limit.wait(1000, start), 1ms) << "bytes";
    EXPECT_EQ(limit.wait(0, start), 0s) << "a flush moves none";
    for (int i = 0; i < 9; ++i)
        limit.take(0, start);
    EXPECT_EQ(limit.wait(0, start), 10ms) << "requests";
    EXPECT_EQ(limit.wait(100'000, start), 100ms);
}

TEST(RateLimit, NoneIsNone) {
    RateLimit limit{{}, {}};
    for (int i = 0; i < 1000; ++i) {
        limit.take(UINT32_MAX, start);
        ASSERT_EQ(limit.wait(UINT32_MAX, start), 0s);
    }
}

} // namespace
} // namespace nestbed::virtio
