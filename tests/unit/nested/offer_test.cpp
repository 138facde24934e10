#include "nested/offer.hpp"

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::nested {
namespace {

constexpr std::uint32_t vmx_bit = 1U << 5;        // leaf 1 ECX
constexpr std::uint32_t svm_bit = 1U << 2;        // leaf 0x80000001 ECX
constexpr std::uint32_t capability_msr = 0x480;   // IA32_VMX_BASIC
constexpr std::uint32_t unrelated_msr = 0x10a;    // IA32_ARCH_CAPABILITIES
constexpr std::uint32_t all_others = 0xffff'ffff; // the bits beside the one that counts

core::cpu::Table cpuid(std::uint32_t leaf_1_ecx, std::uint32_t extended_ecx) {
    kvm_cpuid_entry2 features{};
    features.function = 1;
    features.ecx = leaf_1_ecx;
    kvm_cpuid_entry2 extended{};
    extended.function = 0x8000'0001;
    extended.ecx = extended_ecx;
    return {features, extended};
}

const core::cpu::Table neither = cpuid(all_others & ~vmx_bit, all_others & ~svm_bit);

struct OfferCase {
    std::string name;
    OfferFacts facts;
    Extension extension = Extension::none;
    std::string reason; // a part of it
    std::string remedy; // all of it
};

void PrintTo(const OfferCase& one, std::ostream* out) {
    *out << one.name;
}

const std::vector<OfferCase> cases{
    {"no_kvm", {}, Extension::none, "no KVM", ""},
    {"vmx",
     {cpuid(vmx_bit, 0), {unrelated_msr, capability_msr}, "kvm_intel", "Y"},
     Extension::vmx,
     "leaf 1",
     ""},
    {"vmx_without_capability_msrs",
     {cpuid(vmx_bit, 0), {unrelated_msr}, "kvm_intel", "Y"},
     Extension::none,
     "capability MSRs",
     ""},
    {"svm", {cpuid(0, svm_bit), {}, "kvm_amd", "1"}, Extension::svm, "0x80000001", ""},
    {"svm_of_an_unknown_module", {cpuid(0, svm_bit), {}, "", std::nullopt}, Extension::svm, "0x80000001", ""},
    {"amd_off",
     {neither, {}, "kvm_amd", "0"},
     Extension::none,
     "kvm_amd.nested is 0",
     "sudo modprobe -r kvm_amd && sudo modprobe kvm_amd nested=1"},
    {"intel_off",
     {neither, {capability_msr}, "kvm_intel", "N"},
     Extension::none,
     "kvm_intel.nested is N",
     "sudo modprobe -r kvm_intel && sudo modprobe kvm_intel nested=1"},
    {"amd_on_without_svm", {neither, {}, "kvm_amd", "1"}, Extension::none, "kvm_amd offers no SVM", ""},
    {"intel_on_without_vmx", {neither, {}, "kvm_intel", "Y"}, Extension::none, "kvm_intel offers no VMX", ""},
    {"parameter_unreadable", {neither, {}, "kvm_amd", std::nullopt}, Extension::none, "offers no SVM", ""},
    {"other_vendor_module",
     {neither, {}, "kvm_pvm", std::nullopt},
     Extension::none,
     "kvm_pvm has no nesting",
     ""},
    {"unknown_module", {neither, {}, "", std::nullopt}, Extension::none, "module is not known", ""},
};

class OfferTest : public testing::TestWithParam<OfferCase> {};

TEST_P(OfferTest, Decides) {
    const auto offer = offer_of(GetParam().facts);
    EXPECT_EQ(offer.extension, GetParam().extension) << offer.reason;
    EXPECT_THAT(offer.reason, testing::HasSubstr(GetParam().reason));
    EXPECT_EQ(offer.remedy, GetParam().remedy);
}

INSTANTIATE_TEST_SUITE_P(Hosts, OfferTest, testing::ValuesIn(cases),
                         [](const auto& one) { return one.param.name; });

} // namespace
} // namespace nestbed::nested
