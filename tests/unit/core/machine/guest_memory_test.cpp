#include "core/machine/guest_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <sched.h>
#include <sys/mman.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::machine {
namespace {

constexpr std::uint64_t first_bytes = 2 * MiB;
constexpr std::uint64_t second_bytes = MiB;
constexpr std::uint64_t end = first_bytes + second_bytes;
constexpr auto largest = std::numeric_limits<std::uint64_t>::max();

// Two nodes, so two ranges one behind the other: [0, 2 MiB) and [2 MiB, 3 MiB).
topology::Plan two_nodes() {
    topology::Plan plan;
    plan.nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = first_bytes, .reason = {}},
                  {.virtual_node = 1, .host_node = {}, .memory_bytes = second_bytes, .reason = {}}};
    return plan;
}

class GuestMemoryTest : public testing::Test {
protected:
    void SetUp() override {
        auto allocated = GuestMemory::allocate(two_nodes());
        ASSERT_TRUE(allocated) << allocated.error().message();
        memory = std::move(*allocated);
    }
    GuestMemory memory;
};

struct AtCase {
    std::string name;
    std::uint64_t address;
    std::uint64_t bytes;
    bool there;
};

class At : public GuestMemoryTest, public testing::WithParamInterface<AtCase> {};

TEST_P(At, IsWithinOneRangeOrEmpty) {
    const auto& [name, address, bytes, there] = GetParam();
    const auto view = memory.at(address, bytes);
    ASSERT_EQ(!view.empty(), there);
    if (!there)
        return;
    EXPECT_EQ(view.size(), bytes);
    const auto regions = memory.regions();
    const auto& region = regions[address < first_bytes ? 0 : 1];
    EXPECT_EQ(view.data(), region.host + (address - region.range.address));
    std::ranges::fill(view, std::byte{0x5a}); // and can be written to its end
}

INSTANTIATE_TEST_SUITE_P(
    All, At,
    testing::Values(AtCase{"First", 0, 1, true}, AtCase{"WholeRange", 0, first_bytes, true},
                    AtCase{"LastOfFirst", first_bytes - 1, 1, true},
                    AtCase{"AcrossRanges", first_bytes - 1, 2, false}, AtCase{"AllOfBoth", 0, end, false},
                    AtCase{"FirstOfSecond", first_bytes, 8, true},
                    AtCase{"WholeSecond", first_bytes, second_bytes, true}, AtCase{"Last", end - 1, 1, true},
                    AtCase{"PastTheEnd", end - 1, 2, false}, AtCase{"AtTheEnd", end, 1, false},
                    AtCase{"FarAway", 64 * GiB, 8, false}, AtCase{"SizeOverflows", 8, largest, false},
                    AtCase{"SumOverflows", first_bytes, largest - first_bytes + 2, false},
                    AtCase{"AddressOverflows", largest, 2, false}, AtCase{"Nothing", 0, 0, false}),
    [](const auto& test_case) { return test_case.param.name; });

TEST_F(GuestMemoryTest, BeginsAsZeros) {
    for (const auto& region : memory.regions())
        EXPECT_TRUE(std::all_of(region.host, region.host + region.range.bytes,
                                [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST_F(GuestMemoryTest, IsGivenBack) {
    const auto regions = memory.regions();
    std::vector<unsigned char> present(second_bytes / 4096);
    ASSERT_EQ(::mincore(regions[1].host, second_bytes, present.data()), 0);
    memory = {};
    EXPECT_EQ(::mincore(regions[1].host, second_bytes, present.data()), -1);
    EXPECT_EQ(errno, ENOMEM) << "nothing is mapped there";
}

// Large enough for two threads, where two PUs are allowed, and no multiple of what each takes.
TEST(GuestMemory, IsPresentBeforeTheGuestRuns) {
    constexpr std::uint64_t bytes = 128 * MiB + 3 * 4096;
    topology::Plan plan;
    plan.nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = bytes, .reason = {}}};
    cpu_set_t allowed;
    ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
    for (std::uint32_t pu = 0; pu < CPU_SETSIZE && plan.vcpus.size() < 2; ++pu)
        if (CPU_ISSET(pu, &allowed))
            plan.vcpus.push_back({.vcpu = 0, .apic_id = 0, .virtual_node = 0, .pus = {pu}, .reason = {}});
    const auto memory = GuestMemory::allocate(plan);
    ASSERT_TRUE(memory) << memory.error().message();
    std::vector<unsigned char> present(bytes / 4096);
    ASSERT_EQ(::mincore(memory->regions()[0].host, bytes, present.data()), 0);
    EXPECT_EQ(std::ranges::count_if(present, [](unsigned char page) { return (page & 1) == 0; }), 0);
}

// Else KVM maps each small page of a huge one by itself (kernel: host_pfn_mapping_level() and its callers).
TEST(GuestMemory, HugePagesOfTheHostAreHugePagesOfTheGuest) {
    topology::Plan plan;
    plan.nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = 5 * MiB + 4096, .reason = {}},
                  {.virtual_node = 1, .host_node = {}, .memory_bytes = 7 * MiB, .reason = {}}};
    std::vector<GuestMemory> all; // each at another address
    for (int time = 0; time < 8; ++time) {
        auto memory = GuestMemory::allocate(plan, Presence::on_touch);
        ASSERT_TRUE(memory) << memory.error().message();
        for (const auto& region : memory->regions())
            EXPECT_EQ((reinterpret_cast<std::uintptr_t>(region.host) - region.range.address) % (2 * MiB), 0U);
        all.push_back(std::move(*memory));
    }
}

