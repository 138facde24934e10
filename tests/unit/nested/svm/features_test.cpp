#include "nested/svm/features.hpp"

#include <cstdint>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::svm {
namespace {

using testing::MatchesRegex;

TEST(Features, HaveNamesAndBitsOfTheirOwn) {
    std::set<std::string_view> names;
    std::set<unsigned> bits;
    for (const auto& feature : features()) {
        EXPECT_THAT(std::string{feature.name}, MatchesRegex("[a-z][a-z0-9_]*"));
        EXPECT_FALSE(feature.title.empty()) << feature.name;
        EXPECT_LT(feature.bit, 32U) << feature.name;
        EXPECT_TRUE(names.insert(feature.name).second) << feature.name << " twice";
        EXPECT_TRUE(bits.insert(feature.bit).second) << feature.name << " shares bit " << feature.bit;
        EXPECT_EQ(find_feature(feature.name), &feature);
    }
    EXPECT_FALSE(names.contains("svm")) << "that one is of another leaf";
}

// Those that tests and profiles use most, as the manual numbers them (APM volume 3, appendix E.4.9).
TEST(Features, AreTheManuals) {
    struct Case {
        std::string_view name;
        unsigned bit;
    };
    const std::vector<Case> cases{{"npt", 0},
                                  {"lbrv", 1},
                                  {"nrip_save", 3},
                                  {"tsc_scale", 4},
                                  {"vmcb_clean", 5},
                                  {"flushbyasid", 6},
                                  {"decodeassists", 7},
                                  {"pausefilter", 10},
                                  {"pfthreshold", 12},
                                  {"avic", 13},
                                  {"v_vmsave_vmload", 15},
                                  {"vgif", 16},
                                  {"x2avic", 18},
                                  {"v_spec_ctrl", 20},
                                  {"vnmi", 25},
                                  {"ibs_virt", 26},
                                  {"idle_hlt", 30},
                                  {"gmet", 17},
                                  {"bus_lock_threshold", 29}};
    for (const auto& [name, bit] : cases) {
        const auto* const feature = find_feature(name);
        ASSERT_NE(feature, nullptr) << name;
        EXPECT_EQ(feature->bit, bit) << name;
    }
}

TEST(Features, AreFoundByTheirWholeNameOnly) {
    for (const auto* const name : {"", "np", "nptx", "NPT", "nrips", " npt"})
        EXPECT_EQ(find_feature(name), nullptr) << name;
}

// Each register empty: the table has no such leaf.
struct ShownCase {
    std::string name;
    std::optional<std::uint32_t> extended_ecx; // leaf 0x80000001
    std::optional<std::uint32_t> svm_edx;      // leaf 0x8000000A
    std::vector<std::string_view> shown;
};

void PrintTo(const ShownCase& one, std::ostream* out) {
    *out << one.name;
}

constexpr std::uint32_t svm_bit = 1U << 2;

class ShownFeatures : public testing::TestWithParam<ShownCase> {};

TEST_P(ShownFeatures, AreThoseOfTheTable) {
    core::cpu::Table table;
    if (GetParam().extended_ecx) {
        auto& entry = table.emplace_back();
        entry.function = 0x8000'0001;
        entry.ecx = *GetParam().extended_ecx;
    }
    if (GetParam().svm_edx) {
        auto& entry = table.emplace_back();
        entry.function = 0x8000'000a;
        entry.edx = *GetParam().svm_edx;
    }
    EXPECT_EQ(shown_features(table), GetParam().shown);
}

INSTANTIATE_TEST_SUITE_P(
    Tables, ShownFeatures,
    testing::Values(
        ShownCase{"Empty", {}, {}, {}}, ShownCase{"NoSvmBit", ~svm_bit, ~0U, {}},
        ShownCase{"NoExtendedLeaf", {}, ~0U, {}}, ShownCase{"NoSvmLeaf", svm_bit, {}, {"svm"}},
        ShownCase{"Bare", svm_bit, 0, {"svm"}},
        ShownCase{"OneFeature", svm_bit, 1U << 3, {"svm", "nrip_save"}},
        ShownCase{"InTheOrderOfTheBits",
                  svm_bit,
                  1U << 30 | 1U << 16 | 1U << 0,
                  {"svm", "npt", "vgif", "idle_hlt"}},
        // Bits 9, 11, 14, 22 and 31 have no name.
        ShownCase{"ReservedBits", svm_bit, 1U << 9 | 1U << 11 | 1U << 14 | 1U << 22 | 1U << 31, {"svm"}}),
    [](const auto& one) { return one.param.name; });

} // namespace
} // namespace nestbed::svm
