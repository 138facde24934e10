#include "stress/drivers/dirty.hpp"

#include <cstring>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stress/wire/dirty.hpp"

namespace nestbed::stress {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::size_t page_bytes = 4096;
constexpr std::uint64_t each = 4;

// Two vCPUs with four pages each, then four that they share.
struct Evidence {
    std::vector<std::byte> arena = std::vector<std::byte>(3 * each * page_bytes);
    std::vector<std::byte> copy;
    std::vector<std::uint64_t> written = std::vector<std::uint64_t>(2 * each);
    std::vector<std::uint8_t> collected = std::vector<std::uint8_t>(3 * each);
    std::uint64_t shared_adds = 0;

    Evidence() {
        for (std::uint64_t page = 0; page < written.size(); ++page)
            stamp(page, page + 100);
        add(9, 17, 3);
        copy = arena;
    }
    void put(std::uint64_t page, std::uint64_t word, std::uint64_t value) {
        std::memcpy(arena.data() + page * page_bytes + word * 8, &value, sizeof value);
        collected[page] = 1;
    }
    void stamp(std::uint64_t page, std::uint64_t value) {
        put(page, wire::dirty::stamp_word(page % each), value);
        written[page] = value;
    }
    void add(std::uint64_t page, std::uint64_t word, std::uint64_t value) {
        put(page, word, value);
        shared_adds = value;
    }
    [[nodiscard]] std::vector<std::string> judge() const {
        return judge_dirty({arena, copy, written, collected, each, shared_adds});
    }
};

TEST(Dirty, AnEqualCopyPasses) {
    EXPECT_THAT(Evidence{}.judge(), IsEmpty());
}

TEST(Dirty, APageWrittenAfterItWasNamedIsLost) {
    Evidence run;
    run.stamp(6, 1000);
    EXPECT_THAT(run.judge(), ElementsAre("page 2 of vCPU 1: written after KVM named it last"));
}

TEST(Dirty, APageThatWasNeverNamedIsLost) {
    Evidence run;
    run.stamp(3, 1000);
    run.collected[3] = 0;
    EXPECT_THAT(run.judge(), ElementsAre("page 3 of vCPU 0: written, and never named by KVM"));
}

TEST(Dirty, SharedPagesCountToo) {
    Evidence run;
    run.add(9, 17, 4);
    EXPECT_THAT(run.judge(), ElementsAre("shared page 1: written after KVM named it last"));
}

TEST(Dirty, WhatTheGuestSaysIsCompared) {
    Evidence run;
    run.written[1] = 7;
    EXPECT_THAT(run.judge(), ElementsAre("page 1 of vCPU 0: holds 101, the guest says that it wrote 7"));
    Evidence adds;
    adds.shared_adds = 5;
    EXPECT_THAT(adds.judge(), ElementsAre("the shared pages hold 3 additions, the guest made 5"));
}

TEST(Dirty, AGuestThatWritesNothingProvesNothing) {
    Evidence run;
    for (std::uint64_t page = 0; page < run.written.size(); ++page)
        run.stamp(page, 0);
    run.copy = run.arena;
    EXPECT_THAT(run.judge(), ElementsAre("the guest wrote nothing"));
}

} // namespace
} // namespace nestbed::stress
