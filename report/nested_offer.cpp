#include "report/nested_offer.hpp"

#include "nested/vmx/capability_names.hpp"
#include "report/kvm_module.hpp"

namespace nestbed::report {

nested::Offer nested_offer(const kvm::Kvm& kvm, const std::filesystem::path& sysroot) {
    nested::OfferFacts facts{.supported_cpuid = kvm.supported_cpuid().value_or(core::cpu::Table{}),
                             .feature_msrs = kvm.feature_msrs(),
                             .module = find_kvm_module(sysroot),
                             .nested_parameter = {}};
    const auto parameters = read_module_parameters(sysroot, facts.module);
    if (const auto found = parameters.find(facts.module + ".nested"); found != parameters.end())
        facts.nested_parameter = found->second;
    return nested::offer_of(facts);
}

vmx::Capabilities vmx_capabilities(const kvm::Kvm& kvm) {
    vmx::Capabilities capabilities;
    for (const auto index : kvm.feature_msrs())
        if (vmx::capability_name(index) != nullptr)
            if (const auto value = kvm.feature_msr(index))
                capabilities.push_back({.index = index, .value = *value});
    return capabilities;
}

NestedSeen look_at_nested(const kvm::Kvm& kvm, const std::filesystem::path& sysroot) {
    NestedSeen seen{.offer = nested_offer(kvm, sysroot),
                    .supported_cpuid = kvm.supported_cpuid().value_or(core::cpu::Table{}),
                    .vmx = {}};
    // KVM tells the MSRs of a processor with VMX also where nesting is switched off.
    if (seen.offer.extension == nested::Extension::vmx)
        seen.vmx = vmx_capabilities(kvm);
    return seen;
}

} // namespace nestbed::report
