// Numbers of the CPUID leaves and feature bits that this project reads or writes (SDM volume 2, CPUID; APM
// volume 3, appendix E; Documentation/virt/kvm/x86/cpuid.rst for the paravirtual range).
#pragma once

#include <cstdint>

namespace nestbed::core::cpu {

namespace leaf {
inline constexpr std::uint32_t vendor = 0x0;
inline constexpr std::uint32_t features = 0x1;
inline constexpr std::uint32_t intel_caches = 0x4;
inline constexpr std::uint32_t structured_features = 0x7;
inline constexpr std::uint32_t topology = 0xb;
inline constexpr std::uint32_t xsave = 0xd;
inline constexpr std::uint32_t sgx = 0x12;
inline constexpr std::uint32_t topology_v2 = 0x1f;
inline constexpr std::uint32_t kvm_signature = 0x40000000;
inline constexpr std::uint32_t kvm_features = 0x40000001;
inline constexpr std::uint32_t extended_max = 0x80000000;
inline constexpr std::uint32_t extended_features = 0x80000001;
inline constexpr std::uint32_t address_sizes = 0x80000008;
inline constexpr std::uint32_t svm = 0x8000000a;
inline constexpr std::uint32_t amd_caches = 0x8000001d;
inline constexpr std::uint32_t amd_ids = 0x8000001e;
inline constexpr std::uint32_t amd_topology = 0x80000026;
} // namespace leaf

// Leaves that the shape alone decides: KVM's are of no use, so they are written, compared and judged as a
// whole.
constexpr bool is_of_topology(std::uint32_t leaf) {
    switch (leaf) {
    case leaf::intel_caches:
    case leaf::topology:
    case leaf::topology_v2:
    case leaf::amd_caches:
    case leaf::amd_ids:
    case leaf::amd_topology:
        return true;
    default:
        return false;
    }
}

namespace feature {
// Leaf 1, ECX.
inline constexpr unsigned monitor = 3;
inline constexpr unsigned vmx = 5;
inline constexpr unsigned x2apic = 21;
inline constexpr unsigned tsc_deadline = 24;
inline constexpr unsigned osxsave = 27;
inline constexpr unsigned hypervisor = 31;
// Leaf 1, EDX.
inline constexpr unsigned apic = 9;
inline constexpr unsigned mtrr = 12;
inline constexpr unsigned htt = 28;
// Leaf 7 subleaf 0, ECX.
inline constexpr unsigned ospke = 4;
// Leaf 0x80000001, ECX.
inline constexpr unsigned cmp_legacy = 1;
inline constexpr unsigned svm = 2;
inline constexpr unsigned topoext = 22;
// Leaf 0x40000001, EAX.
inline constexpr unsigned pv_unhalt = 7;
inline constexpr unsigned msi_ext_dest_id = 15;
} // namespace feature

} // namespace nestbed::core::cpu
