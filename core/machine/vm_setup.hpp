// What a VM needs before its first vCPU.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "core/cpu/msr.hpp"
#include "core/kvm/kvm.hpp"
#include "core/kvm/vm.hpp"
#include "core/machine/vcpu_state.hpp"
#include "topology/plan.hpp"

namespace nestbed::machine {

// Errors: host_lacks where KVM lacks what every machine needs, or allows fewer vCPUs or lower ids than
// planned.
[[nodiscard]] Status check_kvm_limits(const kvm::Kvm& kvm, const topology::Plan& plan);

// Split irqchip, 32-bit APIC ids, the largest id, and the pages that Intel hosts want outside RAM.
[[nodiscard]] Status configure_vm(const kvm::Vm& vm, std::uint32_t max_apic_id);

// The VMX capability MSRs that vCPUs are to have instead of what KVM offers, without the bits of `hidden`.
// There is nothing to hide of an MSR that KVM does not offer.
[[nodiscard]] std::vector<core::cpu::MsrValue>
capabilities_without(const kvm::Kvm& kvm, const std::vector<core::cpu::MsrValue>& hidden);

// What a vCPU's state consists of. Empty where KVM does not give its nested state away.
[[nodiscard]] std::optional<StateLayout> state_layout(const kvm::Kvm& kvm, const kvm::Vm& vm);

} // namespace nestbed::machine
