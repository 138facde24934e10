// The VMX capability MSRs and IA32_FEATURE_CONTROL (SDM volume 3, appendix A; volume 4). Compiles
// freestanding.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

namespace msr {
inline constexpr std::uint32_t feature_control = 0x3a;
inline constexpr std::uint32_t basic = 0x480;
inline constexpr std::uint32_t pinbased_ctls = 0x481;
inline constexpr std::uint32_t procbased_ctls = 0x482;
inline constexpr std::uint32_t exit_ctls = 0x483;
inline constexpr std::uint32_t entry_ctls = 0x484;
inline constexpr std::uint32_t misc = 0x485;
inline constexpr std::uint32_t cr0_fixed0 = 0x486;
inline constexpr std::uint32_t cr0_fixed1 = 0x487;
inline constexpr std::uint32_t cr4_fixed0 = 0x488;
inline constexpr std::uint32_t cr4_fixed1 = 0x489;
inline constexpr std::uint32_t vmcs_enum = 0x48a;
inline constexpr std::uint32_t procbased_ctls2 = 0x48b;
inline constexpr std::uint32_t ept_vpid_cap = 0x48c;
inline constexpr std::uint32_t true_pinbased_ctls = 0x48d;
inline constexpr std::uint32_t true_procbased_ctls = 0x48e;
inline constexpr std::uint32_t true_exit_ctls = 0x48f;
inline constexpr std::uint32_t true_entry_ctls = 0x490;
inline constexpr std::uint32_t vmfunc = 0x491;
inline constexpr std::uint32_t procbased_ctls3 = 0x492;
inline constexpr std::uint32_t exit_ctls2 = 0x493;
} // namespace msr

namespace feature_control_bit {
inline constexpr std::uint64_t lock = 1U
                                      << 0; // without it VMXON raises #GP, and the MSR can still be written
inline constexpr std::uint64_t vmx_in_smx = 1U << 1;
inline constexpr std::uint64_t vmx_outside_smx = 1U << 2;
} // namespace feature_control_bit

// The settings that a control may have.
enum class Allowed : std::uint8_t {
    zero,
    one,
    either,
    none, // a contradiction, which no processor has
};

// Of a control in an MSR whose low half has the bits that must be 1, and whose high half those that may be.
constexpr Allowed allowed_in_pair(std::uint64_t value, std::uint32_t control) {
    const bool must = (value & control) != 0;
    const bool may = (value >> 32 & control) != 0;
    if (must)
        return may ? Allowed::one : Allowed::none;
    return may ? Allowed::either : Allowed::zero;
}

// Of a control in an MSR that has only the bits that may be 1 (tertiary and secondary VM-exit controls, VM
// functions).
constexpr Allowed allowed_in_mask(std::uint64_t value, std::uint64_t control) {
    return (value & control) != 0 ? Allowed::either : Allowed::zero;
}

// IA32_VMX_BASIC (A.1).
namespace basic_bit {
inline constexpr std::uint64_t addresses_32_bits = std::uint64_t{1} << 48;
inline constexpr std::uint64_t dual_monitor = std::uint64_t{1} << 49;
inline constexpr std::uint64_t ins_outs_information = std::uint64_t{1} << 54;
inline constexpr std::uint64_t true_controls = std::uint64_t{1} << 55;
inline constexpr std::uint64_t any_error_code = std::uint64_t{1} << 56;
inline constexpr std::uint64_t nested_exception = std::uint64_t{1} << 58;
} // namespace basic_bit

struct Basic {
    std::uint32_t revision = 0;   // VMCS revision identifier
    std::uint16_t bytes = 0;      // to allocate for a VMCS or the VMXON region, 4096 at most
    std::uint8_t memory_type = 0; // to access them with: 0 uncacheable, 6 write-back
};

