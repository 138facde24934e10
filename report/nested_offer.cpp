#include "report/nested_offer.hpp"

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

} // namespace nestbed::report
