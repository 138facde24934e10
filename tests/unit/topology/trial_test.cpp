#include "topology/trial.hpp"

#include <csignal>
#include <cstdio>

#include <unistd.h>

#include <gtest/gtest.h>

namespace nestbed::topology {
namespace {

TEST(TryInChild, TellsPassedFromFailedFromDied) {
    EXPECT_EQ(try_in_child([] { return true; }, 60), TrialOutcome::passed);
    EXPECT_EQ(try_in_child([] { return false; }, 60), TrialOutcome::failed);
    EXPECT_EQ(try_in_child([] { return std::raise(SIGSEGV) == 0; }, 60), TrialOutcome::died);
    EXPECT_EQ(try_in_child([] { return std::raise(SIGABRT) == 0; }, 60), TrialOutcome::died);
}

TEST(TryInChild, EndsWhatHangs) {
    const auto hang = [] {
        for (;;)
            ::pause();
        return true;
    };
    EXPECT_EQ(try_in_child(hang, 1), TrialOutcome::died);
}

TEST(TryInChild, WhatTheChildDoesStaysThere) {
    int value = 1;
    testing::internal::CaptureStderr();
    const auto outcome = try_in_child(
        [&] {
            value = 2;
            std::fputs("noise", stderr);
            std::fflush(stderr);
            return true;
        },
        60);
    EXPECT_EQ(outcome, TrialOutcome::passed);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    EXPECT_EQ(value, 1);
}

} // namespace
} // namespace nestbed::topology
