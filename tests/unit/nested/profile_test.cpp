#include "nested/profile.hpp"

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nested/svm/features.hpp"

namespace nestbed::nested {
namespace {

using testing::HasSubstr;

constexpr std::uint32_t npt = 1U << 0;   // APM volume 3, appendix E.4.9
constexpr std::uint32_t vgif = 1U << 16; // the same

const Offer no_offer{.extension = Extension::none, .reason = "kvm_amd.nested is 0", .remedy = "modprobe it"};
const Offer no_offer_at_all{.extension = Extension::none, .reason = "kvm_pvm has no nesting", .remedy = {}};
const Offer svm_offer{.extension = Extension::svm, .reason = "it has SVM", .remedy = {}};
const Offer vmx_offer{.extension = Extension::vmx, .reason = "it has VMX", .remedy = {}};

struct ProfileCase {
    std::string text;
    Showing showing = Showing::automatic;
    Extension extension = Extension::none;
    std::vector<std::string> without;
};

void PrintTo(const ProfileCase& one, std::ostream* out) {
    *out << one.text;
}

class ParsedProfile : public testing::TestWithParam<ProfileCase> {};

TEST_P(ParsedProfile, IsWhatWasAskedForAndReadsBack) {
    const auto profile = parse_profile(GetParam().text);
    ASSERT_TRUE(profile) << profile.error().message();
    EXPECT_EQ(profile->showing, GetParam().showing);
    EXPECT_EQ(profile->extension, GetParam().extension);
    EXPECT_EQ(profile->without, GetParam().without);
    EXPECT_EQ(to_string(*profile), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(All, ParsedProfile,
                         testing::Values(ProfileCase{"off", Showing::off, Extension::none, {}},
                                         ProfileCase{"auto", Showing::automatic, Extension::none, {}},
                                         ProfileCase{"require", Showing::require, Extension::none, {}},
                                         ProfileCase{"svm", Showing::require, Extension::svm, {}},
                                         ProfileCase{"vmx", Showing::require, Extension::vmx, {}},
                                         ProfileCase{"vmx:-ept,-vpid,-shadow_vmcs",
                                                     Showing::require,
                                                     Extension::vmx,
                                                     {"ept", "vpid", "shadow_vmcs"}},
                                         ProfileCase{"svm:-npt", Showing::require, Extension::svm, {"npt"}},
                                         ProfileCase{"svm:-npt,-vgif,-idle_hlt",
                                                     Showing::require,
                                                     Extension::svm,
                                                     {"npt", "vgif", "idle_hlt"}}));

TEST(Profile, HidesNothingUnlessToldTo) {
    EXPECT_EQ(to_string(Profile{}), "auto");
}

struct RefusedProfile {
    std::string text;
    std::string found;
    std::string remedy; // a part of it
};

void PrintTo(const RefusedProfile& one, std::ostream* out) {
    *out << one.text;
}

class RefusedProfiles : public testing::TestWithParam<RefusedProfile> {};

TEST_P(RefusedProfiles, AreBadInputWithAWayOut) {
    const auto profile = parse_profile(GetParam().text);
    ASSERT_FALSE(profile);
    EXPECT_EQ(profile.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(profile.error().asked, "--nested " + GetParam().text);
    EXPECT_EQ(profile.error().found, GetParam().found);
    EXPECT_THAT(profile.error().remedy, HasSubstr(GetParam().remedy));
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedProfiles,
    testing::Values(RefusedProfile{"", "there is no such profile", "require"},
                    RefusedProfile{"on", "there is no such profile", "svm:-FEATURE"},
                    RefusedProfile{"OFF", "there is no such profile", "off"},
                    RefusedProfile{"svm-npt", "there is no such profile", "svm"},
                    RefusedProfile{"vmx,-ept", "there is no such profile", "vmx"},
                    RefusedProfile{"tdx:-ept", "there is no such profile", "vmx"},
                    RefusedProfile{"off:-npt", "there is no such profile", "off"},
                    RefusedProfile{"svm:", "\"\" is no feature to hide", "svm:-npt"},
                    RefusedProfile{"vmx:", "\"\" is no feature to hide", "vmx:-dual_monitor"},
                    RefusedProfile{"svm:npt", "\"npt\" is no feature to hide", "minus"},
                    RefusedProfile{"svm:-", "SVM has no feature \"\"", "did you mean"},
                    RefusedProfile{"svm:-frobnicate", "SVM has no feature \"frobnicate\"", "check --nested"},
                    RefusedProfile{"svm:-nppt", "SVM has no feature \"nppt\"", "did you mean npt?"},
                    RefusedProfile{"svm:-ept", "SVM has no feature \"ept\"", "did you mean npt?"},
                    RefusedProfile{"vmx:-npt", "VMX has no feature \"npt\"", "did you mean ept?"},
                    RefusedProfile{"vmx:-shadowvmcs", "VMX has no feature \"shadowvmcs\"",
                                   "did you mean shadow_vmcs?"},
                    RefusedProfile{"vmx:-ept,-EPT", "VMX has no feature \"EPT\"", "did you mean"},
                    RefusedProfile{"svm:-npt,vgif", "\"vgif\" is no feature to hide", "minus"},
                    RefusedProfile{"svm:-npt,,-vgif", "\"\" is no feature to hide", "minus"},
                    RefusedProfile{"svm:-npt,", "\"\" is no feature to hide", "minus"},
                    RefusedProfile{"svm: -npt", "\" -npt\" is no feature to hide", "minus"},
                    // Bit 2 of another register, and no feature of it.
                    RefusedProfile{"svm:-svm", "SVM has no feature \"svm\"", "did you mean"}));

struct ResolveCase {
    std::string profile;
    Offer offer;
    bool nested = true;
    std::uint32_t hidden_svm = 0;
    std::vector<core::cpu::MsrValue> hidden_vmx = {};
};

void PrintTo(const ResolveCase& one, std::ostream* out) {
    *out << one.profile << " where KVM offers " << to_string(one.offer.extension);
}

class ResolvedProfile : public testing::TestWithParam<ResolveCase> {};

TEST_P(ResolvedProfile, ShowsWhatItSays) {
    const auto shown = parse_profile(GetParam().profile).and_then([&](const Profile& profile) {
        return resolve(profile, GetParam().offer);
    });
    ASSERT_TRUE(shown) << shown.error().message();
    EXPECT_EQ(shown->nested, GetParam().nested);
    EXPECT_EQ(shown->hidden.svm, GetParam().hidden_svm);
    EXPECT_EQ(shown->hidden.vmx, GetParam().hidden_vmx);
}

INSTANTIATE_TEST_SUITE_P(
    All, ResolvedProfile,
    testing::Values(ResolveCase{"off", no_offer, false, 0}, ResolveCase{"off", svm_offer, false, 0},
                    ResolveCase{"auto", no_offer, true, 0}, ResolveCase{"auto", vmx_offer, true, 0},
                    ResolveCase{"require", vmx_offer, true, 0}, ResolveCase{"require", svm_offer, true, 0},
                    ResolveCase{"svm", svm_offer, true, 0}, ResolveCase{"svm:-npt", svm_offer, true, npt},
                    ResolveCase{"svm:-vgif,-npt,-vgif", svm_offer, true, npt | vgif},
                    ResolveCase{"vmx", vmx_offer, true, 0},
                    ResolveCase{"vmx:-mtf,-shadow_vmcs",
                                vmx_offer,
                                true,
                                0,
                                {{0x48e, std::uint64_t{1} << 59}, {0x48b, std::uint64_t{1} << 46}}}));

TEST(ResolvedProfile, HidesEachFeatureByItsOwnBit) {
    for (const auto& feature : svm::features()) {
        const auto shown = resolve({.showing = Showing::require,
                                    .extension = Extension::svm,
                                    .without = {std::string{feature.name}}},
                                   svm_offer);
        ASSERT_TRUE(shown) << feature.name;
        EXPECT_EQ(shown->hidden.svm, 1U << feature.bit) << feature.name;
        EXPECT_TRUE(shown->hidden.vmx.empty());
    }
}

struct LackCase {
    std::string profile;
    Offer offer;
    std::string found;
    std::string remedy; // a part of it
};

void PrintTo(const LackCase& one, std::ostream* out) {
    *out << one.profile << ": " << one.found;
}

class LackingProfile : public testing::TestWithParam<LackCase> {};

TEST_P(LackingProfile, IsTheHostsLackWithARemedy) {
    const auto shown = parse_profile(GetParam().profile).and_then([&](const Profile& profile) {
        return resolve(profile, GetParam().offer);
    });
    ASSERT_FALSE(shown);
    EXPECT_EQ(shown.error().kind, ErrorKind::host_lacks);
    EXPECT_EQ(shown.error().asked, "show the guest --nested " + GetParam().profile);
    EXPECT_EQ(shown.error().found, GetParam().found);
    EXPECT_THAT(shown.error().remedy, HasSubstr(GetParam().remedy));
}

INSTANTIATE_TEST_SUITE_P(
    All, LackingProfile,
    testing::Values(LackCase{"require", no_offer, no_offer.reason, "modprobe it"},
                    LackCase{"require", no_offer_at_all, no_offer_at_all.reason, "nestbed lab"},
                    LackCase{"svm", no_offer, no_offer.reason, "modprobe it"},
                    LackCase{"svm:-npt", vmx_offer, "this host's KVM offers VMX", "nestbed lab"},
                    LackCase{"vmx:-ept", svm_offer, "this host's KVM offers SVM", "nestbed lab"}));

} // namespace
} // namespace nestbed::nested
