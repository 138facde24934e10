#include "stress/drivers/tlb.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using wire::tlb::Counts;

Counts sound(std::uint64_t generations) {
    return {
        .reads = 100, .stale = 0, .dropped = generations, .value = 0, .completed = 0, .begun = 0, .ended = 1};
}

TEST(Tlb, SoundOnesPass) {
    for (const std::size_t vcpus : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 1024U})
        EXPECT_THAT(judge_tlb(std::vector<Counts>(vcpus, sound(9)), 9), IsEmpty());
    EXPECT_THAT(judge_tlb(std::vector<Counts>{sound(8)}, 9), IsEmpty())
        << "the last is flushed by an entry that need not come any more";
}

TEST(Tlb, WhateverIsWrongIsNamed) {
    std::vector<Counts> counts(6, sound(9));
    counts[0].stale = 2;
    counts[0].value = wire::tlb::poison;
    counts[0].completed = 4;
    counts[0].begun = 5;
    counts[1].stale = 1;
    counts[1].value = wire::tlb::value_of(3, 7);
    counts[1].completed = 4;
    counts[1].begun = 4;
    counts[2].reads = 0;
    counts[3].dropped = 7;
    counts[4].ended = 0;
    EXPECT_THAT(
        judge_tlb(counts, 9),
        ElementsAre("vCPU 0: 2 of 100 values stale, the first poison between generations 4 and 5",
                    "vCPU 1: 1 of 100 values stale, the first of generation 3 between generations 4 and 4",
                    "vCPU 2: read nothing", "vCPU 3: dropped its translations 7 times, not 9",
                    "vCPU 4: did not come to its end"));
    EXPECT_THAT(judge_tlb(std::vector<Counts>{sound(0)}, 0), ElementsAre("no shootdown was completed"));
}

TEST(Tlb, PoisonIsNoGenerationThatAnySeesInItsLife) {
    EXPECT_GT(wire::tlb::poison >> 16, std::uint64_t{1} << 40);
}

} // namespace
} // namespace nestbed::stress
