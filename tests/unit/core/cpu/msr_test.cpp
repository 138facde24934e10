#include "core/cpu/msr.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host_tables.hpp"

namespace nestbed::core::cpu::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const NamedMsr mtrr{.name = "IA32_MTRR_DEF_TYPE", .index = 0x2ff, .value = 0x806};
const NamedMsr misc{.name = "IA32_MISC_ENABLE", .index = 0x1a0, .value = 0x1801};

TEST(BootMsrs, FollowTheVendor) {
    EXPECT_THAT(boot_msrs(host_named("IceLake").table), ElementsAre(mtrr, misc));
    EXPECT_THAT(boot_msrs(host_named("Milan").table), ElementsAre(mtrr));
    EXPECT_THAT(boot_msrs(host_named("Zhaoxin").table), ElementsAre(mtrr));
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
