#include "core/kvm/dirty_ring.hpp"

#include <cerrno>
#include <cstdint>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.hpp"

namespace nestbed::kvm {

// For failure messages.
static void PrintTo(const DirtyPage& page, std::ostream* out) {
    *out << page.slot << ':' << page.offset;
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A file that is laid out as a vCPU's, with a ring of four entries.
class DirtyRingTest : public testing::Test {
protected:
    static constexpr std::uint32_t count = 4;

    void SetUp() override {
        const auto offset = KVM_DIRTY_LOG_PAGE_OFFSET * ::sysconf(_SC_PAGESIZE);
        _file = Fd{::memfd_create("vcpu", MFD_CLOEXEC)};
        ASSERT_EQ(::ftruncate(_file.get(), offset + ::sysconf(_SC_PAGESIZE)), 0);
        auto* const memory = ::mmap(nullptr, sizeof(kvm_dirty_gfn) * count, PROT_READ | PROT_WRITE,
                                    MAP_SHARED, _file.get(), offset);
        ASSERT_NE(memory, MAP_FAILED);
        entries = static_cast<kvm_dirty_gfn*>(memory);
    }
    void TearDown() override { ::munmap(entries, sizeof(kvm_dirty_gfn) * count); }

    [[nodiscard]] int file() const { return _file.get(); }
    [[nodiscard]] DirtyRing map() const { return std::move(*DirtyRing::map(file(), count)); }
    // As the kernel does.
    void push(std::uint32_t at, std::uint32_t slot, std::uint64_t offset) {
        entries[at] = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = slot, .offset = offset};
    }
    static std::vector<DirtyPage> collect(DirtyRing& ring) {
        std::vector<DirtyPage> pages;
        ring.collect(pages);
        return pages;
    }

    kvm_dirty_gfn* entries = nullptr;

private:
    Fd _file;
};

TEST_F(DirtyRingTest, GivesWhatIsThereAndMarksIt) {
    auto ring = map();
    EXPECT_THAT(collect(ring), IsEmpty());
    push(0, 1, 100);
    push(1, 0x1'0002, 200);
    EXPECT_THAT(collect(ring), ElementsAre(DirtyPage{1, 100}, DirtyPage{0x1'0002, 200}));
    EXPECT_EQ(entries[0].flags, static_cast<std::uint32_t>(KVM_DIRTY_GFN_F_RESET));
    EXPECT_EQ(entries[1].flags, static_cast<std::uint32_t>(KVM_DIRTY_GFN_F_RESET));
    EXPECT_EQ(entries[2].flags, 0U);
    EXPECT_THAT(collect(ring), IsEmpty()) << "each once";
}

TEST_F(DirtyRingTest, GoesOnWhereItWasAndRoundTheEnd) {
    auto ring = map();
    for (std::uint32_t i = 0; i < count; ++i)
        push(i, 0, i);
    EXPECT_EQ(collect(ring).size(), count);
    for (std::uint32_t i = 0; i < count; ++i)
        entries[i].flags = 0; // KVM_RESET_DIRTY_RINGS
    push(0, 0, 10);
    EXPECT_THAT(collect(ring), ElementsAre(DirtyPage{0, 10}));
    push(1, 0, 11);
    EXPECT_THAT(collect(ring), ElementsAre(DirtyPage{0, 11}));
}

TEST_F(DirtyRingTest, WhatWasNotResetIsNotTakenTwice) {
    auto ring = map();
    for (std::uint32_t i = 0; i < count; ++i)
        push(i, 0, i);
    EXPECT_EQ(collect(ring).size(), count);
    EXPECT_THAT(collect(ring), IsEmpty());
}

TEST_F(DirtyRingTest, AHostileRingEndsAfterOneRound) {
    auto ring = map();
    for (std::uint32_t i = 0; i < count; ++i)
        entries[i] = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = 0, .offset = i};
    std::vector<DirtyPage> pages;
    ring.collect(pages);
    EXPECT_EQ(pages.size(), count);
}

TEST_F(DirtyRingTest, IsMovedWithItsPlace) {
    auto first = map();
    push(0, 0, 1);
    EXPECT_EQ(collect(first).size(), 1U);
    auto second = std::move(first);
    push(1, 0, 2);
    EXPECT_THAT(collect(second), ElementsAre(DirtyPage{0, 2}));
}

TEST_F(DirtyRingTest, OddSizesAndFilesAreRefused) {
    for (const std::uint32_t entries_count : {0U, 3U, 1000U})
        EXPECT_FALSE(DirtyRing::map(file(), entries_count)) << entries_count;
    EXPECT_FALSE(DirtyRing::map(-1, count));
}

} // namespace
} // namespace nestbed::kvm
