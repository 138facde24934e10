#include "nested/vmx/capability.hpp"

#include <bit>
#include <set>
#include <span>
#include <string>

#include <gtest/gtest.h>

#include "nested/vmx/capability_names.hpp"
#include "nested/vmx/event.hpp"

namespace nestbed::vmx {
namespace {

TEST(Capability, MsrsAreConsecutive) {
    EXPECT_EQ(std::size(capability_msrs), 20U);
    std::uint32_t expected = 0x480;
    std::set<std::string> names;
    for (const auto& known : capability_msrs) {
        EXPECT_EQ(known.index, expected++) << known.name;
        EXPECT_TRUE(names.insert(known.name).second) << known.name;
        EXPECT_STREQ(capability_name(known.index), known.name);
    }
    EXPECT_STREQ(capability_name(0x48c), "IA32_VMX_EPT_VPID_CAP");
    EXPECT_STREQ(capability_name(0x492), "IA32_VMX_PROCBASED_CTLS3");
    EXPECT_EQ(capability_name(0x47f), nullptr);
    EXPECT_EQ(capability_name(0x494), nullptr);
}

TEST(Capability, OfAControlInAPair) {
    // Bit 0 may not be 1, bit 1 must, bit 2 may, bit 3 cannot be either.
    constexpr std::uint64_t value = 0x6'0000'000a;
    EXPECT_EQ(allowed_in_pair(value, 1U << 0), Allowed::zero);
    EXPECT_EQ(allowed_in_pair(value, 1U << 1), Allowed::one);
    EXPECT_EQ(allowed_in_pair(value, 1U << 2), Allowed::either);
    EXPECT_EQ(allowed_in_pair(value, 1U << 3), Allowed::none);
    EXPECT_EQ(allowed_in_pair(0x8000'0000'0000'0000, 1U << 31), Allowed::either);
}

TEST(Capability, OfAControlInAMask) {
    EXPECT_EQ(allowed_in_mask(0x10, 0x10), Allowed::either);
    EXPECT_EQ(allowed_in_mask(0x10, 0x20), Allowed::zero);
    EXPECT_EQ(allowed_in_mask(std::uint64_t{1} << 63, std::uint64_t{1} << 63), Allowed::either);
}

TEST(Capability, OfAControlRegister) {
    constexpr std::uint64_t fixed0 = 0x8000'0021; // PG, NE, PE
    constexpr std::uint64_t fixed1 = 0xffff'ffff;
    EXPECT_EQ(allowed_fixed(fixed0, fixed1, 1U << 0), Allowed::one);
    EXPECT_EQ(allowed_fixed(fixed0, fixed1, 1U << 3), Allowed::either);
    EXPECT_EQ(allowed_fixed(fixed0, fixed1, std::uint64_t{1} << 32), Allowed::zero);
    EXPECT_EQ(allowed_fixed(fixed0, 0, 1U << 0), Allowed::none);
}

TEST(Capability, BasicInformation) {
    const auto basic = decode_basic(0x00da'0400'91e5'7ed0); // bit 31 is always 0
    EXPECT_EQ(basic.revision, 0x11e5'7ed0U);
    EXPECT_EQ(basic.bytes, 1024);
    EXPECT_EQ(basic.memory_type, 6);
    EXPECT_EQ(decode_basic(0x0000'1000'0000'0001).bytes, 4096);
    EXPECT_EQ(basic_bit::true_controls & 0x00da'0400'0000'0000, basic_bit::true_controls);
    EXPECT_EQ(basic_bit::dual_monitor, 0x0002'0000'0000'0000U);
    EXPECT_EQ(basic_bit::any_error_code, 0x0100'0000'0000'0000U);
}

TEST(Capability, MiscellaneousData) {
    const auto misc = decode_misc(0x0000'1234'7e04'c1e5);
    EXPECT_EQ(misc.preemption_timer_shift, 5);
    EXPECT_EQ(misc.cr3_targets, 4);
    EXPECT_EQ(misc.recommended_msrs, 4096U);
    EXPECT_EQ(misc.mseg_revision, 0x1234U);
    EXPECT_EQ(decode_misc(0).recommended_msrs, 512U);
    EXPECT_EQ(decode_misc(0x01ff'0000).cr3_targets, 511);
}

TEST(Capability, OtherNumbers) {
    EXPECT_EQ(highest_vmcs_index(0x2e), 23); // of the preemption timer's value, 482EH
    EXPECT_EQ(highest_vmcs_index(0x3fe), 0x1ff);
    EXPECT_EQ(highest_hlat_prefix(0x0034'0f01'0673'4141), 52);
}

struct Table {
    std::string name;
    std::span<const NamedBit> bits;
    std::size_t total;
    std::uint64_t all;
};

// The numbers are put together from SDM volume 3, appendix A, independently of the code.
const Table tables[]{
    {"basic", basic_names, 5, 0x05c2'0000'0000'0000},
    {"misc", misc_names, 9, 0x7000'c1e0},
    {"ept_vpid", ept_vpid_names, 18, 0x0000'0f01'06f3'41c1},
    {"vmfunc", vm_function_names, 1, 0x1},
};

TEST(Capability, EachBitHasOneNameInAscendingOrder) {
    for (const auto& table : tables) {
        EXPECT_EQ(table.bits.size(), table.total) << table.name;
        std::uint64_t all = 0;
        for (const auto& bit : table.bits) {
            EXPECT_TRUE(std::has_single_bit(bit.mask)) << bit.name;
            EXPECT_GT(bit.mask, all) << bit.name;
            all |= bit.mask;
        }
        EXPECT_EQ(all, table.all) << table.name << std::hex << ' ' << all;
    }
}

TEST(Capability, FeatureControl) {
    EXPECT_EQ(msr::feature_control, 0x3aU);
    EXPECT_EQ(feature_control_bit::lock | feature_control_bit::vmx_outside_smx, 5U);
}

} // namespace
} // namespace nestbed::vmx
