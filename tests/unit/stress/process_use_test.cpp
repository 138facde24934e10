#include "stress/drivers/process_use.hpp"

#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "base/fd.hpp"
#include "base/units.hpp"

namespace nestbed::stress {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr ProcessUse base{
    .footprint = {.threads = 4, .descriptors = 20}, .mappings = 300, .resident_bytes = 50 * MiB};

TEST(ProcessUse, WhatComesBackPasses) {
    EXPECT_THAT(judge_process_use(base, base, 1000), IsEmpty());
    EXPECT_THAT(judge_process_use(base, {}, 1000), IsEmpty()) << "less is no leak";
    auto after = base;
    after.mappings += 64;
    after.resident_bytes += 16 * MiB;
    EXPECT_THAT(judge_process_use(base, after, 0), IsEmpty()) << "what the C library keeps";
}

TEST(ProcessUse, OneDescriptorOrThreadIsALeak) {
    auto after = base;
    ++after.footprint.descriptors;
    EXPECT_THAT(judge_process_use(base, after, 1000),
                ElementsAre("descriptors: 20 before, 21 after 1000 machines"));
    ++after.footprint.threads;
    EXPECT_THAT(judge_process_use(base, after, 1000), SizeIs(2));
}

TEST(ProcessUse, AMappingOrTwoPagesEachMachineAreALeak) {
    auto after = base;
    after.mappings += 1000;
    EXPECT_THAT(judge_process_use(base, after, 1000),
                ElementsAre("mappings: 300 before, 1300 after 1000 machines"));
    after = base;
    after.resident_bytes += 16 * MiB + 1000 * 8 * KiB;
    EXPECT_THAT(judge_process_use(base, after, 1000), SizeIs(1));
}

TEST(ProcessUse, StatusIsReadByName) {
    EXPECT_EQ(resident_bytes(
                  "Name:\tx\nVmRSS:\t 900 kB\nRssAnon:\t     100 kB\nRssFile:\t 5 kB\nRssShmem:\t 7 kB\n"),
              107 * KiB);
    EXPECT_EQ(resident_bytes(""), 0U);
    EXPECT_EQ(resident_bytes("x\nRssAnon:"), 0U);
    EXPECT_EQ(resident_bytes("x\nRssAnon:\t\n"), 0U);
}

TEST(ProcessUse, SeesWhatThisProcessTakes) {
    const auto before = process_use();
    ASSERT_TRUE(before);
    const Fd fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    constexpr std::size_t bytes = 32 * MiB;
    auto* const memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    const auto after = process_use();
    ::munmap(memory, bytes);
    ASSERT_TRUE(after);
    EXPECT_EQ(after->footprint.descriptors, before->footprint.descriptors + 1);
    EXPECT_GE(after->resident_bytes, before->resident_bytes + bytes - 4 * MiB);
    EXPECT_THAT(judge_process_use(*before, *after, 1), SizeIs(2));
}

} // namespace
} // namespace nestbed::stress
