#include "stress/drivers/l2_exits.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using wire::l2_exit_mix::Counts;
using wire::l2_exit_mix::kinds;

L2Vendor vendor() {
    return {"vmx", {"cpuid", "vmcall", "io", "rdmsr", "ept_violation"}, [](std::uint64_t code) {
                return "exit " + std::to_string(code);
            }};
}

std::vector<Counts> sound(std::size_t vcpus) {
    return std::vector<Counts>(
        vcpus * kinds, {.made = 64, .handled = 64, .wrong = 0, .wrong_code = 0, .ended = 1, .given_up = 0});
}

TEST(L2Exits, SoundOnesPass) {
    for (const std::size_t vcpus : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 1024U})
        EXPECT_THAT(judge_l2_exits(sound(vcpus), true, vendor()), IsEmpty());
}

TEST(L2Exits, WithoutNestedPagingThereAreNoNestedPageFaults) {
    auto counts = sound(1);
    counts.back() = {};
    EXPECT_THAT(judge_l2_exits(counts, false, vendor()), IsEmpty());
    EXPECT_THAT(judge_l2_exits(counts, true, vendor()),
                ElementsAre("vCPU 0, ept_violation: L2 made 0 exits, L1 saw 0"));
}

TEST(L2Exits, WhateverIsWrongIsNamed) {
    auto counts = sound(2);
    counts[1].handled = 63;
    counts[2].wrong = 1;
    counts[2].wrong_code = 9;
    counts[kinds + 3].ended = 0;
    EXPECT_THAT(judge_l2_exits(counts, true, vendor()),
                ElementsAre("vCPU 0, vmcall: L2 made 64 exits, L1 saw 63",
                            "vCPU 0, io: exit 9 after 64 good exits",
                            "vCPU 1, rdmsr: L2 did not come to its end"));
}

} // namespace
} // namespace nestbed::stress
