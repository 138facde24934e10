// The CPUID table of each vCPU, as a function of what KVM supports and the topology that the guest is shown.
//
// KVM_GET_SUPPORTED_CPUID answers with the host's topology, in part and as seen from whichever CPU it ran on.
// None of that is passed on: leaves 1, 4, 0xB, 0x1F, 0x8000001D, 0x8000001E, 0x80000026 and the topology
// fields of 0x80000001 and 0x80000008 are written from the shape alone.
#pragma once

#include <cstdint>

#include "core/cpu/shown_cpu.hpp"
#include "core/cpu/table.hpp"
#include "topology/virtual_topology.hpp"

namespace nestbed::core::cpu {

struct GuestCpuidOptions {
    topology::Shape shape;
    // KVM_CAP_TSC_DEADLINE_TIMER is there. KVM_GET_SUPPORTED_CPUID does not tell, the bit is the VMM's to
    // set.
    bool tsc_deadline = false;
    // False hides VMX and SVM (and empties leaf 0x8000000A); true shows whichever the host has.
    bool nested = true;
    // Bits of leaf 0x8000000A EDX that are not shown although the host has them.
    std::uint32_t hidden_svm = 0;
    // What else is not shown, or shown differently.
    ShownCpu shown = {};
    // KVM_FEATURE_MSI_EXT_DEST_ID: MSIs carry destination bits 14:8 in address bits 11:5. The VMM's to
    // promise.
    bool ext_dest_id = false;
};

// Everything that all vCPUs share, sorted by leaf and subleaf. Maximum leaves are raised to cover what is
// written; the leaves in between that the host lacks stay absent, which a guest reads as zeros.
[[nodiscard]] Table guest_template(const Table& offered, const GuestCpuidOptions& options);

// A copy with the fields that hold an id filled in: leaf 1 EBX 31:24, EDX of each subleaf of 0xB, 0x1F and
// 0x80000026 (terminating ones included), 0x8000001E. `vcpu` is below vcpu_count(shape).
[[nodiscard]] Table for_vcpu(const Table& guest_template, const topology::Shape& shape, std::uint32_t vcpu);

} // namespace nestbed::core::cpu
