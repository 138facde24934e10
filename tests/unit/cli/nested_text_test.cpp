#include "cli/nested_text.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/nested/vmx/capabilities.hpp"

namespace nestbed::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

report::NestedSeen vmx_host() {
    return {.offer = {.extension = nested::Extension::vmx, .reason = "it has VMX", .remedy = {}},
            .supported_cpuid = {},
            .vmx = vmx::test::example};
}

TEST(NestedText, TellsVmxControlByControl) {
    EXPECT_THAT(
        nested_text(vmx_host()),
        AllOf(
            StartsWith("nested virtualization: VMX (it has VMX)\n"
                       "VMCS revision 0x11e57ed0, 1024 bytes, memory type 6\n"
                       "Highest index of a VMCS field: 23\n"
                       "VMX-preemption timer counts every 32 TSC cycles; 4 CR3 targets; 512 MSRs a list\n"
                       "CR0 in VMX operation: 0x80000021 must be 1, 0xffffffff may be\n"
                       "CR4 in VMX operation: 0x2000 must be 1, 0x377fff may be\n"),
            HasSubstr("Pin-based VM-execution controls (IA32_VMX_TRUE_PINBASED_CTLS):\n"
                      "  yes    intr_exiting                  External-interrupt exiting (bit 0)\n"),
            HasSubstr("\n  yes    ept                           Enable EPT (bit 1)\n"),
            HasSubstr("\n  no     ept_violation_ve              EPT-violation #VE (bit 18)\n"),
            HasSubstr("\n  yes    ept_ad                        Accessed and dirty flags for EPT (bit 21)\n"),
            HasSubstr("\nTertiary processor-based VM-execution controls (IA32_VMX_PROCBASED_CTLS3):\n"
                      "  no     loadiwkey_exiting "),
            Not(HasSubstr("without a name"))));
}

TEST(NestedText, TellsControlsThatMustBe1AndThoseWithoutAName) {
    auto seen = vmx_host();
    for (auto& msr : seen.vmx) {
        if (msr.index == 0x48e)
            msr.value |= 1U << 15;
        if (msr.index == 0x48b)
            msr.value |= std::uint64_t{1} << (32 + 29);
    }
    seen.vmx.push_back({0x492, std::uint64_t{1} << 40});
    EXPECT_THAT(nested_text(seen),
                AllOf(HasSubstr("\n  always cr3_load_exiting              CR3-load exiting (bit 15)\n"),
                      HasSubstr("\n  yes    without a name here: bit 29\n"),
                      HasSubstr("\n  yes    without a name here: bit 40\n")));
}

TEST(NestedText, TellsSvmFeatureByFeature) {
    kvm_cpuid_entry2 extended{};
    extended.function = 0x8000'0001;
    extended.ecx = 1U << 2;
    kvm_cpuid_entry2 svm{};
    svm.function = 0x8000'000a;
    svm.eax = 1;
    svm.ebx = 16;
    svm.edx = 1;
    EXPECT_THAT(
        nested_text({.offer = {.extension = nested::Extension::svm, .reason = "it has SVM", .remedy = {}},
                     .supported_cpuid = {extended, svm},
                     .vmx = {}}),
        AllOf(HasSubstr("SVM revision 1, 16 ASIDs"),
              HasSubstr("\n  yes npt                 Nested paging (bit 0)\n"),
              HasSubstr("\n  no  lbrv                LBR virtualization (bit 1)\n")));
}

TEST(NestedText, TellsWhyThereIsNothingAndWhatHelps) {
    EXPECT_EQ(
        nested_text(
            {.offer = {.extension = nested::Extension::none, .reason = "it is off", .remedy = "turn it on"},
             .supported_cpuid = {},
             .vmx = {}}),
        "nested virtualization: none (it is off)\n  turn it on\n");
}

} // namespace
} // namespace nestbed::cli
