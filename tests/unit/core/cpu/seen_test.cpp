#include "core/cpu/seen.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/cpu/cpuid.hpp"
#include "guest_view.hpp"
#include "host_tables.hpp"

namespace nestbed::core::cpu::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr topology::Shape shape{.sockets = 2, .dies = 4, .cores = 36, .threads = 2};
constexpr std::uint32_t vcpu = 421; // id 0x2c5: socket 1, die 1, core 30 (field value 0x1e), thread 1
constexpr std::uint32_t id = 1U << 9 | 1U << 7 | 30U << 1 | 1U;

std::vector<SeenCpuid> healthy(const std::string& host) {
    return dump(for_vcpu(guest_template(host_named(host).table, {.shape = shape}), shape, vcpu));
}

TEST(LeavesToDump, FollowTheVendor) {
    const auto leaves_of = [](const std::string& host) {
        std::vector<std::pair<std::uint32_t, std::uint32_t>> leaves;
        for (const auto& leaf : leaves_to_dump(guest_template(host_named(host).table, {.shape = shape})))
            leaves.emplace_back(leaf.leaf, leaf.subleaf);
        return leaves;
    };
    using P = std::pair<std::uint32_t, std::uint32_t>;
    EXPECT_THAT(leaves_of("IceLake"),
                ElementsAre(P{0, 0}, P{1, 0}, P{4, 0}, P{4, 1}, P{4, 2}, P{4, 3}, P{4, 4}, P{0xb, 0},
                            P{0xb, 1}, P{0xb, 2}, P{0x1f, 0}, P{0x1f, 1}, P{0x1f, 2}, P{0x1f, 3},
                            P{0x80000000, 0}, P{0x80000001, 0}, P{0x80000008, 0}));
    EXPECT_THAT(leaves_of("EmulatedEpyc"),
                ElementsAre(P{0, 0}, P{1, 0}, P{0xb, 0}, P{0xb, 1}, P{0xb, 2}, P{0x80000000, 0},
                            P{0x80000001, 0}, P{0x80000008, 0}, P{0x8000001d, 0}, P{0x8000001d, 1},
                            P{0x8000001d, 2}, P{0x8000001d, 3}, P{0x8000001d, 4}, P{0x8000001e, 0},
                            P{0x80000026, 0}, P{0x80000026, 1}, P{0x80000026, 2}, P{0x80000026, 3},
                            P{0x80000026, 4}));
}

TEST(Complaints, NoneOnAHealthyVcpu) {
    EXPECT_THAT(topology_complaints(shape, vcpu, healthy("IceLake"), id), IsEmpty());
    EXPECT_THAT(topology_complaints(shape, vcpu, healthy("Milan"), id), IsEmpty());
}

TEST(Complaints, TheRegisterIsNotTheId) {
    EXPECT_THAT(topology_complaints(shape, vcpu, healthy("Milan"), id & 0xff),
                ElementsAre("x2APIC id register (MSR 0x802) is 0xbd, should be 0x2bd"));
}

TEST(Complaints, ANeighboursLeaves) {
    const auto complaints = topology_complaints(shape, vcpu + 1, healthy("IceLake"), id);
    EXPECT_GT(complaints.size(), 8U);
}

TEST(Complaints, NothingDumped) {
    EXPECT_THAT(topology_complaints(shape, vcpu, {}, id), ElementsAre("leaf 0x0 subleaf 0: not dumped"));
}

// One register of one subleaf XORed with a value, and the one complaint that must come of it.
struct Corruption {
    std::string name;
    std::string host;
    std::uint32_t leaf;
    std::uint32_t subleaf;
    std::uint32_t SeenCpuid::*reg;
    std::uint32_t flips;
    std::string complaint;
};

class Corrupted : public testing::TestWithParam<Corruption> {};

TEST_P(Corrupted, IsNoticed) {
    const auto& corruption = GetParam();
    auto seen = healthy(corruption.host);
    const auto at = std::ranges::find_if(seen, [&](const SeenCpuid& candidate) {
        return candidate.leaf == corruption.leaf && candidate.subleaf == corruption.subleaf;
    });
    ASSERT_NE(at, seen.end());
    (*at).*corruption.reg ^= corruption.flips;
    EXPECT_THAT(topology_complaints(shape, vcpu, seen, id), ElementsAre(HasSubstr(corruption.complaint)));
}

constexpr auto eax = &SeenCpuid::eax;
constexpr auto ebx = &SeenCpuid::ebx;
constexpr auto ecx = &SeenCpuid::ecx;
constexpr auto edx = &SeenCpuid::edx;