constexpr Basic decode_basic(std::uint64_t value) {
    return {static_cast<std::uint32_t>(value & 0x7fff'ffff), static_cast<std::uint16_t>(value >> 32 & 0x1fff),
            static_cast<std::uint8_t>(value >> 50 & 0xf)};
}

// IA32_VMX_MISC (A.6).
namespace misc_bit {
inline constexpr std::uint64_t store_lma = 1U << 5;
inline constexpr std::uint64_t activity_hlt = 1U << 6;
inline constexpr std::uint64_t activity_shutdown = 1U << 7;
inline constexpr std::uint64_t activity_wait_for_sipi = 1U << 8;
inline constexpr std::uint64_t intel_pt = 1U << 14;
inline constexpr std::uint64_t smbase_in_smm = 1U << 15;
inline constexpr std::uint64_t smm_monitor_ctl = 1U << 28;
inline constexpr std::uint64_t vmwrite_any_field = 1U << 29;
inline constexpr std::uint64_t zero_length_injection = 1U << 30;
} // namespace misc_bit

struct Misc {
    std::uint8_t preemption_timer_shift = 0; // it counts down by 1 when this bit of the TSC changes
    std::uint16_t cr3_targets = 0;
    std::uint32_t recommended_msrs = 0; // the most that a VM-exit or VM-entry list should have
    std::uint32_t mseg_revision = 0;
};

constexpr Misc decode_misc(std::uint64_t value) {
    return {static_cast<std::uint8_t>(value & 0x1f), static_cast<std::uint16_t>(value >> 16 & 0x1ff),
            static_cast<std::uint32_t>(512 * ((value >> 25 & 7) + 1)),
            static_cast<std::uint32_t>(value >> 32)};
}

// A bit of CR0 or CR4 in VMX operation, from the FIXED0 and FIXED1 MSRs (A.7, A.8).
constexpr Allowed allowed_fixed(std::uint64_t fixed0, std::uint64_t fixed1, std::uint64_t bit) {
    const bool must = (fixed0 & bit) != 0;
    const bool may = (fixed1 & bit) != 0;
    if (must)
        return may ? Allowed::one : Allowed::none;
    return may ? Allowed::either : Allowed::zero;
}

// IA32_VMX_VMCS_ENUM (A.9): the highest index of any field's encoding.
constexpr std::uint16_t highest_vmcs_index(std::uint64_t value) {
    return static_cast<std::uint16_t>(value >> 1 & 0x1ff);
}

// IA32_VMX_EPT_VPID_CAP (A.10).
namespace ept_vpid_bit {
inline constexpr std::uint64_t execute_only = 1U << 0;
inline constexpr std::uint64_t walk_length_4 = 1U << 6;
inline constexpr std::uint64_t walk_length_5 = 1U << 7;
inline constexpr std::uint64_t uncacheable = 1U << 8;
inline constexpr std::uint64_t write_back = 1U << 14;
inline constexpr std::uint64_t pages_2_mib = 1U << 16;
inline constexpr std::uint64_t pages_1_gib = 1U << 17;
inline constexpr std::uint64_t invept = 1U << 20;
inline constexpr std::uint64_t accessed_dirty = 1U << 21;
inline constexpr std::uint64_t advanced_information = 1U << 22;
inline constexpr std::uint64_t supervisor_shadow_stack = 1U << 23;
inline constexpr std::uint64_t invept_single_context = 1U << 25;
inline constexpr std::uint64_t invept_all_contexts = 1U << 26;
inline constexpr std::uint64_t invvpid = std::uint64_t{1} << 32;
inline constexpr std::uint64_t invvpid_individual_address = std::uint64_t{1} << 40;
inline constexpr std::uint64_t invvpid_single_context = std::uint64_t{1} << 41;
inline constexpr std::uint64_t invvpid_all_contexts = std::uint64_t{1} << 42;
inline constexpr std::uint64_t invvpid_retaining_globals = std::uint64_t{1} << 43;
} // namespace ept_vpid_bit

// The largest HLAT prefix size (IA32_VMX_EPT_VPID_CAP).
constexpr std::uint8_t highest_hlat_prefix(std::uint64_t ept_vpid_cap) {
    return static_cast<std::uint8_t>(ept_vpid_cap >> 48 & 0x3f);
}

// VM functions (IA32_VMX_VMFUNC, A.11, and the VM-function controls).
namespace vm_function {
inline constexpr std::uint64_t eptp_switching = 1U << 0;
} // namespace vm_function

} // namespace nestbed::vmx
