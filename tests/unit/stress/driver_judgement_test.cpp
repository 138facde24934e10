// What drivers make of what was counted: a lost, doubled or stray event must be seen.
#include <array>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stress/drivers/cache_line.hpp"
#include "stress/drivers/died.hpp"
#include "stress/drivers/exits.hpp"
#include "stress/drivers/ipi_load.hpp"
#include "stress/drivers/locks.hpp"
#include "stress/drivers/memory.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/drivers/timer.hpp"

namespace nestbed::stress {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(JudgeExits, HoldsWhereAllArrived) {
    const std::array made{wire::exit_mix::Counts{{3, 4, 5, 6, 7}, {}}};
    EXPECT_THAT(judge_exits(made, std::array{ExitsArrived{3, 4, 7}}), IsEmpty());
}

TEST(JudgeExits, SeesEachKindThatDidNotArrive) {
    const std::array made{wire::exit_mix::Counts{{3, 4, 5, 6, 7}, {}}};
    EXPECT_THAT(judge_exits(made, std::array{ExitsArrived{2, 4, 7}}),
                ElementsAre(HasSubstr("3 of pio made, 2")));
    EXPECT_THAT(judge_exits(made, std::array{ExitsArrived{3, 5, 7}}), ElementsAre(HasSubstr("mmio")));
    EXPECT_THAT(judge_exits(made, std::array{ExitsArrived{3, 4, 8}}), ElementsAre(HasSubstr("hlt")));
    const std::array wrong{wire::exit_mix::Counts{{3, 4, 5, 6, 7}, {0, 0, 1, 0, 0}}};
    EXPECT_THAT(judge_exits(wrong, std::array{ExitsArrived{3, 4, 7}}), ElementsAre(HasSubstr("1 of 5 msr")));
    const std::array none{wire::exit_mix::Counts{}};
    EXPECT_THAT(judge_exits(none, std::array{ExitsArrived{}}), ElementsAre(HasSubstr("made no pio")));
}

std::vector<wire::ipi_load::Vcpu> ipis() {
    std::vector<wire::ipi_load::Vcpu> vcpus(3);
    for (auto& vcpu : vcpus)
        vcpu.sent = vcpu.acked = vcpu.received = 10;
    return vcpus;
}

TEST(JudgeIpis, HoldsWhereSentIsReceived) {
    auto vcpus = ipis();
    EXPECT_THAT(judge_ipis(vcpus), IsEmpty());
    ++vcpus[0].received; // who receives from whom is drawn at random
    --vcpus[2].received;
    EXPECT_THAT(judge_ipis(vcpus), IsEmpty());
    EXPECT_EQ(totals_of(vcpus).sent, 30U);
}

TEST(JudgeIpis, SeesWhatIsLostDoubledOrStray) {
    auto lost = ipis();
    --lost[1].received;
    EXPECT_THAT(judge_ipis(lost), ElementsAre("30 sent in all, 29 received"));
    auto silent = ipis();
    --silent[1].acked;
    EXPECT_THAT(judge_ipis(silent), ElementsAre("vCPU 1: 10 sent, 9 acknowledged"));
    auto stray = ipis();
    stray[2].unclaimed = 2;
    EXPECT_THAT(judge_ipis(stray), ElementsAre(HasSubstr("vCPU 2 took 2")));
    auto claimed = ipis();
    claimed[0].slot = 3;
    EXPECT_THAT(judge_ipis(claimed), ElementsAre("sent by vCPU 2 to vCPU 0, not taken"));
    EXPECT_THAT(judge_ipis(std::vector<wire::ipi_load::Vcpu>(2)), ElementsAre("none was sent"));
}

TEST(ShuffledOffsets, AreEachOnceInAnOrderOfTheSeed) {
    for (const std::uint32_t vcpus : {2U, 255U, 256U, 257U, 1024U}) {
        const auto offsets = shuffled_offsets(vcpus, 3);
        const std::set<std::uint32_t> all{offsets.begin(), offsets.end()};
        EXPECT_EQ(all.size(), vcpus - 1);
        EXPECT_EQ(*all.begin(), 1U);
        EXPECT_EQ(*all.rbegin(), vcpus - 1);
        EXPECT_EQ(offsets, shuffled_offsets(vcpus, 3));
    }
    EXPECT_NE(shuffled_offsets(256, 3), shuffled_offsets(256, 4));
}

std::vector<topology::VcpuPlacement> placed(const std::vector<std::vector<std::uint32_t>>& pus) {
    std::vector<topology::VcpuPlacement> vcpus;
    for (const auto& own : pus)
        vcpus.push_back({.vcpu = static_cast<std::uint32_t>(vcpus.size()), .pus = own, .reason = {}});
    return vcpus;
}

TEST(ChoosePairs, LeavesOutThoseThatShareAPu) {
    const auto pairs = choose_pairs(placed({{0}, {1}, {0}}), 10, 1);
    std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
    for (const auto& pair : pairs)
        seen.insert({pair.first, pair.second});
    EXPECT_THAT(seen, ElementsAre(std::pair{0U, 1U}, std::pair{1U, 2U}));
    EXPECT_THAT(choose_pairs(placed({{0}, {0}}), 10, 1), IsEmpty());
    EXPECT_EQ(choose_pairs(placed({{}, {}}), 10, 1).size(), 1U) << "not pinned";
}

TEST(ChoosePairs, DrawsFromTheSeedWhereThereAreTooMany) {
    std::vector<std::vector<std::uint32_t>> pus;
    for (std::uint32_t i = 0; i < 64; ++i)
        pus.push_back({i});
    const auto key = [](const std::vector<wire::cache_line::Pair>& pairs) {
        std::vector<std::uint32_t> all;
        for (const auto& pair : pairs)
            all.push_back(pair.first * 64 + pair.second);
        return all;
    };
    const auto some = key(choose_pairs(placed(pus), 100, 1));
    EXPECT_EQ(some.size(), 100U);
    EXPECT_EQ((std::set<std::uint32_t>{some.begin(), some.end()}.size()), 100U);
    EXPECT_EQ(some, key(choose_pairs(placed(pus), 100, 1)));
    EXPECT_NE(some, key(choose_pairs(placed(pus), 100, 2)));
    EXPECT_EQ(choose_pairs(placed(pus), 1 << 20, 1).size(), 64U * 63 / 2);
}

TEST(IndexPairs, ListsEachVcpusPairsAscending) {
    const std::vector<wire::cache_line::Pair> pairs{{1, 2}, {0, 1}, {0, 2}};
    const auto index = index_pairs(pairs, 4);
    EXPECT_THAT(index.begins, ElementsAre(0, 2, 4, 6, 6));
    EXPECT_THAT(index.entries, ElementsAre(1, 2, 0, 1, 0, 2));
}

TEST(JudgePasses, WantsTheLineToHoldTheirNumber) {
    constexpr auto steps = wire::cache_line::steps_in_pair;
    EXPECT_THAT(judge_passes(std::array{PassesSeen{1, 0}, PassesSeen{1, 0}}, steps, 1), IsEmpty());
    EXPECT_THAT(judge_passes(std::array{PassesSeen{1, 0}, PassesSeen{1, 0}}, steps - 1, 1),
                ElementsAre(HasSubstr("the line holds")));
    EXPECT_THAT(judge_passes(std::array{PassesSeen{1, 3}, PassesSeen{1, 0}}, steps, 1),
                ElementsAre(HasSubstr("vCPU 0 read 3 values")));
    EXPECT_THAT(judge_passes(std::array{PassesSeen{1, 0}, PassesSeen{0, 0}}, steps, 1),
                ElementsAre(HasSubstr("took part in 1")));
    EXPECT_THAT(judge_passes(std::array{PassesSeen{}, PassesSeen{}}, 0, 0),
                ElementsAre("no pair was measured"));
}

TEST(JudgeTimer, WantsOneExpiryForEachTime) {
    EXPECT_FALSE(judge_timer(3, 8, {8, 0}));
    EXPECT_THAT(judge_timer(3, 8, {7, 0}).value_or(""), HasSubstr("vCPU 3: set 8 times, fired 7"));
    EXPECT_TRUE(judge_timer(3, 8, {9, 0}));
    EXPECT_TRUE(judge_timer(3, 8, {8, 1}));
}

wire::locks::State lock_state(std::uint64_t counter, std::uint64_t shadow) {
    wire::locks::State state{};
    state.counter = counter;
    state.shadow = shadow;
    return state;
}

TEST(JudgeLock, WantsTheCounterToBeTheSum) {
    const std::array own{wire::locks::Counts{5, 0, 9}, wire::locks::Counts{7, 0, 0}};
    EXPECT_THAT(judge_lock(lock_state(12, 12), own), IsEmpty());
    EXPECT_THAT(judge_lock(lock_state(11, 11), own), ElementsAre(HasSubstr("12 times")));
    EXPECT_THAT(judge_lock(lock_state(12, 11), own), ElementsAre(HasSubstr("12 and 11")));
    const std::array torn{wire::locks::Counts{5, 1, 0}, wire::locks::Counts{7, 0, 0}};
    EXPECT_THAT(judge_lock(lock_state(12, 12), torn), ElementsAre(HasSubstr("vCPU 0 saw")));
    EXPECT_THAT(judge_lock({}, std::array{wire::locks::Counts{}}), ElementsAre(HasSubstr("nobody")));
}

TEST(JudgeMemory, WantsEveryLineWrittenReadAndWalked) {
    using wire::memory_load::Part;
    using wire::memory_load::Result;
    const std::array parts{Part{0x1000, 64}, Part{}};
    const Result good{128, 0, 128, 0, 128, 0, 0};
    EXPECT_THAT(judge_memory(std::array{good, Result{}}, parts), IsEmpty());
    auto wrong = good;
    wrong.wrong = 1;
    EXPECT_THAT(judge_memory(std::array{wrong, Result{}}, parts),
                ElementsAre(HasSubstr("1 words on its own node")));
    for (auto Result::*const count : {&Result::written, &Result::read, &Result::steps}) {
        auto less = good;
        --(less.*count);
        EXPECT_THAT(judge_memory(std::array{less, Result{}}, parts),
                    ElementsAre(HasSubstr("lines on its own node")));
    }
    EXPECT_THAT(judge_memory(std::array{Result{}, Result{}}, parts), testing::SizeIs(1))
        << "nothing was done";
    EXPECT_THAT(judge_memory(std::array{good, good}, parts), ElementsAre(HasSubstr("another node")));
}

TEST(JudgeTouches, WantsZeroBeforeAndTheMarkAfter) {
    EXPECT_THAT(judge_touches(std::array{TouchSeen{5, 5, 0, 8}}), IsEmpty());
    EXPECT_THAT(judge_touches(std::array{TouchSeen{4, 5, 0, 8}}), ElementsAre(HasSubstr("4 hold")));
    EXPECT_THAT(judge_touches(std::array{TouchSeen{5, 5, 1, 8}}), ElementsAre(HasSubstr("not zero")));
    EXPECT_THAT(judge_touches(std::array{TouchSeen{9, 9, 0, 8}}), ElementsAre(HasSubstr("9 of 8")));
    EXPECT_THAT(judge_touches(std::array{TouchSeen{0, 0, 0, 8}}), ElementsAre("no page was touched"));
}

TEST(FirstTouch, MarksDifferByPageAndSeed) {
    using wire::first_touch::mark;
    EXPECT_NE(mark(1, 0x1000), mark(1, 0x2000));
    EXPECT_NE(mark(1, 0x1000), mark(2, 0x1000));
    EXPECT_NE(mark(0, 0), 0U);
}

TEST(SortDiagnosis, GivesEachVcpuItsLines) {
    const auto sorted =
        sort_diagnosis({"vCPU 3 (APIC id 5): halted", "  local APIC: none", "logged by vCPU 3: hi",
                        "vCPU 12: #GP", "and 2 more: vCPUs 3, 12", "vCPUs 3-4 are stray"},
                       {{3, {"kvm_vcpu_block"}}, {7, {}}, {8, {"futex_wait"}}});
    ASSERT_EQ(sorted.stuck.size(), 3U);
    EXPECT_EQ(sorted.stuck[0].vcpu, 3U);
    EXPECT_THAT(sorted.stuck[0].lines,
                ElementsAre("vCPU 3 (APIC id 5): halted", "  local APIC: none", "  kernel: kvm_vcpu_block"));
    EXPECT_EQ(sorted.stuck[1].vcpu, 12U);
    EXPECT_EQ(sorted.stuck[2].vcpu, 8U);
    EXPECT_THAT(sorted.rest,
                ElementsAre("logged by vCPU 3: hi", "and 2 more: vCPUs 3, 12", "vCPUs 3-4 are stray"));
}

TEST(Registry, SaysWhatEachDriverPromises) {
    std::set<std::string_view> names;
    for (const auto& driver : all_drivers()) {
        EXPECT_TRUE(names.insert(driver.name).second) << driver.name;
        EXPECT_FALSE(driver.title.empty()) << driver.name;
        EXPECT_FALSE(driver.invariant.empty()) << driver.name;
        EXPECT_FALSE(driver.unit.empty()) << driver.name;
        EXPECT_NE(driver.run, nullptr) << driver.name;
        EXPECT_GE(driver.least_vcpus, 1U) << driver.name;
    }
}

TEST(SelectDrivers, TakesPatternsAndRefusesWhatMatchesNothing) {
    const auto ipis_only = select_drivers({"ipi.*", "ipi.all"});
    ASSERT_TRUE(ipis_only);
    EXPECT_EQ(ipis_only->size(), 6U);
    EXPECT_EQ(select_drivers({"all"})->size(), all_drivers().size());
    EXPECT_EQ(select_drivers({})->size(), all_drivers().size());
    const auto none = select_drivers({"ipi.*", "nosuch"});
    ASSERT_FALSE(none);
    EXPECT_THAT(none.error().message(), HasSubstr("nosuch"));
    EXPECT_THAT(none.error().message(), HasSubstr("lock.ticket"));
}

} // namespace
} // namespace nestbed::stress
