#include "core/kvm/abi.hpp"

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::kvm::abi {
namespace {

struct RequestCase {
    std::string name;
    unsigned long request;
    unsigned long number; // what a C program that includes <linux/kvm.h> passes
};

class Request : public testing::TestWithParam<RequestCase> {};

TEST_P(Request, HasTheKernelsNumber) {
    EXPECT_EQ(GetParam().request, GetParam().number);
}

INSTANTIATE_TEST_SUITE_P(All, Request,
                         testing::Values(RequestCase{"GetSupportedCpuid", get_supported_cpuid, 0xc008'ae05},
                                         RequestCase{"GetMsrFeatureIndexList", get_msr_feature_index_list,
                                                     0xc004'ae0a},
                                         RequestCase{"GetMsrIndexList", get_msr_index_list, 0xc004'ae02},
                                         RequestCase{"GetNestedState", get_nested_state, 0xc080'aebe},
                                         RequestCase{"SetNestedState", set_nested_state, 0x4080'aebf},
                                         RequestCase{"GetXsave", get_xsave, 0x9000'aea4},
                                         RequestCase{"SetXsave", set_xsave, 0x5000'aea5},
                                         RequestCase{"GetXsave2", get_xsave2, 0x9000'aecf},
                                         RequestCase{"GetMsrs", get_msrs, 0xc008'ae88},
                                         RequestCase{"SetMsrs", set_msrs, 0x4008'ae89},
                                         RequestCase{"SetCpuid2", set_cpuid2, 0x4008'ae90},
                                         RequestCase{"GetCpuid2", get_cpuid2, 0xc008'ae91}),
                         [](const auto& test_case) { return test_case.param.name; });

TEST(Entries, FollowTheirHeaderWithoutAGap) {
    const std::array<kvm_msr_entry, 2> entries{
        kvm_msr_entry{.index = 0x10, .reserved = 0, .data = 0x1122'3344},
        kvm_msr_entry{.index = 0x1b, .reserved = 0, .data = ~0ULL}};
    Msrs msrs{entries};
    const std::array<std::uint32_t, 10> words{2, 0, 0x10, 0, 0x1122'3344, 0, 0x1b, 0, ~0U, ~0U};
    EXPECT_EQ(std::memcmp(msrs.data(), words.data(), sizeof words), 0);

    const auto read = msrs.entries();
    ASSERT_EQ(read.size(), 2U);
    EXPECT_EQ(read[1].index, 0x1bU);
    EXPECT_EQ(read[1].data, ~0ULL);
}

TEST(Entries, MsrNumbersBeginAfterFourBytes) {
    const std::array<std::uint32_t, 3> numbers{1, 2, 3};
    MsrList list{numbers};
    const std::array<std::uint32_t, 4> words{3, 1, 2, 3};
    EXPECT_EQ(std::memcmp(list.data(), words.data(), sizeof words), 0);
}

TEST(Entries, TheKernelMayReturnFewer) {
    MsrList list{8};
    const std::array<std::uint32_t, 3> answer{2, 0x480, 0x481};
    std::memcpy(list.data(), answer.data(), sizeof answer);
    EXPECT_THAT(list.entries(), testing::ElementsAre(0x480, 0x481));
}

TEST(Entries, NeverMoreThanThereWasRoomFor) {
    MsrList list{2};
    const std::uint32_t count = 1'000'000;
    std::memcpy(list.data(), &count, sizeof count);
    EXPECT_EQ(list.entries().size(), 2U);
}

TEST(Entries, None) {
    EXPECT_TRUE(CpuidTable{std::size_t{0}}.entries().empty());
    EXPECT_TRUE(CpuidTable{std::span<const kvm_cpuid_entry2>{}}.entries().empty());
}

} // namespace
} // namespace nestbed::kvm::abi
