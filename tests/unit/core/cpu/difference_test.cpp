#include "core/cpu/difference.hpp"

#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/cpu/cpuid.hpp"
#include "host_tables.hpp"

namespace nestbed::core::cpu::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr topology::Shape shape{.sockets = 2, .cores = 144};

Table written() {
    return for_vcpu(guest_template(host_named("IceLake").table, {.shape = shape}), shape, 288 - 1);
}

kvm_cpuid_entry2& entry_of(Table& table, std::uint32_t leaf, std::uint32_t subleaf) {
    return *std::ranges::find_if(table, [&](const kvm_cpuid_entry2& entry) {
        return entry.function == leaf && entry.index == subleaf;
    });
}

TEST(Differences, NoneBetweenEqualTables) {
    EXPECT_THAT(differences(written(), written()), IsEmpty());
}

TEST(Differences, OrderDoesNotMatter) {
    auto read = written();
    std::ranges::reverse(read);
    EXPECT_THAT(differences(written(), read), IsEmpty());
}

TEST(Differences, AreRendered) {
    EXPECT_EQ(to_string({.leaf = 0xb, .subleaf = 1, .reg = Register::ebx, .written = 0x120, .read = 0}),
              "leaf 0xb subleaf 1 EBX: written 0x120, read 0x0");
    EXPECT_EQ(to_string({.leaf = 0x80000026, .subleaf = 0, .reg = Register::edx, .written = 1, .read = {}}),
              "leaf 0x80000026 subleaf 0 EDX: written 0x1, read nothing");
    EXPECT_EQ(to_string({.leaf = 1, .subleaf = 0, .reg = Register::eax, .written = {}, .read = 2}),
              "leaf 0x1 subleaf 0 EAX: written nothing, read 0x2");
    EXPECT_EQ(to_string({.leaf = 1, .subleaf = 0, .reg = Register::ecx, .written = 3, .read = 2}),
              "leaf 0x1 subleaf 0 ECX: written 0x3, read 0x2");
}

// A register that KVM may change at run time: `flips` is nothing to report, `next` in the same register is.
struct RunTime {
    std::string name;
    std::uint32_t leaf;
    std::uint32_t subleaf;
    std::uint32_t kvm_cpuid_entry2::*reg;
    std::uint32_t flips;
    std::uint32_t next; // 0: the whole register is KVM's
};

class KvmOwns : public testing::TestWithParam<RunTime> {};

TEST_P(KvmOwns, ThisAndNoMore) {
    const auto& bits = GetParam();
    auto before = written();
    before.push_back(
        {.function = 0x12, .index = 1, .flags = 1, .eax = 0, .ebx = 0, .ecx = 0, .edx = 0, .padding = {}});
    auto after = before;
    entry_of(after, bits.leaf, bits.subleaf).*bits.reg ^= bits.flips;
    EXPECT_THAT(differences(before, after), IsEmpty());
    if (bits.next != 0) {
        entry_of(after, bits.leaf, bits.subleaf).*bits.reg ^= bits.next;
        EXPECT_EQ(differences(before, after).size(), 1U);
    }
}

INSTANTIATE_TEST_SUITE_P(All, KvmOwns,
                         testing::Values(RunTime{"Osxsave", 1, 0, &kvm_cpuid_entry2::ecx, 1U << 27, 1U << 26},
                                         RunTime{"Monitor", 1, 0, &kvm_cpuid_entry2::ecx, 1U << 3, 1U << 5},
                                         RunTime{"Apic", 1, 0, &kvm_cpuid_entry2::edx, 1U << 9, 1U << 28},
                                         RunTime{"Ospke", 7, 0, &kvm_cpuid_entry2::ecx, 1U << 4, 1U << 3},
                                         RunTime{"XsaveSize", 0xd, 0, &kvm_cpuid_entry2::ebx, 0xfff, 0},
                                         RunTime{"XsavesSize", 0xd, 1, &kvm_cpuid_entry2::ebx, 0xfff, 0},
                                         RunTime{"SgxXfrmLow", 0x12, 1, &kvm_cpuid_entry2::ecx, 0x3, 0},
                                         RunTime{"SgxXfrmHigh", 0x12, 1, &kvm_cpuid_entry2::edx, 0x3, 0},
                                         RunTime{"PvUnhalt", 0x40000001, 0, &kvm_cpuid_entry2::eax, 1U << 7,
                                                 1U << 15}),
                         [](const auto& test_case) { return test_case.param.name; });

