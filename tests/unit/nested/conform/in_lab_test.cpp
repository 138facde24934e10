#include "nested/conform/in_lab.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::conform {
namespace {

TEST(MachinesFor, Table) {
    struct Row {
        std::size_t cases;
        std::uint32_t jobs;
        std::size_t processors;
        std::uint64_t memory;
        std::size_t machines;
    };
    for (const auto& row :
         {Row{2761, 0, 2, 64 * GiB, 2}, Row{2761, 0, 64, 8 * GiB, 8}, Row{2761, 0, 2, 0, 1},
          Row{2761, 0, 0, GiB, 1}, Row{1, 0, 64, 64 * GiB, 1}, Row{120, 0, 64, 64 * GiB, 2},
          Row{2761, 5, 2, GiB, 5}, Row{3, 5, 2, GiB, 3}, Row{0, 0, 2, GiB, 1}, Row{0, 7, 2, GiB, 1}})
        EXPECT_EQ(machines_for(row.cases, row.jobs, row.processors, row.memory), row.machines)
            << row.cases << ' ' << row.jobs << ' ' << row.processors << ' ' << row.memory;
}

Case named(const std::string& name, std::vector<std::string> needs = {}) {
    Case test;
    test.name = name;
    test.needs = std::move(needs);
    return test;
}

std::vector<std::string> names(const Share& share) {
    std::vector<std::string> all;
    for (const auto* const test : share.tests)
        all.push_back(test->name);
    return all;
}

TEST(SharesOf, DealsOutAndKeepsApartWhatNeedsMore) {
    const std::vector<Case> cases{named("a"), named("v", {"npt", "vgif"}), named("b", {"npt"}), named("c")};
    const auto shares = shares_of(cases, 2);
    ASSERT_EQ(shares.size(), 3U);
    EXPECT_THAT(names(shares[0]), testing::ElementsAre("a", "c"));
    EXPECT_THAT(names(shares[1]), testing::ElementsAre("b"));
    EXPECT_THAT(names(shares[2]), testing::ElementsAre("v"));
    EXPECT_EQ(shares[0].more_flags, "");
    EXPECT_EQ(shares[2].more_flags, "+vgif");
}

TEST(SharesOf, VmxGetsIntelSilicon) {
    const std::vector<Case> cases{named("svm.a"), named("vmx.b"), named("svm.c"), named("vmx.d", {"vgif"})};
    const auto shares = shares_of(cases, 2);
    ASSERT_EQ(shares.size(), 3U);
    EXPECT_EQ(shares[0].silicon, lab::Silicon::intel);
    EXPECT_THAT(names(shares[0]), testing::ElementsAre("vmx.b", "vmx.d"));
    EXPECT_EQ(shares[0].more_flags, "");
    EXPECT_EQ(shares[1].silicon, lab::Silicon::amd);
    EXPECT_THAT(names(shares[1]), testing::ElementsAre("svm.a"));
    EXPECT_THAT(names(shares[2]), testing::ElementsAre("svm.c"));
}

TEST(SharesOf, AnIntelMachineIsForManyTests) {
    std::vector<Case> cases;
    for (int i = 0; i < 450; ++i)
        cases.push_back(named("vmx.test"));
    EXPECT_EQ(shares_of(cases, 1).size(), 1U);
    EXPECT_EQ(shares_of(cases, 2).size(), 2U);
    EXPECT_EQ(shares_of(cases, 64).size(), 3U);
}

TEST(SharesOf, NoneIsEmpty) {
    EXPECT_TRUE(shares_of({}, 3).empty());
    const std::vector<Case> one{named("v", {"vgif"})};
    ASSERT_EQ(shares_of(one, 3).size(), 1U);
    const std::vector<Case> plain{named("a")};
    ASSERT_EQ(shares_of(plain, 3).size(), 1U);
}

} // namespace
} // namespace nestbed::conform
