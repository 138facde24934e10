// What this host's KVM offers to guests that are hypervisors.
#pragma once

#include <filesystem>

#include "core/kvm/kvm.hpp"
#include "nested/offer.hpp"
#include "nested/vmx/features.hpp"

namespace nestbed::report {

// `sysroot` is where the vendor module and its parameters are looked up.
[[nodiscard]] nested::Offer nested_offer(const kvm::Kvm& kvm, const std::filesystem::path& sysroot = "/");

// Those of VMX's capability MSRs that KVM has as feature MSRs; empty where it has none. One that is listed
// and cannot be read is left out.
[[nodiscard]] vmx::Capabilities vmx_capabilities(const kvm::Kvm& kvm);

// Feature by feature.
struct NestedSeen {
    nested::Offer offer;
    core::cpu::Table supported_cpuid; // KVM_GET_SUPPORTED_CPUID, empty without KVM
    vmx::Capabilities vmx;            // empty where VMX is not offered
};

[[nodiscard]] NestedSeen look_at_nested(const kvm::Kvm& kvm, const std::filesystem::path& sysroot = "/");

} // namespace nestbed::report
