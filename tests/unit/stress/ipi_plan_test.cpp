#include "stress/ipi_plan.hpp"

#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

// By sender.
std::span<const std::uint32_t> targets_of(const IpiTargets& plan, std::uint32_t sender) {
    return std::span{plan.targets}.subspan(std::size_t{sender} * plan.per_vcpu, plan.per_vcpu);
}

// The promises of every plan.
void expect_fair(const IpiTargets& plan, std::uint32_t vcpus) {
    ASSERT_EQ(plan.vcpus, vcpus);
    ASSERT_EQ(plan.targets.size(), std::size_t{vcpus} * plan.per_vcpu);
    std::vector<std::uint32_t> received(vcpus);
    for (std::uint32_t sender = 0; sender < vcpus; ++sender)
        for (const auto target : targets_of(plan, sender)) {
            ASSERT_LT(target, vcpus);
            ASSERT_NE(target, sender);
            ++received[target];
        }
    EXPECT_THAT(received, testing::Each(plan.per_vcpu));
}

class Counts : public testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(All, Counts, testing::Values(1, 2, 3, 254, 255, 256, 257, 288, 1024));

TEST_P(Counts, AllPairsReachEveryOtherOnce) {
    const auto vcpus = GetParam();
    const auto plan = all_pairs(vcpus);
    EXPECT_EQ(plan.per_vcpu, vcpus - 1);
    expect_fair(plan, vcpus);
    for (std::uint32_t sender = 0; sender < vcpus; ++sender) {
        const auto targets = targets_of(plan, sender);
        ASSERT_EQ(std::set<std::uint32_t>(targets.begin(), targets.end()).size(), vcpus - 1) << sender;
    }
}

TEST_P(Counts, AllPairsPressOnEveryReceiverAlike) {
    const auto vcpus = GetParam();
    const auto plan = all_pairs(vcpus);
    for (std::uint32_t step = 0; step < plan.per_vcpu; ++step) {
        std::set<std::uint32_t> at_once;
        for (std::uint32_t sender = 0; sender < vcpus; ++sender)
            at_once.insert(targets_of(plan, sender)[step]);
        ASSERT_EQ(at_once.size(), vcpus) << "of all senders' interrupt number " << step;
    }
}

TEST_P(Counts, RandomPairsAreFairInEachRound) {
    const auto vcpus = GetParam();
    constexpr std::uint32_t rounds = 8;
    const auto plan = random_pairs(vcpus, rounds, 42);
    if (vcpus == 1) {
        EXPECT_EQ(plan.vcpus, 1U);
        EXPECT_EQ(plan.per_vcpu, 0U);
        EXPECT_TRUE(plan.targets.empty());
        return;
    }
    EXPECT_EQ(plan.per_vcpu, rounds);
    expect_fair(plan, vcpus);
    for (std::uint32_t round = 0; round < rounds; ++round) {
        std::set<std::uint32_t> once;
        for (std::uint32_t sender = 0; sender < vcpus; ++sender)
            once.insert(targets_of(plan, sender)[round]);
        ASSERT_EQ(once.size(), vcpus) << "round " << round << " is no permutation";
    }
}

TEST_P(Counts, RandomPairsFollowTheSeed) {
    const auto vcpus = GetParam();
    const auto plan = random_pairs(vcpus, 4, 7);
    EXPECT_EQ(plan.targets, random_pairs(vcpus, 4, 7).targets);
    if (vcpus >= 254) {
        EXPECT_NE(plan.targets, random_pairs(vcpus, 4, 8).targets);
        const auto first = targets_of(plan, 0);
        EXPECT_GT(std::set<std::uint32_t>(first.begin(), first.end()).size(), 1U)
            << "rounds differ from each other";
    }
}

// The same on every machine and with every standard library, so that a seed repeats a run.
TEST(RandomPairs, AreThoseOfTheSeedEverywhere) {
    EXPECT_THAT(random_pairs(7, 2, 42).targets,
                testing::ElementsAre(5, 5, 3, 0, 1, 3, 6, 1, 2, 2, 4, 6, 0, 4));
}

TEST(RandomPairs, NoRounds) {
    const auto plan = random_pairs(4, 0, 1);
    EXPECT_EQ(plan.per_vcpu, 0U);
    EXPECT_TRUE(plan.targets.empty());
}

// Receiver by sender, as the guest counts when all goes well.
std::vector<std::uint8_t> all_received(const IpiTargets& plan) {
    std::vector<std::uint8_t> received(std::size_t{plan.vcpus} * plan.vcpus);
    for (std::uint32_t sender = 0; sender < plan.vcpus; ++sender)
        for (const auto target : targets_of(plan, sender))
            if (auto& count = received[std::size_t{target} * plan.vcpus + sender]; count != 255)
                ++count;
    return received;
}

TEST_P(Counts, WhatIsSentIsReceived) {
    const auto vcpus = GetParam();
    const auto plan = random_pairs(vcpus, 5, 3);
    EXPECT_TRUE(compare_received(plan, all_received(plan)).empty());
}

TEST(CompareReceived, NamesEachPairThatDiffers) {
    const auto plan = all_pairs(3);
    auto received = all_received(plan);
    received[2 * 3 + 0] = 0;
    EXPECT_THAT(compare_received(plan, received),
                testing::ElementsAre("from vCPU 0 to vCPU 2: 1 sent, 0 received"));
    received[2 * 3 + 0] = 2;
    received[1 * 3 + 1] = 1;
    EXPECT_THAT(compare_received(plan, received),
                testing::ElementsAre("from vCPU 1 to vCPU 1: 0 sent, 1 received",
                                     "from vCPU 0 to vCPU 2: 1 sent, 2 received"));
}

TEST(CompareReceived, MoreThanAByteHoldsIsSaturated) {
    const auto plan = random_pairs(2, 300, 1); // each sends 300 to the other
    auto received = all_received(plan);
    EXPECT_THAT(received, testing::ElementsAre(0, 255, 255, 0));
    EXPECT_TRUE(compare_received(plan, received).empty());
    received[1] = 254;
    EXPECT_THAT(compare_received(plan, received),
                testing::ElementsAre("from vCPU 1 to vCPU 0: 300 sent, 254 received"));
}

} // namespace
} // namespace nestbed::stress
