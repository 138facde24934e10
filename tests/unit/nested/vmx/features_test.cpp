#include "nested/vmx/features.hpp"

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nested/vmx/capability_names.hpp"
#include "tests/unit/nested/vmx/capabilities.hpp"

namespace nestbed::vmx {

static void PrintTo(Allowed allowed, std::ostream* out) {
    *out << static_cast<int>(allowed);
}

namespace {

using core::cpu::MsrValue;
using testing::ElementsAre;
using testing::IsEmpty;
using Names = std::vector<std::string>;

Allowed allowed_by_name(const Capabilities& capabilities, std::string_view name) {
    const auto feature = find_feature(name);
    return feature ? allowed(capabilities, *feature->group, *feature->bit) : Allowed::none;
}

TEST(VmxFeatures, HaveNamesThatAreTheirOwn) {
    const auto names = feature_names();
    EXPECT_EQ(names.size(), 137U);
    EXPECT_EQ(std::set<std::string_view>(names.begin(), names.end()).size(), names.size());
    for (const auto name : names) {
        EXPECT_FALSE(name.empty());
        EXPECT_TRUE(std::ranges::all_of(name, [](unsigned char letter) {
            return std::islower(letter) != 0 || std::isdigit(letter) != 0 || letter == '_';
        })) << name;
        const auto feature = find_feature(name);
        ASSERT_TRUE(feature) << name;
        EXPECT_EQ(feature->bit->feature, name);
    }
    EXPECT_FALSE(find_feature("frobnicate"));
    EXPECT_FALSE(find_feature(""));
}

TEST(VmxFeatures, NeedOnlyFeaturesThatThereAre) {
    for (const auto& group : groups()) {
        EXPECT_NE(capability_name(group.msr), nullptr) << group.title;
        EXPECT_TRUE(group.activated_by.empty() || find_feature(group.activated_by)) << group.title;
        for (const auto& bit : group.bits)
            EXPECT_TRUE(bit.needs == nullptr || find_feature(bit.needs)) << bit.feature;
    }
}

TEST(VmxFeatures, AreReadOutOfTheMsrs) {
    const auto& seen = test::example;
    EXPECT_EQ(allowed_by_name(seen, "intr_exiting"), Allowed::either);
    EXPECT_EQ(allowed_by_name(seen, "posted_intr"), Allowed::either);
    EXPECT_EQ(allowed_by_name(seen, "cr3_load_exiting"), Allowed::either) << "by the TRUE MSR";
    EXPECT_EQ(allowed_by_name(seen, "tertiary_controls"), Allowed::zero);
    EXPECT_EQ(allowed_by_name(seen, "ept"), Allowed::either);
    EXPECT_EQ(allowed_by_name(seen, "shadow_vmcs"), Allowed::either);
    EXPECT_EQ(allowed_by_name(seen, "ept_violation_ve"), Allowed::zero);
    EXPECT_EQ(allowed_by_name(seen, "ipi_virt"), Allowed::zero) << "there is no such MSR";
    EXPECT_EQ(allowed_by_name(seen, "ept_ad"), Allowed::one) << "no control";
    EXPECT_EQ(allowed_by_name(seen, "ept_5level"), Allowed::zero);
    EXPECT_EQ(allowed_by_name(seen, "eptp_switching"), Allowed::either);
    EXPECT_EQ(allowed_by_name(seen, "activity_hlt"), Allowed::one);
    EXPECT_EQ(allowed_by_name(seen, "activity_shutdown"), Allowed::zero);
    EXPECT_EQ(allowed_by_name(seen, "true_controls"), Allowed::one);
    EXPECT_EQ(allowed_by_name({}, "ept"), Allowed::zero);
}

TEST(VmxFeatures, OfAProcessorWithoutTrueMsrs) {
    const Capabilities old{{0x481, 0x0000'003f'0000'0016},
                           {0x482, 0xf7f9'fffe'0401'e172},
                           {0x483, 0x0003'ffff'0003'6dff},
                           {0x484, 0x0000'3fff'0000'11ff}};
    EXPECT_EQ(allowed_by_name(old, "intr_exiting"), Allowed::either);
    EXPECT_EQ(allowed_by_name(old, "cr3_load_exiting"), Allowed::one);
    EXPECT_EQ(allowed_by_name(old, "exit_save_debug_controls"), Allowed::one);
    EXPECT_EQ(allowed_by_name(old, "entry_load_debug_controls"), Allowed::one);
    EXPECT_EQ(allowed_by_name(old, "ept"), Allowed::zero);
}

TEST(VmxFeatures, AreHiddenInTheMsrThatKvmTakes) {
    EXPECT_THAT(bits_to_hide(Names{}), IsEmpty());
    EXPECT_THAT(bits_to_hide(Names{"no_such_thing", ""}), IsEmpty());
    EXPECT_THAT(bits_to_hide(Names{"shadow_vmcs"}), ElementsAre(MsrValue{0x48b, std::uint64_t{1} << 46}));
    EXPECT_THAT(bits_to_hide(Names{"mtf"}), ElementsAre(MsrValue{0x48e, std::uint64_t{1} << 59}));
    EXPECT_THAT(bits_to_hide(Names{"exit_load_efer"}), ElementsAre(MsrValue{0x48f, std::uint64_t{1} << 53}));
    EXPECT_THAT(bits_to_hide(Names{"entry_load_efer"}), ElementsAre(MsrValue{0x490, std::uint64_t{1} << 47}));
    EXPECT_THAT(bits_to_hide(Names{"ept_1gb", "ept_ad"}), ElementsAre(MsrValue{0x48c, 0x22'0000}));
    EXPECT_THAT(bits_to_hide(Names{"msr_list"}), ElementsAre(MsrValue{0x492, 0x40}));
    EXPECT_THAT(bits_to_hide(Names{"activity_hlt"}), ElementsAre(MsrValue{0x485, 0x40}));
    EXPECT_THAT(bits_to_hide(Names{"exit_load_fred"}), ElementsAre(MsrValue{0x493, 0x2}));
}

TEST(VmxFeatures, AreHiddenWithAllThatNeedThem) {
    // INVVPID's kinds need INVVPID, which needs VPID.
    EXPECT_THAT(bits_to_hide(Names{"vpid"}),
                ElementsAre(MsrValue{0x48b, std::uint64_t{1} << 37}, MsrValue{0x48c, 0x0f01'0000'0000}));
    // Unrestricted guest, PML, #VE, modes, sub-pages, PT; HLAT and its kin; all of EPT's capabilities.
    EXPECT_THAT(bits_to_hide(Names{"ept"}),
                ElementsAre(MsrValue{0x48b, 0x01c6'0082'0000'0000}, MsrValue{0x492, 0xe},
                            MsrValue{0x48c, 0x06f3'41c1}, MsrValue{0x491, 0x1}));
    // The timer's value cannot be saved where there is no timer.
    EXPECT_THAT(
        bits_to_hide(Names{"preemption_timer"}),
        ElementsAre(MsrValue{0x48d, std::uint64_t{1} << 38}, MsrValue{0x48f, std::uint64_t{1} << 54}));
}

TEST(VmxFeatures, ThatAreActivatedByAControlGoWithIt) {
    const auto hidden = bits_to_hide(Names{"sec_controls"});
    const auto of = [&](std::uint32_t index) { return value_of(hidden, index).value_or(0); };
    EXPECT_EQ(of(0x48e), std::uint64_t{1} << 63);
    EXPECT_EQ(of(0x48b), 0xdfff'ffff'0000'0000U);
    EXPECT_EQ(of(0x48c), 0x0000'0f01'06f3'41c1U);
    EXPECT_EQ(of(0x491), 1U);
    EXPECT_EQ(of(0x48d), std::uint64_t{1} << 39) << "posted interrupts need virtual-interrupt delivery";
    EXPECT_EQ(value_of(bits_to_hide(Names{"tertiary_controls"}), 0x492), 0x1dfU);
    EXPECT_EQ(value_of(bits_to_hide(Names{"exit_sec_controls"}), 0x493), 0xfU);
}

TEST(VmxFeatures, ThatAreNotOfferedAreNamed) {
    const Capabilities none;
    EXPECT_THAT(not_offered(none, Names{}), IsEmpty());
    EXPECT_THAT(not_offered(none, Names{"ept", "no_such_thing"}), ElementsAre("ept", "no_such_thing"));
    // EPT and VPID may be 1, unrestricted guest may not; of EPT's capabilities there are 1 GiB pages.
    const Capabilities some{{0x48b, std::uint64_t{0x22} << 32}, {0x48c, 1U << 17}};
    EXPECT_THAT(not_offered(some, Names{"ept", "unrestricted_guest", "ept_1gb", "ept_2mb", "vpid"}),
                ElementsAre("unrestricted_guest", "ept_2mb"));
}

} // namespace
} // namespace nestbed::vmx
