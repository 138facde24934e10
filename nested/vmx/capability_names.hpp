// The names of the capability MSRs and of their bits that are no controls. Compiles freestanding.
#pragma once

#include <cstdint>

#include "nested/vmx/capability.hpp"
#include "nested/vmx/control_names.hpp"

namespace nestbed::vmx {

struct CapabilityMsr {
    std::uint32_t index;
    const char* name;
};

inline constexpr CapabilityMsr capability_msrs[]{
    {msr::basic, "IA32_VMX_BASIC"},
    {msr::pinbased_ctls, "IA32_VMX_PINBASED_CTLS"},
    {msr::procbased_ctls, "IA32_VMX_PROCBASED_CTLS"},
    {msr::exit_ctls, "IA32_VMX_EXIT_CTLS"},
    {msr::entry_ctls, "IA32_VMX_ENTRY_CTLS"},
    {msr::misc, "IA32_VMX_MISC"},
    {msr::cr0_fixed0, "IA32_VMX_CR0_FIXED0"},
    {msr::cr0_fixed1, "IA32_VMX_CR0_FIXED1"},
    {msr::cr4_fixed0, "IA32_VMX_CR4_FIXED0"},
    {msr::cr4_fixed1, "IA32_VMX_CR4_FIXED1"},
    {msr::vmcs_enum, "IA32_VMX_VMCS_ENUM"},
    {msr::procbased_ctls2, "IA32_VMX_PROCBASED_CTLS2"},
    {msr::ept_vpid_cap, "IA32_VMX_EPT_VPID_CAP"},
    {msr::true_pinbased_ctls, "IA32_VMX_TRUE_PINBASED_CTLS"},
    {msr::true_procbased_ctls, "IA32_VMX_TRUE_PROCBASED_CTLS"},
    {msr::true_exit_ctls, "IA32_VMX_TRUE_EXIT_CTLS"},
    {msr::true_entry_ctls, "IA32_VMX_TRUE_ENTRY_CTLS"},
    {msr::vmfunc, "IA32_VMX_VMFUNC"},
    {msr::procbased_ctls3, "IA32_VMX_PROCBASED_CTLS3"},
    {msr::exit_ctls2, "IA32_VMX_EXIT_CTLS2"},
};

// Null for an MSR that is none of them.
constexpr const char* capability_name(std::uint32_t index) {
    for (const auto& known : capability_msrs)
        if (known.index == index)
            return known.name;
    return nullptr;
}

// IA32_VMX_BASIC without what KVM cannot be asked to change.
inline constexpr NamedBit basic_names[]{
    {basic_bit::dual_monitor, "dual_monitor", "Dual-monitor treatment of SMIs and SMM", nullptr},
    {basic_bit::ins_outs_information, "ins_outs_info", "Instruction information for INS and OUTS", nullptr},
    {basic_bit::true_controls, "true_controls", "Default1 controls may be 0 (TRUE MSRs)", nullptr},
    {basic_bit::any_error_code, "any_error_code", "Hardware exceptions with or without error code", nullptr},
    {basic_bit::nested_exception, "nested_exception", "Nested-exception information (FRED)", nullptr},
};

inline constexpr NamedBit misc_names[]{
    {misc_bit::store_lma, "save_efer_lma", "VM exits store EFER.LMA in \"IA-32e mode guest\"", nullptr},
    {misc_bit::activity_hlt, "activity_hlt", "Activity state HLT", nullptr},
    {misc_bit::activity_shutdown, "activity_shutdown", "Activity state shutdown", nullptr},
    {misc_bit::activity_wait_for_sipi, "activity_wait_sipi", "Activity state wait-for-SIPI", nullptr},
    {misc_bit::intel_pt, "intel_pt", "Intel PT in VMX operation", nullptr},
    {misc_bit::smbase_in_smm, "smbase_rdmsr", "RDMSR of IA32_SMBASE in SMM", nullptr},
    {misc_bit::smm_monitor_ctl, "smm_monitor_ctl", "Bit 2 of IA32_SMM_MONITOR_CTL", nullptr},
    {misc_bit::vmwrite_any_field, "vmwrite_shadow_ro_fields", "VMWRITE to read-only fields", nullptr},
    {misc_bit::zero_length_injection, "zero_len_ins", "Injection with instruction length 0", nullptr},
};

inline constexpr NamedBit ept_vpid_names[]{
    {ept_vpid_bit::execute_only, "ept_x_only", "Execute-only translations", "ept"},
    {ept_vpid_bit::walk_length_4, "ept_4level", "Page-walk length 4", "ept"},
    {ept_vpid_bit::walk_length_5, "ept_5level", "Page-walk length 5", "ept"},
    {ept_vpid_bit::uncacheable, "ept_uc", "EPT paging structures uncacheable", "ept"},
    {ept_vpid_bit::write_back, "ept_wb", "EPT paging structures write-back", "ept"},
    {ept_vpid_bit::pages_2_mib, "ept_2mb", "2-MiB pages", "ept"},
    {ept_vpid_bit::pages_1_gib, "ept_1gb", "1-GiB pages", "ept"},
    {ept_vpid_bit::invept, "invept", "INVEPT", "ept"},
    {ept_vpid_bit::accessed_dirty, "ept_ad", "Accessed and dirty flags for EPT", "ept"},
    {ept_vpid_bit::advanced_information, "ept_violation_info",
     "Advanced VM-exit information for EPT violations", "ept"},
    {ept_vpid_bit::supervisor_shadow_stack, "ept_sss", "Supervisor shadow-stack control", "ept"},
    {ept_vpid_bit::invept_single_context, "invept_single", "Single-context INVEPT", "invept"},
    {ept_vpid_bit::invept_all_contexts, "invept_all", "All-context INVEPT", "invept"},
    {ept_vpid_bit::invvpid, "invvpid", "INVVPID", "vpid"},
    {ept_vpid_bit::invvpid_individual_address, "invvpid_address", "Individual-address INVVPID", "invvpid"},
    {ept_vpid_bit::invvpid_single_context, "invvpid_single", "Single-context INVVPID", "invvpid"},
    {ept_vpid_bit::invvpid_all_contexts, "invvpid_all", "All-context INVVPID", "invvpid"},
    {ept_vpid_bit::invvpid_retaining_globals, "invvpid_single_globals",
     "Single-context-retaining-globals INVVPID", "invvpid"},
};

inline constexpr NamedBit vm_function_names[]{
    {vm_function::eptp_switching, "eptp_switching", "EPTP switching", "ept"},
};

} // namespace nestbed::vmx
