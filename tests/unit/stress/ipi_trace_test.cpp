#include "stress/ipi_trace.hpp"

#include <bit>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

using wire::ipi_trace::Ipi;

std::vector<std::uint64_t> sent_of(const KeptIpis& kept) {
    std::vector<std::uint64_t> sent;
    for (const auto& ipi : kept.ipis)
        sent.push_back(ipi.sent);
    return sent;
}

TEST(IpiRing, GivesTheLatestOldestFirst) {
    const std::vector<Ipi> slots{{0, 1, 50, 51}, {0, 1, 20, 21}, {0, 1, 30, 31}, {0, 1, 40, 41}};
    EXPECT_EQ(sent_of(read_ipi_ring(5, slots, 2)), (std::vector<std::uint64_t>{20, 30, 40, 50}));
    EXPECT_EQ(sent_of(read_ipi_ring(4, slots, 2)), (std::vector<std::uint64_t>{50, 20, 30, 40}));
    EXPECT_EQ(sent_of(read_ipi_ring(2, slots, 2)), (std::vector<std::uint64_t>{50, 20}));
    EXPECT_TRUE(read_ipi_ring(0, slots, 2).ipis.empty());
    EXPECT_TRUE(read_ipi_ring(7, {}, 2).ipis.empty());
}

TEST(IpiRing, TakesOnlyWhatCanBe) {
    const std::vector<Ipi> slots{{0, 1, 10, 10},          // in no time
                                 {2, 1, 10, 20},          // there is no vCPU 2
                                 {0, 2, 10, 20},          //
                                 {0, UINT32_MAX, 10, 20}, //
                                 {1, 1, 10, 20},          // to itself
                                 {1, 0, 20, 19},          // taken before it was sent
                                 {1, 0, UINT64_MAX, 0},   //
                                 {1, 0, 0, UINT64_MAX}};
    for (const std::uint64_t written : {std::uint64_t{8}, std::uint64_t{1} << 63, UINT64_MAX - 7}) {
        const auto kept = read_ipi_ring(written, slots, 2);
        EXPECT_EQ(sent_of(kept), (std::vector<std::uint64_t>{10, 0})) << written;
        EXPECT_EQ(kept.wrong, 6U);
    }
    EXPECT_EQ(read_ipi_ring(UINT64_MAX, slots, 2).ipis.size(), 2U);
    EXPECT_EQ(read_ipi_ring(8, slots, 0).wrong, 8U);
}

TEST(IpiRing, HasRoomForAsManyAsATimelineTakes) {
    for (const std::uint32_t vcpus : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 1024U, 4096U}) {
        const auto entries = ipi_ring_entries(vcpus);
        EXPECT_TRUE(std::has_single_bit(entries)) << vcpus;
        EXPECT_LE(entries, wire::ipi_trace::most_entries);
        EXPECT_LE(entries * vcpus, 128U * 1024) << vcpus;
        EXPECT_GT(entries * 2 * vcpus, vcpus > 128 ? 128U * 1024 : 0U) << vcpus;
    }
    EXPECT_EQ(ipi_ring_entries(128), 1024U);
    EXPECT_EQ(ipi_ring_entries(129), 512U);
    EXPECT_EQ(ipi_ring_entries(1024), 128U);
}

TEST(IpiRings, LieOneAfterTheOther) {
    const IpiRings rings{.address = 0x1000, .vcpus = 4, .entries = 8};
    EXPECT_EQ(rings.bytes_each(), 64U + 8 * 24);
    EXPECT_EQ(rings.of(3), 0x1000 + 3 * rings.bytes_each());
    EXPECT_EQ((IpiRings{.address = 0, .vcpus = 4, .entries = 8}.of(3)), 0U);
    EXPECT_EQ((IpiRings{.address = 0x1000, .vcpus = 4, .entries = 1}.bytes_each()), 128U);
}

TEST(TimedIpis, AreThoseInTheMachinesTime) {
    using namespace std::chrono_literals;
    const std::chrono::steady_clock::time_point start{1h};
    const auto clock = machine::TscClock::between({1000, start}, {2000, start + 500ns});
    ASSERT_TRUE(clock);
    const std::vector<Ipi> ipis{
        {0, 1, 1000, 1200}, {1, 0, 999, 1200}, {2, 3, 1800, 2001}, {3, 2, 1900, 2000}};
    const auto all = timed(ipis, *clock);
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].sender, 0U);
    EXPECT_EQ(all[0].receiver, 1U);
    EXPECT_EQ(all[0].sent, start);
    EXPECT_EQ(all[0].taken, start + 100ns);
    EXPECT_EQ(all[1].sent, start + 450ns);
    EXPECT_EQ(all[1].taken, start + 500ns);
}

} // namespace
} // namespace nestbed::stress
