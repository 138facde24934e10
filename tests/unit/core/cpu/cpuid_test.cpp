#include "core/cpu/cpuid.hpp"

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest_view.hpp"
#include "host_tables.hpp"

namespace nestbed::core::cpu::test {
namespace {

using topology::Shape;

constexpr std::uint32_t vmx = 1U << 5;
constexpr std::uint32_t svm = 1U << 2;

TEST(Find, TellsSubleavesApart) {
    const auto& table = host_named("IceLake").table;
    EXPECT_EQ(find(table, 0xb, 1)->ebx, 0x40U);
    EXPECT_EQ(find(table, 0xb, 3), nullptr);
    EXPECT_EQ(find(table, 0x5), nullptr);
    // Without a significant index one entry answers for all.
    EXPECT_EQ(find(table, 0x1, 7), find(table, 0x1));
}

TEST(VendorOf, KnowsTheStrings) {
    for (const auto& host : all_hosts())
        EXPECT_EQ(vendor_of(host.table), host.vendor) << host.name;
    EXPECT_EQ(vendor_of(Table{}), Vendor::other);
}

class EachHost : public testing::TestWithParam<HostTable> {
protected:
    [[nodiscard]] static const Table& host() { return GetParam().table; }
    [[nodiscard]] static bool amd() { return is_amd_like(GetParam().vendor); }
};

TEST_P(EachHost, KeepsNestedBitsUnlessToldOtherwise) {
    const Shape shape{.sockets = 2, .dies = 2, .cores = 3, .threads = 2};
    const auto shown = for_vcpu(guest_template(host(), {.shape = shape}), shape, 5);
    const auto hidden = for_vcpu(guest_template(host(), {.shape = shape, .nested = false}), shape, 5);
    EXPECT_EQ(execute(shown, 1).ecx & vmx, amd() ? 0U : vmx);
    EXPECT_EQ(execute(shown, 0x80000001).ecx & svm, amd() ? svm : 0U);
    EXPECT_EQ(execute(shown, 0x8000000a).edx, execute(host(), 0x8000000a).edx);
    EXPECT_EQ(execute(hidden, 1).ecx & vmx, 0U);
    EXPECT_EQ(execute(hidden, 0x80000001).ecx & svm, 0U);
    EXPECT_EQ(execute(hidden, 0x8000000a).edx, 0U);
}

// Whatever is not topology comes from the host as it was.
TEST_P(EachHost, LeavesOtherFeaturesAlone) {
    const auto guest = guest_template(host(), {.shape = {.cores = 288}});
    const auto ours =
        std::vector<std::uint32_t>{0x0,        0x1,        0x4,        0xb,        0x1f,       0x40000001,
                                   0x80000000, 0x80000001, 0x80000008, 0x8000001d, 0x8000001e, 0x80000026};
    for (const auto& entry : host()) {
        if (std::ranges::find(ours, entry.function) != ours.end())
            continue;
        const auto* const kept = find(guest, entry.function, entry.index);
        ASSERT_NE(kept, nullptr) << fmt::format("leaf {:#x}", entry.function);
        EXPECT_EQ((std::tuple{kept->eax, kept->ebx, kept->ecx, kept->edx}),
                  (std::tuple{entry.eax, entry.ebx, entry.ecx, entry.edx}))
            << fmt::format("leaf {:#x}", entry.function);
    }
    const std::uint32_t written_ecx1 = 1U << 21 | 1U << 24 | 1U << 31;
    EXPECT_EQ(execute(guest, 1).eax, execute(host(), 1).eax);
    EXPECT_EQ(execute(guest, 1).ecx & ~written_ecx1, execute(host(), 1).ecx & ~written_ecx1);
    EXPECT_EQ(execute(guest, 1).edx & ~(1U << 28), execute(host(), 1).edx & ~(1U << 28));
    EXPECT_EQ(execute(guest, 1).ebx & 0xff00, execute(host(), 1).ebx & 0xff00); // CLFLUSH line
    const std::uint32_t written_ecx_ext = 1U << 1 | 1U << 22;
    EXPECT_EQ(execute(guest, 0x80000001).ecx & ~written_ecx_ext,
              execute(host(), 0x80000001).ecx & ~written_ecx_ext);
    EXPECT_EQ(execute(guest, 0x80000001).edx, execute(host(), 0x80000001).edx);
    EXPECT_EQ(execute(guest, 0x80000008).eax, execute(host(), 0x80000008).eax);
}

TEST_P(EachHost, SetsWhatTheOptionsSay) {
    for (const bool on : {false, true}) {
        const auto guest =
            guest_template(host(), {.shape = {.cores = 2}, .tsc_deadline = on, .ext_dest_id = on});
        EXPECT_EQ(execute(guest, 1).ecx >> 24 & 1, on ? 1U : 0U);
        EXPECT_EQ(execute(guest, 0x40000001).eax >> 15 & 1, on ? 1U : 0U);
        EXPECT_EQ(execute(guest, 1).ecx >> 21 & 1, 1U); // x2APIC
        EXPECT_EQ(execute(guest, 1).ecx >> 31 & 1, 1U); // hypervisor
        EXPECT_GE(execute(guest, 0x40000000).eax, 0x40000001U);
        EXPECT_EQ(execute(guest, 0x40000000).ebx, 0x4b4d564bU);
        EXPECT_EQ(execute(guest, 0x40000000).ecx, 0x564b4d56U);
        EXPECT_EQ(execute(guest, 0x40000000).edx, 0x4dU);
        EXPECT_EQ(execute(guest, 0x40000001).eax & 0xfb, execute(host(), 0x40000001).eax & 0xfb);
    }
}

TEST_P(EachHost, ShowsOnlyItsOwnFamilysTopologyLeaves) {
    const auto guest = guest_template(host(), {.shape = {.cores = 288}});
    for (const std::uint32_t leaf : {0x4U, 0x1fU})
        EXPECT_EQ(find(guest, leaf) == nullptr, amd()) << leaf;
    for (const std::uint32_t leaf : {0x8000001dU, 0x8000001eU, 0x80000026U})
        EXPECT_EQ(find(guest, leaf) != nullptr, amd()) << leaf;
    EXPECT_GE(execute(guest, 0).eax, amd() ? 0xbU : 0x1fU);
    if (amd()) {
        EXPECT_GE(execute(guest, 0x80000000).eax, 0x80000026U);
    }
    EXPECT_EQ(execute(guest, 0x80000001).ecx >> 22 & 1, amd() ? 1U : 0U); // TOPOEXT
}

TEST_P(EachHost, IsSortedWithoutDuplicatesAndFitsKvm) {
    const auto guest = guest_template(host(), {.shape = {.sockets = 2, .dies = 2, .cores = 72}});
    const auto key = [](const kvm_cpuid_entry2& entry) { return std::tuple{entry.function, entry.index}; };
    const auto not_ascending = [&](const auto& a, const auto& b) { return key(a) >= key(b); };
    EXPECT_EQ(std::ranges::adjacent_find(guest, not_ascending), guest.end());
    EXPECT_LE(guest.size(), 80U); // KVM_MAX_CPUID_ENTRIES before Linux 5.10
}

INSTANTIATE_TEST_SUITE_P(All, EachHost, testing::ValuesIn(all_hosts()),
                         [](const auto& test_case) { return test_case.param.name; });

// Fields of 8, 6, 12 and 4 bits at and past their ends.
struct Saturation {
    Shape shape;
    std::uint32_t intel_ids;   // leaf 1 EBX 23:16 on Intel
    std::uint32_t amd_threads; // the same on AMD
    std::uint32_t core_ids;    // leaf 4 EAX 31:26
    std::uint32_t l3_ids;      // leaf 4 EAX 25:14 of the L3
    std::uint32_t nc;          // 0x80000008 ECX 7:0
    std::uint32_t id_size;     // 0x80000008 ECX 15:12
    std::uint32_t last_core;   // 0x8000001E EBX 7:0 of the last vCPU
    std::uint32_t htt;
};

class Saturates : public testing::TestWithParam<Saturation> {};

TEST_P(Saturates, InsteadOfWrapping) {
    const auto& expected = GetParam();
    const auto last = static_cast<std::uint32_t>(vcpu_count(expected.shape) - 1);
    const auto intel = for_vcpu(guest_template(host_named("IceLake").table, {.shape = expected.shape}),
                                expected.shape, last);
    const auto amd =
        for_vcpu(guest_template(host_named("Milan").table, {.shape = expected.shape}), expected.shape, last);
    EXPECT_EQ(execute(intel, 1).ebx >> 16 & 0xff, expected.intel_ids);
    EXPECT_EQ(execute(amd, 1).ebx >> 16 & 0xff, expected.amd_threads);
    EXPECT_EQ(execute(intel, 1).edx >> 28 & 1, expected.htt);
    EXPECT_EQ(execute(amd, 1).edx >> 28 & 1, expected.htt);
    EXPECT_EQ(execute(amd, 0x80000001).ecx >> 1 & 1, expected.htt); // CmpLegacy
    EXPECT_EQ(execute(intel, 4, 0).eax >> 26, expected.core_ids);
    EXPECT_EQ(execute(intel, 4, 3).eax >> 26, expected.core_ids);
    EXPECT_EQ(execute(intel, 4, 3).eax >> 14 & 0xfff, expected.l3_ids);
    EXPECT_EQ(execute(amd, 0x8000001d, 3).eax >> 14, expected.l3_ids);
    EXPECT_EQ(execute(amd, 0x80000008).ecx & 0xff, expected.nc);
    EXPECT_EQ(execute(amd, 0x80000008).ecx >> 12 & 0xf, expected.id_size);
    EXPECT_EQ(execute(amd, 0x8000001e).ebx & 0xff, expected.last_core);
}

INSTANTIATE_TEST_SUITE_P(
    All, Saturates,
    testing::Values(Saturation{{.cores = 1}, 1, 1, 0, 0, 0, 0, 0, 0},
                    Saturation{{.cores = 2}, 2, 2, 1, 1, 1, 1, 1, 1},
                    Saturation{{.sockets = 2}, 1, 1, 0, 0, 0, 0, 0, 0},
                    Saturation{{.cores = 64}, 64, 64, 63, 63, 63, 6, 63, 1},
                    Saturation{{.cores = 65}, 128, 65, 63, 127, 64, 7, 64, 1},
                    Saturation{{.cores = 128}, 128, 128, 63, 127, 127, 7, 127, 1},
                    Saturation{{.cores = 255}, 255, 255, 63, 255, 254, 8, 254, 1},
                    Saturation{{.cores = 256}, 255, 255, 63, 255, 255, 8, 255, 1},
                    Saturation{{.cores = 257}, 255, 255, 63, 511, 255, 9, 255, 1},
                    Saturation{{.cores = 1024}, 255, 255, 63, 1023, 255, 10, 255, 1},
                    Saturation{{.cores = 1024, .threads = 2}, 255, 255, 63, 2047, 255, 11, 255, 1},
                    Saturation{{.cores = 8192}, 255, 255, 63, 4095, 255, 13, 255, 1},
                    Saturation{{.cores = 65536}, 255, 255, 63, 4095, 255, 15, 255, 1}),
    [](const auto& test_case) { return format_shape(test_case.param.shape); });

TEST(Levels, CountProcessorsPerLevel) {
    const Shape shape{.sockets = 2, .dies = 4, .cores = 9, .threads = 2};
    const auto intel = guest_template(host_named("IceLake").table, {.shape = shape});
    const auto amd = guest_template(host_named("Milan").table, {.shape = shape});
    const auto row = [](const Table& table, std::uint32_t leaf, std::uint32_t subleaf) {
        const auto seen = execute(table, leaf, subleaf);
        return std::tuple{seen.eax, seen.ebx, seen.ecx};
    };
    // Shift, processors, type << 8 | subleaf.
    using Row = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;
    EXPECT_EQ(row(intel, 0xb, 0), Row(1, 2, 0x100));
    EXPECT_EQ(row(intel, 0xb, 1), Row(7, 72, 0x201));
    EXPECT_EQ(row(intel, 0xb, 2), Row(0, 0, 0x002));
    EXPECT_EQ(row(intel, 0x1f, 0), Row(1, 2, 0x100));
    EXPECT_EQ(row(intel, 0x1f, 1), Row(5, 18, 0x201));
    EXPECT_EQ(row(intel, 0x1f, 2), Row(7, 72, 0x502));
    EXPECT_EQ(row(intel, 0x1f, 3), Row(0, 0, 0x003));
    EXPECT_EQ(row(amd, 0xb, 1), Row(7, 72, 0x201));
    EXPECT_EQ(row(amd, 0x80000026, 0), Row(1, 2, 0x100));
    EXPECT_EQ(row(amd, 0x80000026, 1), Row(5, 18, 0x201));
    EXPECT_EQ(row(amd, 0x80000026, 2), Row(5, 18, 0x302));
    EXPECT_EQ(row(amd, 0x80000026, 3), Row(7, 72, 0x403));
    EXPECT_EQ(row(amd, 0x80000026, 4), Row(0, 0, 0x004));
}

TEST(Levels, HaveNoDieOnIntelWhereThereIsOne) {
    const auto intel = guest_template(host_named("IceLake").table, {.shape = {.sockets = 8, .cores = 36}});
    EXPECT_EQ(execute(intel, 0x1f, 1).ecx, 0x201U);
    EXPECT_EQ(execute(intel, 0x1f, 1).eax, 6U);
    EXPECT_EQ(execute(intel, 0x1f, 2).ecx, 0x2U);
    EXPECT_EQ(find(intel, 0x1f, 3), nullptr);
}

TEST(AmdIds, NameNodesByDie) {
    const Shape shape{.sockets = 2, .dies = 4, .cores = 9, .threads = 2};
    const auto table = guest_template(host_named("Milan").table, {.shape = shape});
    const auto last = execute(for_vcpu(table, shape, 143), 0x8000001e);
    EXPECT_EQ(last.eax, 0xf1U);         // socket 1, die 3, core 8, thread 1
    EXPECT_EQ(last.ebx, 0x100U | 0x38); // two threads; core 8 of die 3
    EXPECT_EQ(last.ecx, 0x300U | 7);    // four nodes; node 3 of socket 1
}

// The emulated machine's table, which lacks the leaf, must not come out with 0 address bits.
TEST(AddressSizes, AreNeverZero) {
    Table bare = host_named("EmulatedEpyc").table;
    std::erase_if(bare, [](const kvm_cpuid_entry2& entry) { return entry.function == 0x80000008; });
    EXPECT_EQ(execute(guest_template(bare, {.shape = {.cores = 2}}), 0x80000008).eax, 0x3024U);
}

} // namespace
} // namespace nestbed::core::cpu::test
