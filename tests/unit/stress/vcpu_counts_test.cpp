#include "stress/sweep/vcpu_counts.hpp"

#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Counts = std::vector<std::uint32_t>;

struct Case {
    std::string_view text;
    std::uint32_t most;
    Counts counts;
};

class Lists : public testing::TestWithParam<Case> {};

TEST_P(Lists, AreReadInTheirOrder) {
    const auto read = parse_vcpu_counts(GetParam().text, GetParam().most);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(*read, GetParam().counts);
}

INSTANTIATE_TEST_SUITE_P(
    Counts, Lists,
    testing::Values(Case{"1", 1024, {1}}, Case{"max", 288, {288}}, Case{"8,1,2", 8, {8, 1, 2}},
                    Case{"1,2,4..max", 16, {1, 2, 4, 8, 16}}, Case{"1..8", 1024, {1, 2, 4, 8}},
                    Case{"1,2,4..max", 288, {1, 2, 4, 8, 16, 32, 64, 128, 256, 288}},
                    Case{"3..20", 1024, {3, 6, 12, 20}}, Case{"8..32:8", 1024, {8, 16, 24, 32}},
                    Case{"254..257:1", 1024, {254, 255, 256, 257}}, Case{"1..10:4", 1024, {1, 5, 9, 10}},
                    Case{"5..5", 1024, {5}}, Case{"4,1..4,max", 4, {4, 1, 2}},
                    Case{"1024..max", 1024, {1024}}));

class NoLists : public testing::TestWithParam<std::string_view> {};

TEST_P(NoLists, AreRefused) {
    const auto read = parse_vcpu_counts(GetParam(), 1024);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(read.error().remedy, HasSubstr("1,2,4..max"));
}

INSTANTIATE_TEST_SUITE_P(Counts, NoLists,
                         testing::Values("", ",", "1,", "0", "0..4", "8..4", "1025", "1..1025", "1...4",
                                         "..4", "4..", "1..8:0", "1..8:", "1..8:x", "-1", "1-4", "two",
                                         "1 ,2", "max..4", "99999999999999999999", "1..8:99999999999"));

TEST(DefaultVcpuCounts, DoubleUpToWhatKvmAllows) {
    EXPECT_THAT(default_vcpu_counts(1), ElementsAre(1));
    EXPECT_THAT(default_vcpu_counts(2), ElementsAre(1, 2));
    EXPECT_THAT(default_vcpu_counts(6), ElementsAre(1, 2, 4, 6));
    EXPECT_THAT(default_vcpu_counts(1024), ElementsAre(1, 2, 4, 8, 16, 32, 64, 128, 256, 288));
}

} // namespace
} // namespace nestbed::stress
