#include "core/cpu/msr.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host_tables.hpp"

namespace nestbed::core::cpu::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const NamedMsr mtrr{.name = "IA32_MTRR_DEF_TYPE", .index = 0x2ff, .value = 0x806};
const NamedMsr misc{.name = "IA32_MISC_ENABLE", .index = 0x1a0, .value = 0x1801};

const NamedMsr feature_control{.name = "IA32_FEATURE_CONTROL", .index = 0x3a, .value = 0x5};

TEST(BootMsrs, FollowTheVendor) {
    EXPECT_THAT(boot_msrs(host_named("IceLake").table), ElementsAre(mtrr, misc, feature_control));
    EXPECT_THAT(boot_msrs(host_named("Milan").table), ElementsAre(mtrr));
    EXPECT_THAT(boot_msrs(host_named("Zhaoxin").table), ElementsAre(mtrr, feature_control));
}

TEST(BootMsrs, EnableVmxOnlyWhereItIsShown) {
    auto table = host_named("IceLake").table;
    table[1].ecx &= ~(1U << 5);
    EXPECT_THAT(boot_msrs(table), ElementsAre(mtrr, misc));
}

TEST(WithoutBits, LeavesOnlyMsrsThatChange) {
    const std::vector<MsrValue> offered{{0x48b, 0xff}, {0x48c, 0xf0}, {0x491, 0x1}};
    EXPECT_THAT(
        without_bits(offered, {{0x48c, 0x30}, {0x48b, 0x81}, {0x48b, 0x02}, {0x491, 0x2}, {0x492, 0x1}}),
        ElementsAre(MsrValue{0x48b, 0x7c}, MsrValue{0x48c, 0xc0}));
    EXPECT_THAT(without_bits(offered, {}), IsEmpty());
    EXPECT_THAT(without_bits({}, {{0x48b, 1}}), IsEmpty());
}

TEST(BootMsrs, AreNotSetWhereCpuidDoesNotPromiseThem) {
    auto table = host_named("Milan").table;
    table[1].edx &= ~(1U << 12);
    EXPECT_THAT(boot_msrs(table), IsEmpty());
    EXPECT_THAT(boot_msrs(Table{}), IsEmpty());
}

TEST(BootMsrs, TakeKvmsForm) {
    const auto entry = to_entry(mtrr);
    EXPECT_EQ(entry.index, 0x2ffU);
    EXPECT_EQ(entry.data, 0x806U);
    EXPECT_EQ(entry.reserved, 0U);
}

} // namespace
} // namespace nestbed::core::cpu::test