TEST(Differences, NameEachRegister) {
    auto read = written();
    auto& entry = entry_of(read, 0xb, 1);
    entry = {.function = 0xb, .index = 1, .flags = 1, .eax = 0, .ebx = 0, .ecx = 0, .edx = 0, .padding = {}};
    EXPECT_THAT(differences(written(), read), ElementsAre(CpuidDifference{0xb, 1, Register::eax, 8, 0},
                                                          CpuidDifference{0xb, 1, Register::ebx, 144, 0},
                                                          CpuidDifference{0xb, 1, Register::ecx, 0x201, 0},
                                                          CpuidDifference{0xb, 1, Register::edx, 0x18f, 0}));
}

TEST(Differences, AnAbsentEntryReadsAsZeros) {
    auto read = written();
    std::erase_if(read, [](const kvm_cpuid_entry2& entry) {
        return (entry.function == 0xb && entry.index == 2) || (entry.function == 0x4 && entry.index == 4);
    });
    // Leaf 4's terminator is all zeros, 0xB's holds the subleaf's number and the id.
    EXPECT_THAT(differences(written(), read), ElementsAre(CpuidDifference{0xb, 2, Register::ecx, 2, {}},
                                                          CpuidDifference{0xb, 2, Register::edx, 0x18f, {}}));
}

TEST(Differences, FindWhatWasNeverWritten) {
    auto read = written();
    read.push_back(
        {.function = 0x21, .index = 0, .flags = 0, .eax = 0, .ebx = 5, .ecx = 0, .edx = 0, .padding = {}});
    EXPECT_THAT(differences(written(), read), ElementsAre(CpuidDifference{0x21, 0, Register::ebx, {}, 5}));
}

struct Owner {
    std::string name;
    CpuidDifference difference;
    bool ours = false;
};

class Ours : public testing::TestWithParam<Owner> {};

TEST_P(Ours, IsToldFromTheHosts) {
    EXPECT_EQ(is_ours(GetParam().difference), GetParam().ours);
}

INSTANTIATE_TEST_SUITE_P(
    All, Ours,
    testing::Values(Owner{"MaxLeaf", {0, 0, Register::eax, 0x1f, 0x1b}, true},
                    Owner{"VendorString", {0, 0, Register::ebx, 1, 2}, false},
                    Owner{"InitialId", {1, 0, Register::ebx, 0x01000800, 0x02000800}, true},
                    Owner{"Clflush", {1, 0, Register::ebx, 0x01000800, 0x01000000}, false},
                    Owner{"HostFeatures", {1, 0, Register::ecx, 0x81202000, 0x97f83203}, false},
                    Owner{"Vmx", {1, 0, Register::ecx, 0x20, 0}, true},
                    Owner{"X2apic", {1, 0, Register::ecx, 1U << 21, 0}, true},
                    Owner{"TscDeadline", {1, 0, Register::ecx, 1U << 24, 0}, true},
                    Owner{"Htt", {1, 0, Register::edx, 1U << 28, 0}, true},
                    Owner{"Sse2", {1, 0, Register::edx, 1U << 26, 0}, false},
                    Owner{"Structured", {7, 0, Register::ebx, 0, 0x219c01ab}, false},
                    Owner{"Cache", {4, 3, Register::eax, 0xfc1fc163, 0xfc0fc163}, true},
                    Owner{"AmdCache", {0x8000001d, 3, Register::eax, 1, 2}, true},
                    Owner{"Level", {0xb, 1, Register::ebx, 0x120, {}}, true},
                    Owner{"LevelV2", {0x1f, 2, Register::edx, 0x120, {}}, true},
                    Owner{"AmdLevel", {0x80000026, 4, Register::edx, 0x120, 0x20}, true},
                    Owner{"AmdIds", {0x8000001e, 0, Register::eax, 0x120, 0x20}, true},
                    Owner{"ExtendedMax", {0x80000000, 0, Register::eax, 0x80000026, 0x80000021}, true},
                    Owner{"Svm", {0x80000001, 0, Register::ecx, 4, 0}, true},
                    Owner{"Topoext", {0x80000001, 0, Register::ecx, 1U << 22, 0}, true},
                    Owner{"LongMode", {0x80000001, 0, Register::edx, 1U << 29, 0}, false},
                    Owner{"Nc", {0x80000008, 0, Register::ecx, 0x90ff, 0x90fe}, true},
                    Owner{"PerformanceTsc", {0x80000008, 0, Register::ecx, 0x100ff, 0xff}, false},
                    Owner{"ExtDestId", {0x40000001, 0, Register::eax, 1U << 15, 0}, true},
                    Owner{"StealTime", {0x40000001, 0, Register::eax, 1U << 5, 0}, false}),
    [](const auto& test_case) { return test_case.param.name; });

} // namespace
} // namespace nestbed::core::cpu::test
