#include "topology/verify.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "topology/bind.hpp"
#include "topology/kernel_numa.hpp"

namespace nestbed::topology {
namespace {

using testing::HasSubstr;

Plan small_plan() {
    Plan plan;
    plan.vcpus = {{.vcpu = 0, .apic_id = 0, .virtual_node = 0, .pus = {4}, .reason = "r"},
                  {.vcpu = 1, .apic_id = 1, .virtual_node = 0, .pus = {5, 6}, .reason = "r"}};
    plan.nodes = {{.virtual_node = 0, .host_node = 2, .memory_bytes = 40960, .reason = "r"}};
    return plan;
}

Observation as_planned() {
    return {.threads = {{.vcpu = 0, .affinity = {4}, .last_ran_on = 4},
                        {.vcpu = 1, .affinity = {5, 6}, .last_ran_on = 6}},
            .memory = {{.virtual_node = 0, .pages = {{2, 10}}, .pages_asked = 10}}};
}

TEST(Compare, NothingToSayWhenAllIsAsPlanned) {
    EXPECT_TRUE(compare(small_plan(), as_planned()).empty());
    auto not_run_yet = as_planned();
    not_run_yet.threads[0].last_ran_on.reset();
    EXPECT_TRUE(compare(small_plan(), not_run_yet).empty());
}

TEST(Compare, EachDifferenceIsSeenAndNamed) {
    struct Case {
        std::function<void(Observation&)> change;
        std::string what;
        std::string found;
    };
    const Case cases[] = {
        {[](Observation& seen) {
             seen.threads[0].affinity = {4, 5};
         },
         "vCPU 0: affinity", "PUs 4-5"},
        {[](Observation& seen) { seen.threads[0].affinity = {}; }, "vCPU 0: affinity", "no PU"},
        {[](Observation& seen) { seen.threads[1].affinity = {5}; }, "vCPU 1: affinity", "PU 5"},
        {[](Observation& seen) { seen.threads[1].last_ran_on = 7; }, "vCPU 1: where its thread ran", "PU 7"},
        {[](Observation& seen) { seen.threads.pop_back(); }, "vCPU 1: its thread", "not observed"},
        {[](Observation& seen) {
             seen.memory[0].pages = {{2, 9}, {0, 1}};
         },
         "virtual node 0", "1 pages on host node 0"},
        {[](Observation& seen) {
             seen.memory[0].pages = {{2, 7}, {-ENOENT, 3}};
         },
         "virtual node 0", "3 pages not present"},
        {[](Observation& seen) {
             seen.memory[0].pages = {{2, 9}, {-EFAULT, 1}};
         },
         "virtual node 0", "EFAULT"},
        {[](Observation& seen) {
             seen.memory[0].pages = {{2, 8}};
         },
         "virtual node 0", "2 pages of which nothing is known"},
        {[](Observation& seen) { seen.memory[0] = {.virtual_node = 0, .pages = {}, .pages_asked = 0}; },
         "virtual node 0", "no page was looked at"},
        {[](Observation& seen) { seen.memory.clear(); }, "virtual node 0", "not observed"},
    };
    for (const auto& [change, what, found] : cases) {
        auto seen = as_planned();
        change(seen);
        const auto drifts = compare(small_plan(), seen);
        ASSERT_EQ(drifts.size(), 1U) << what;
        EXPECT_THAT(drifts[0].what, HasSubstr(what));
        EXPECT_THAT(drifts[0].found, HasSubstr(found));
        EXPECT_FALSE(drifts[0].planned.empty());
    }
}

TEST(Compare, WhatIsNeitherPinnedNorBoundCannotDiffer) {
    auto plan = small_plan();
    for (auto& vcpu : plan.vcpus)
        vcpu.pus.clear();
    plan.nodes[0].host_node.reset();
    auto seen = as_planned();
    seen.memory[0].pages = {{7, 1}, {-ENOENT, 9}};
    EXPECT_TRUE(compare(plan, seen).empty());
    EXPECT_TRUE(compare(plan, {}).empty());
}

TEST(ObserveThread, AThreadThatIsPinnedAsPlannedAndOneThatIsNot) {
    const auto allowed = read_affinity(0);
    ASSERT_TRUE(allowed);
    std::thread{[&] {
        const std::vector<std::uint32_t> pus{allowed->back()};
        ASSERT_TRUE(pin_this_thread(pus));
        const auto seen = observe_thread(9, ::gettid());
        ASSERT_TRUE(seen) << seen.error().message();
        EXPECT_EQ(seen->vcpu, 9U);
        EXPECT_EQ(seen->affinity, pus);
        EXPECT_EQ(seen->last_ran_on, pus[0]);

        Plan plan;
        plan.vcpus = {{.vcpu = 9, .apic_id = 9, .virtual_node = 0, .pus = pus, .reason = "r"}};
        EXPECT_TRUE(compare(plan, {.threads = {*seen}, .memory = {}}).empty());
        plan.vcpus[0].pus = {pus[0] + 1};
        EXPECT_EQ(compare(plan, {.threads = {*seen}, .memory = {}}).size(), 2U) << "affinity and last PU";
    }}.join();
}

TEST(ObserveThread, AThreadWhoseNameHasParentheses) {
    const auto allowed = read_affinity(0);
    ASSERT_TRUE(allowed);
    std::thread{[&] {
        ASSERT_EQ(::pthread_setname_np(::pthread_self(), "a) R 1 (b"), 0);
        // The highest number, since wrong fields are mostly 0.
        ASSERT_TRUE(pin_this_thread(std::vector{allowed->back()}));
        const auto seen = observe_thread(0, ::gettid());
        ASSERT_TRUE(seen);
        EXPECT_EQ(seen->last_ran_on, allowed->back());
    }}.join();
}

TEST(ObserveThread, AThreadThatIsGone) {
    pid_t tid = 0;
    std::thread{[&] { tid = ::gettid(); }}.join();
    // join() returns once the thread is done with its memory; the kernel has it for a moment longer.
    for (int i = 0; i < 10'000 && ::syscall(SYS_tgkill, ::getpid(), tid, 0) == 0; ++i)
        ::usleep(1000);
    const auto seen = observe_thread(3, tid);
    ASSERT_FALSE(seen);
    EXPECT_EQ(seen.error().kind, ErrorKind::check_failed);
    EXPECT_THAT(seen.error().asked, HasSubstr("vCPU 3"));
}

TEST(ObserveMemory, PresentAbsentAndSampled) {
    constexpr std::size_t page = 4096;
    constexpr std::size_t pages = 100;
    void* const mapped =
        ::mmap(nullptr, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    ASSERT_EQ(::madvise(mapped, pages * page, MADV_NOHUGEPAGE), 0);
    auto* const start = static_cast<std::byte*>(mapped);
    ASSERT_TRUE(prefault(start, pages / 2 * page, page));

    const auto all = observe_memory(1, start, pages * page, page);
    ASSERT_TRUE(all) << all.error().message();
    EXPECT_EQ(all->virtual_node, 1U);
    EXPECT_EQ(all->pages_asked, pages);
    const auto present = [](const ObservedMemory& seen) {
        std::uint64_t sum = 0;
        for (const auto& [node, count] : seen.pages)
            sum += node >= 0 ? count : 0;
        return sum;
    };
    EXPECT_EQ(present(*all), pages / 2);
    EXPECT_EQ(all->pages.at(-ENOENT), pages / 2);

    const auto sampled = observe_memory(1, start, pages * page, page, 10);
    ASSERT_TRUE(sampled);
    EXPECT_EQ(sampled->pages_asked, 10U);
    EXPECT_EQ(present(*sampled), 5U) << "evenly spread over both halves";

    const auto part = observe_memory(1, start, page + 1, page);
    ASSERT_TRUE(part);
    EXPECT_EQ(part->pages_asked, 2U) << "the last page counts though it is not whole";
    ::munmap(mapped, pages * page);
}

} // namespace
} // namespace nestbed::topology
