#include "nested/offer.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/cpu/leaves.hpp"

namespace nestbed::nested {

namespace {

namespace leaf = core::cpu::leaf;
namespace feature = core::cpu::feature;

// SDM volume 3, appendix A.1. Without it L1 cannot tell the shape of a VMCS.
constexpr std::uint32_t ia32_vmx_basic = 0x480;

bool has_ecx_bit(const core::cpu::Table& table, std::uint32_t leaf, unsigned bit) {
    const auto* const entry = core::cpu::find(table, leaf);
    return entry != nullptr && ((entry->ecx >> bit) & 1) != 0;
}

Extension extension_of(std::string_view module) {
    if (module == "kvm_intel")
        return Extension::vmx;
    if (module == "kvm_amd")
        return Extension::svm;
    return Extension::none;
}

// A bool reads "Y" or "N", an int its number; which of them it is differs between modules and kernels.
bool is_on(std::string_view parameter) {
    return parameter != "N" && parameter != "n" && parameter != "0";
}

Offer refuse(std::string reason, std::string remedy = {}) {
    return {.extension = Extension::none, .reason = std::move(reason), .remedy = std::move(remedy)};
}

} // namespace

std::string_view to_string(Extension extension) {
    switch (extension) {
    case Extension::vmx:
        return "VMX";
    case Extension::svm:
        return "SVM";
    case Extension::none:
        break;
    }
    return "none";
}

Offer offer_of(const OfferFacts& facts) {
    if (facts.supported_cpuid.empty())
        return refuse("there is no KVM to ask");
    // SDM volume 2, CPUID leaf 1; APM volume 3, CPUID Fn8000_0001.
    if (has_ecx_bit(facts.supported_cpuid, leaf::features, feature::vmx)) {
        if (std::ranges::find(facts.feature_msrs, ia32_vmx_basic) == facts.feature_msrs.end())
            return refuse("KVM shows VMX in CPUID, but tells no VMX capability MSRs (Linux 4.17 does)");
        return {.extension = Extension::vmx, .reason = "CPUID leaf 1 has VMX", .remedy = {}};
    }
    if (has_ecx_bit(facts.supported_cpuid, leaf::extended_features, feature::svm))
        return {.extension = Extension::svm, .reason = "CPUID leaf 0x80000001 has SVM", .remedy = {}};

    if (facts.module.empty())
        return refuse("KVM offers neither VMX nor SVM, and its vendor module is not known");
    const auto extension = extension_of(facts.module);
    if (extension == Extension::none)
        return refuse(fmt::format("{} has no nesting", facts.module));
    if (facts.nested_parameter && !is_on(*facts.nested_parameter))
        return refuse(fmt::format("{}.nested is {}", facts.module, *facts.nested_parameter),
                      fmt::format("sudo modprobe -r {0} && sudo modprobe {0} nested=1", facts.module));
    return refuse(
        fmt::format("{} offers no {}: the CPU has none that it can use", facts.module, to_string(extension)));
}

} // namespace nestbed::nested
