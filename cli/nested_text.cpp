#include "cli/nested_text.hpp"

#include <algorithm>
#include <bit>
#include <iterator>

#include <fmt/format.h>

#include "nested/svm/features.hpp"
#include "nested/vmx/capability.hpp"
#include "nested/vmx/capability_names.hpp"
#include "nested/vmx/features.hpp"
#include "nested/vmx/vmcs_text.hpp"

namespace nestbed::cli {

namespace {

bool has(const std::vector<std::string_view>& shown, std::string_view name) {
    return std::ranges::find(shown, name) != shown.end();
}

std::string svm_text(const core::cpu::Table& supported) {
    const auto shown = svm::shown_features(supported);
    if (shown.empty())
        return {};
    const auto numbers = svm::shown_numbers(supported);
    auto text =
        fmt::format("SVM revision {}, {} ASIDs; CPUID Fn8000_000A EDX:\n", numbers.revision, numbers.asids);
    for (const auto& feature : svm::features())
        text += fmt::format("  {:<3} {:<19} {} (bit {})\n", has(shown, feature.name) ? "yes" : "no",
                            feature.name, feature.title, feature.bit);
    return text;
}

std::string vmx_numbers(const vmx::Capabilities& seen) {
    std::string text;
    const auto out = std::back_inserter(text);
    if (const auto value = vmx::value_of(seen, vmx::msr::basic)) {
        const auto basic = vmx::decode_basic(*value);
        fmt::format_to(out, "VMCS revision {:#x}, {} bytes, memory type {}\n", basic.revision, basic.bytes,
                       basic.memory_type);
    }
    if (const auto value = vmx::value_of(seen, vmx::msr::vmcs_enum))
        fmt::format_to(out, "Highest index of a VMCS field: {}\n", vmx::highest_vmcs_index(*value));
    if (const auto value = vmx::value_of(seen, vmx::msr::misc)) {
        const auto misc = vmx::decode_misc(*value);
        fmt::format_to(out,
                       "VMX-preemption timer counts every {} TSC cycles; {} CR3 targets; {} MSRs a list\n",
                       1ULL << misc.preemption_timer_shift, misc.cr3_targets, misc.recommended_msrs);
    }
    const auto fixed = [&](std::string_view name, std::uint32_t fixed0, std::uint32_t fixed1) {
        const auto must = vmx::value_of(seen, fixed0);
        const auto may = vmx::value_of(seen, fixed1);
        if (must && may)
            fmt::format_to(out, "{} in VMX operation: {:#x} must be 1, {:#x} may be\n", name, *must, *may);
    };
    fixed("CR0", vmx::msr::cr0_fixed0, vmx::msr::cr0_fixed1);
    fixed("CR4", vmx::msr::cr4_fixed0, vmx::msr::cr4_fixed1);
    return text;
}

std::string_view mark(vmx::Allowed allowed, vmx::Layout layout) {
    switch (allowed) {
    case vmx::Allowed::zero:
        return "no";
    case vmx::Allowed::one:
        return layout == vmx::Layout::bits ? "yes" : "always";
    case vmx::Allowed::either:
        return "yes";
    case vmx::Allowed::none:
        break;
    }
    return "never"; // neither 0 nor 1
}

// What this program has no name for yet.
std::string unknown_controls(const vmx::Capabilities& seen, const vmx::Group& group) {
    const auto value = vmx::value_of(seen, group.msr);
    if (!value || group.layout == vmx::Layout::bits)
        return {};
    auto unknown = group.layout == vmx::Layout::pair ? *value >> 32 & ~*value : *value;
    for (const auto& bit : group.bits)
        unknown &= ~bit.mask;
    return unknown == 0 ? "" : fmt::format("  yes    without a name here: {}\n", vmx::bits_text(unknown, {}));
}

std::string vmx_text(const vmx::Capabilities& seen) {
    if (seen.empty())
        return {};
    auto text = vmx_numbers(seen);
    for (const auto& group : vmx::groups()) {
        text += fmt::format("{} ({}):\n", group.title, vmx::capability_name(group.msr));
        for (const auto& bit : group.bits)
            text += fmt::format("  {:<6} {:<29} {} (bit {})\n",
                                mark(vmx::allowed(seen, group, bit), group.layout), bit.feature, bit.name,
                                std::countr_zero(bit.mask));
        text += unknown_controls(seen, group);
    }
    return text;
}

} // namespace

std::string nested_text(const report::NestedSeen& seen) {
    auto text =
        fmt::format("nested virtualization: {} ({})\n", to_string(seen.offer.extension), seen.offer.reason);
    if (!seen.offer.remedy.empty())
        text += fmt::format("  {}\n", seen.offer.remedy);
    return text + (seen.offer.extension == nested::Extension::vmx ? vmx_text(seen.vmx)
                                                                  : svm_text(seen.supported_cpuid));
}

} // namespace nestbed::cli