INSTANTIATE_TEST_SUITE_P(
    All, Corrupted,
    testing::Values(
        Corruption{"InitialId", "Milan", 1, 0, ebx, 1U << 24, "leaf 0x1 subleaf 0: initial APIC id is 0xbc"},
        Corruption{"PackageCount", "Milan", 1, 0, ebx, 1U << 16, "logical processors per package"},
        Corruption{"PackageCountIntel", "IceLake", 1, 0, ebx, 1U << 17, "logical processors per package"},
        Corruption{"Htt", "Milan", 1, 0, edx, 1U << 28, "HTT is 0x0, should be 0x1"},
        Corruption{"X2apic", "IceLake", 1, 0, ecx, 1U << 21, "x2APIC is 0x0"},
        Corruption{"MaxLeaf", "IceLake", 0, 0, eax, 0x10, "maximum leaf is 0xf, which hides leaf 0x1f"},
        Corruption{"MaxLeafAmd", "Milan", 0, 0, eax, 0x17, "maximum leaf is 0x7, which hides leaf 0xb"},
        Corruption{"MaxExtendedLeaf", "Milan", 0x80000000, 0, eax, 0x3e,
                   "maximum leaf is 0x80000018, which hides leaf 0x80000026"},
        Corruption{"Type", "Milan", 0xb, 1, ecx, 0x700, "level type is 0x5, should be 0x2"},
        Corruption{"Shift", "Milan", 0xb, 1, eax, 1, "leaf 0xb subleaf 1: shift is 0x8, should be 0x9"},
        Corruption{"Processors", "IceLake", 0xb, 1, ebx, 0x20, "processors at this level is 0x100"},
        Corruption{"SubleafNumber", "IceLake", 0xb, 1, ecx, 3, "level number is 0x2, should be 0x1"},
        Corruption{"Id", "IceLake", 0xb, 0, edx, 0x100, "leaf 0xb subleaf 0: x2APIC id is 0x3bd"},
        Corruption{"TerminatorsId", "IceLake", 0xb, 2, edx, 1, "leaf 0xb subleaf 2: x2APIC id"},
        Corruption{"NoEnd", "IceLake", 0x1f, 3, ecx, 0x600, "level type of the terminating subleaf is 0x6"},
        Corruption{"NoEndForAmd", "Milan", 0x80000026, 4, ebx, 1, "processors at the terminating subleaf"},
        Corruption{"TerminatorsShift", "Milan", 0x80000026, 4, eax, 9, "shift of the terminating subleaf"},
        Corruption{"DieType", "IceLake", 0x1f, 2, ecx, 0x100, "leaf 0x1f subleaf 2: level type is 0x4"},
        Corruption{"DieShift", "IceLake", 0x1f, 1, eax, 0x8, "leaf 0x1f subleaf 1: shift is 0xf"},
        Corruption{"AmdDieType", "Milan", 0x80000026, 2, ecx, 0x100, "level type is 0x2, should be 0x3"},
        Corruption{"AmdSocketId", "Milan", 0x80000026, 3, edx, 0x200, "subleaf 3: x2APIC id is 0xbd"},
        Corruption{"CoreCacheSharing", "IceLake", 0x4, 0, eax, 2U << 14,
                   "ids that share the level 1 cache, less 1 is 0x3, should be 0x1"},
        Corruption{"DieCacheSharing", "IceLake", 0x4, 3, eax, 0x180U << 14,
                   "ids that share the level 3 cache, less 1 is 0x1ff, should be 0x7f"},
        Corruption{"CoresInPackage", "IceLake", 0x4, 2, eax, 1U << 26,
                   "core ids per package, less 1 is 0x3e"},
        Corruption{"AmdDieCacheSharing", "Milan", 0x8000001d, 3, eax, 0x40U << 14,
                   "level 3 cache, less 1 is 0x3f"},
        Corruption{"AmdReservedBits", "Milan", 0x8000001d, 0, eax, 1U << 31, "reserved bits 31:26 is 0x20"},
        Corruption{"Topoext", "Milan", 0x80000001, 0, ecx, 1U << 22, "TOPOEXT is 0x0"},
        Corruption{"CmpLegacy", "Milan", 0x80000001, 0, ecx, 1U << 1, "CmpLegacy is 0x0"},
        Corruption{"Nc", "Milan", 0x80000008, 0, ecx, 0x80, "NC is 0x7f, should be 0xff"},
        Corruption{"ApicIdSize", "Milan", 0x80000008, 0, ecx, 0x1000, "ApicIdSize is 0x8, should be 0x9"},
        Corruption{"ExtendedId", "Milan", 0x8000001e, 0, eax, 0x200, "extended APIC id is 0xbd"},
        Corruption{"CoreId", "Milan", 0x8000001e, 0, ebx, 1, "core id is 0x5f, should be 0x5e"},
        Corruption{"ThreadsPerCore", "Milan", 0x8000001e, 0, ebx, 0x100, "threads per core, less 1 is 0x0"},
        Corruption{"NodeId", "Milan", 0x8000001e, 0, ecx, 4, "node id is 0x1, should be 0x5"},
        Corruption{"NodesPerPackage", "Milan", 0x8000001e, 0, ecx, 0x200,
                   "nodes per package, less 1 is 0x1"}),
    [](const auto& test_case) { return test_case.param.name; });

class Missing : public testing::TestWithParam<std::pair<std::string, LeafId>> {};

TEST_P(Missing, IsAComplaint) {
    const auto gone = GetParam().second;
    auto seen = healthy(GetParam().first);
    std::erase_if(seen,
                  [&](const SeenCpuid& one) { return one.leaf == gone.leaf && one.subleaf == gone.subleaf; });
    EXPECT_THAT(topology_complaints(shape, vcpu, seen, id), ElementsAre(HasSubstr("not dumped")));
}

INSTANTIATE_TEST_SUITE_P(
    All, Missing,
    testing::Values(std::pair{"IceLake", LeafId{1, 0}}, std::pair{"IceLake", LeafId{4, 4}},
                    std::pair{"IceLake", LeafId{0xb, 2}}, std::pair{"IceLake", LeafId{0x1f, 2}},
                    std::pair{"Milan", LeafId{0x80000000, 0}}, std::pair{"Milan", LeafId{0x80000001, 0}},
                    std::pair{"Milan", LeafId{0x80000008, 0}}, std::pair{"Milan", LeafId{0x8000001d, 1}},
                    std::pair{"Milan", LeafId{0x8000001e, 0}}, std::pair{"Milan", LeafId{0x80000026, 4}}));

TEST(Complaints, NoCache) {
    auto seen = healthy("IceLake");
    std::ranges::find(seen, 0x4U, &SeenCpuid::leaf)->eax = 0;
    EXPECT_THAT(topology_complaints(shape, vcpu, seen, id), Contains("leaf 0x4: no cache at all"));
}

} // namespace
} // namespace nestbed::core::cpu::test