TEST(GuestMemory, OnTouchThereIsWhatWasWritten) {
    topology::Plan plan;
    plan.nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = MiB, .reason = {}}};
    const auto memory = GuestMemory::allocate(plan, Presence::on_touch);
    ASSERT_TRUE(memory) << memory.error().message();
    const auto present = [&] {
        std::vector<unsigned char> pages(MiB / 4096);
        EXPECT_EQ(::mincore(memory->regions()[0].host, MiB, pages.data()), 0);
        std::vector<std::size_t> numbers;
        for (std::size_t i = 0; i < pages.size(); ++i)
            if ((pages[i] & 1) != 0)
                numbers.push_back(i);
        return numbers;
    };
    const std::vector<std::byte> bytes(20 * 4096, std::byte{0x5a});
    const auto write = [&](std::uint64_t address, std::size_t count) {
        return memory->write(address, std::span{bytes}.first(count));
    };
    EXPECT_THAT(present(), testing::IsEmpty());
    EXPECT_TRUE(write(8 * 4096, 0));
    EXPECT_THAT(present(), testing::IsEmpty());
    EXPECT_TRUE(write(5 * 4096 + 100, 4096));
    EXPECT_THAT(present(), testing::ElementsAre(5, 6));
    EXPECT_TRUE(write(MiB - 1, 1));
    EXPECT_THAT(present(), testing::ElementsAre(5, 6, 255));
    // Many pages at once, beginning and ending within one.
    EXPECT_TRUE(write(100 * 4096 + 4000, 18 * 4096));
    EXPECT_EQ(present().size(), 3U + 19U);
    const auto there = memory->at(100 * 4096 + 3999, 18 * 4096 + 2);
    EXPECT_EQ(there.front(), std::byte{0});
    EXPECT_EQ(there.back(), std::byte{0});
    EXPECT_EQ(std::ranges::count(there, std::byte{0x5a}), 18 * 4096);
    EXPECT_EQ(write(MiB - 1, 2).error().kind, ErrorKind::bad_input);
    EXPECT_EQ(write(UINT64_MAX - 100, 200).error().kind, ErrorKind::bad_input);
    EXPECT_EQ(write(UINT64_MAX - 100, 50).error().kind, ErrorKind::bad_input);
}

TEST(GuestMemory, APuThatIsNotThereIsTheHostsLack) {
    auto plan = two_nodes();
    plan.vcpus.push_back({.vcpu = 0, .apic_id = 0, .virtual_node = 1, .pus = {5000}, .reason = {}});
    const auto memory = GuestMemory::allocate(plan);
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(memory.error().asked, testing::HasSubstr("5000"));
}

TEST_F(GuestMemoryTest, ObjectsAreAlignedAndInside) {
    using Word = std::uint64_t;
    ASSERT_NE(memory.object<Word>(8), nullptr);
    *memory.object<Word>(8) = 42;
    EXPECT_EQ(memory.at(8, 1).front(), std::byte{42});
    EXPECT_NE(memory.object<Word>(first_bytes, second_bytes / 8), nullptr);
    EXPECT_EQ(memory.object<Word>(first_bytes, second_bytes / 8 + 1), nullptr) << "one too many";
    EXPECT_EQ(memory.object<Word>(4), nullptr) << "not aligned";
    EXPECT_EQ(memory.object<Word>(end - 4), nullptr);
    EXPECT_EQ(memory.object<Word>(0, largest / 8 + 1), nullptr) << "the product wraps to 0";
    EXPECT_EQ(memory.object<Word>(0, largest / 8 + 2), nullptr) << "the product wraps to 8";
}

TEST_F(GuestMemoryTest, MovesWithItsMappings) {
    const auto* const before = memory.at(0, 1).data();
    const auto moved = std::move(memory);
    EXPECT_EQ(moved.at(0, 1).data(), before);
    EXPECT_EQ(moved.ranges().size(), 2U);
}

TEST(GuestMemory, NoneAtAll) {
    const GuestMemory memory;
    EXPECT_TRUE(memory.ranges().empty());
    EXPECT_TRUE(memory.at(0, 1).empty());
}

TEST(GuestMemory, MoreThanTheAddressSpaceIsTheHostsLack) {
    topology::Plan plan;
    plan.nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = std::uint64_t{1} << 50, .reason = {}}};
    // The part above the hole cannot be mapped; what lies below it is not touched before that is known.
    const auto memory = GuestMemory::allocate(plan);
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(memory.error().asked, testing::HasSubstr("guest memory for virtual node 0"));
    EXPECT_THAT(memory.error().found, testing::HasSubstr("ENOMEM"));
    EXPECT_THAT(memory.error().remedy, testing::HasSubstr("--memory"));
}

} // namespace
} // namespace nestbed::machine
