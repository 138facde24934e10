#include "core/supervise/supervisor.hpp"

#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <boost/fiber/operations.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::supervise {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class SupervisorTest : public testing::Test {
protected:
    void SetUp() override {
        auto created = Supervisor::create();
        ASSERT_TRUE(created) << created.error().message();
        supervisor = std::move(*created);
    }

    static Deadline far() { return Clock::now() + 60s; }

    std::unique_ptr<Supervisor> supervisor;
};

TEST_F(SupervisorTest, AConditionThatHoldsNeedsNoWaiting) {
    EXPECT_TRUE(supervisor->await([] { return true; }, far(), "nothing"));
    EXPECT_TRUE(supervisor->await([] { return true; }, Clock::now() - 1s, "nothing"))
        << "even past its deadline";
}

TEST_F(SupervisorTest, DeadlineNamesWhatWasAsked) {
    const auto deadline = Clock::now() + 20ms;
    const auto held = supervisor->await([] { return false; }, deadline, "bring 7 vCPUs online");
    ASSERT_FALSE(held);
    EXPECT_GE(Clock::now(), deadline);
    EXPECT_EQ(held.error().kind, ErrorKind::deadline);
    EXPECT_EQ(held.error().asked, "bring 7 vCPUs online");
}

TEST_F(SupervisorTest, ChangeWakesEveryWaiter) {
    int stage = 0;
    int woken = 0;
    std::vector<boost::fibers::fiber> waiters;
    for (int i = 0; i < 3; ++i)
        waiters.emplace_back([&] {
            EXPECT_TRUE(supervisor->await([&] { return stage == 2; }, far(), "stage 2"));
            ++woken;
        });
    boost::this_fiber::yield();
    stage = 1;
    supervisor->change();
    boost::this_fiber::yield();
    EXPECT_EQ(woken, 0) << "woken for nothing, they wait on";
    stage = 2;
    supervisor->change();
    for (auto& waiter : waiters)
        waiter.join();
    EXPECT_EQ(woken, 3);
}

TEST_F(SupervisorTest, CancelEndsAWaitAndAllLaterOnes) {
    boost::fibers::fiber canceller{[&] { supervisor->cancel(SIGINT); }};
    const auto held = supervisor->await([] { return false; }, far(), "never");
    canceller.join();
    ASSERT_FALSE(held);
    EXPECT_EQ(held.error().kind, ErrorKind::cancelled);
    EXPECT_THAT(held.error().found, HasSubstr("Interrupt"));
    EXPECT_TRUE(supervisor->cancelled());
    const auto later = supervisor->await([] { return true; }, far(), "anything");
    ASSERT_FALSE(later) << "a cancelled run does not go on, whatever holds";
    EXPECT_EQ(later.error().kind, ErrorKind::cancelled);
}

class EndingSignal : public SupervisorTest,
                     public testing::WithParamInterface<std::pair<int, const char*>> {};

TEST_P(EndingSignal, ToTheProcessCancels) {
    EXPECT_FALSE(supervisor->cancelled());
    ASSERT_EQ(::kill(::getpid(), GetParam().first), 0);
    const auto held = supervisor->await([] { return false; }, far(), "never");
    ASSERT_FALSE(held);
    EXPECT_EQ(held.error().kind, ErrorKind::cancelled);
    EXPECT_THAT(held.error().found, HasSubstr(GetParam().second));
}

INSTANTIATE_TEST_SUITE_P(All, EndingSignal,
                         testing::Values(std::pair{SIGTERM, "Terminated"}, std::pair{SIGINT, "Interrupt"},
                                         std::pair{SIGHUP, "Hangup"}),
                         [](const auto& test_case) { return std::string{test_case.param.second}; });

bool is_blocked(int signal) {
    sigset_t mask;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    return sigismember(&mask, signal) == 1;
}

TEST_F(SupervisorTest, SignalsAreTakenOnlyWhileItLives) {
    EXPECT_TRUE(is_blocked(SIGTERM));
    EXPECT_TRUE(is_blocked(SIGINT));
    bool inherited = false;
    std::thread{[&] { inherited = is_blocked(SIGTERM); }}.join();
    EXPECT_TRUE(inherited) << "or the signal would kill the process through that thread";
    supervisor.reset();
    EXPECT_FALSE(is_blocked(SIGTERM));
    EXPECT_FALSE(is_blocked(SIGINT));
}

TEST_F(SupervisorTest, WhatMayWaitForEverEndsAtOnce) {
    {
        const EndAtOnce at_once;
        EXPECT_FALSE(is_blocked(SIGTERM));
        EXPECT_FALSE(is_blocked(SIGHUP));
    }
    EXPECT_TRUE(is_blocked(SIGTERM));
    EXPECT_FALSE(is_end_pending());
    ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
    EXPECT_TRUE(is_end_pending());
    EXPECT_FALSE(supervisor->await([] { return false; }, far(), "never"));
    EXPECT_FALSE(is_end_pending()) << "the supervisor has taken it";
}

TEST_F(SupervisorTest, CanBeMadeAgain) {
    supervisor->cancel(SIGTERM);
    supervisor.reset();
    SetUp();
    EXPECT_FALSE(supervisor->cancelled());
    EXPECT_TRUE(supervisor->await([] { return true; }, far(), "nothing"));
}

TEST_F(SupervisorTest, TickerTicksUntilItIsDestroyed) {
    int ticks = 0;
    auto ticker = supervisor->every(1ms, [&] {
        ++ticks;
        supervisor->change();
    });
    EXPECT_TRUE(supervisor->await([&] { return ticks >= 3; }, far(), "three ticks"));
    ticker.reset();
    const auto seen = ticks;
    EXPECT_FALSE(supervisor->await([] { return false; }, Clock::now() + 20ms, "no more ticks"));
    EXPECT_EQ(ticks, seen);
}

TEST_F(SupervisorTest, TickerWaitsItsPeriodFirst) {
    int ticks = 0;
    const auto start = Clock::now();
    const auto ticker = supervisor->every(30ms, [&] {
        ++ticks;
        supervisor->change();
    });
    EXPECT_TRUE(supervisor->await([&] { return ticks == 1; }, far(), "one tick"));
    EXPECT_GE(Clock::now(), start + 30ms);
}

TEST_F(SupervisorTest, TickerThatNeverTickedEndsAtOnce) {
    const auto start = Clock::now();
    {
        const auto ticker = supervisor->every(1h, [] { ADD_FAILURE() << "an hour has not passed"; });
        boost::this_fiber::yield(); // it begins to wait
    }
    EXPECT_LT(Clock::now(), start + 30min);
}

} // namespace
} // namespace nestbed::supervise
