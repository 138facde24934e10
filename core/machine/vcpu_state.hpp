// All that KVM keeps of a vCPU, read and written back, as a migration does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <linux/kvm.h>

#include "base/error.hpp"
#include "core/kvm/vcpu.hpp"

namespace nestbed::machine {

// What this KVM can be asked for.
struct StateLayout {
    std::vector<std::uint32_t> msrs; // KVM_GET_MSR_INDEX_LIST
    std::size_t nested_bytes = 0;    // KVM_CAP_NESTED_STATE, a header at the least
    std::size_t xsave_bytes = 0;     // KVM_CAP_XSAVE2, or of the structure before it
    bool sregs2 = false;             // KVM_CAP_SREGS2
};

struct VcpuState {
    kvm_regs regs{};
    kvm_sregs2 sregs{}; // flags and pdptrs are 0 without KVM_CAP_SREGS2
    kvm_debugregs debug{};
    kvm_vcpu_events events{};
    kvm_mp_state mp_state{};
    kvm_lapic_state lapic{};
    kvm_xcrs xcrs{};
    std::vector<std::byte> xsave;
    std::vector<std::byte> nested; // struct kvm_nested_state with what follows it
    std::vector<kvm_msr_entry> msrs;
};

// The vCPU is in user space with no I/O to complete. Errors: host_lacks, naming the request that KVM refused.
[[nodiscard]] Result<VcpuState> read_state(const kvm::Vcpu& vcpu, const StateLayout& layout);

// In the order in which QEMU does it, which KVM is used to: registers that nested state looks at, nested
// state, then the rest. MSRs that KVM has and does not take back are left as they are. Errors: as
// read_state().
[[nodiscard]] Status write_state(const kvm::Vcpu& vcpu, const StateLayout& layout, const VcpuState& state);

// Out of nested operation, with nothing pending and with registers that no L1 or L2 of ours has, so that what
// is not written back is missed. Errors: as read_state().
[[nodiscard]] Status forget_state(const kvm::Vcpu& vcpu, const StateLayout& layout, const VcpuState& state);

} // namespace nestbed::machine
