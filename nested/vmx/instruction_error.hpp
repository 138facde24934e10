// VM-instruction error numbers (SDM volume 3, "VM Instruction Error Numbers"). Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

// What the VM-instruction error field holds after VMfailValid. 14, 21 and 27 are not used.
enum class InstructionError : std::uint32_t {
    vmcall_in_root = 1,
    vmclear_invalid_address = 2,
    vmclear_vmxon_pointer = 3,
    vmlaunch_non_clear = 4,
    vmresume_non_launched = 5,
    vmresume_after_vmxoff = 6,
    entry_invalid_control = 7,
    entry_invalid_host_state = 8,
    vmptrld_invalid_address = 9,
    vmptrld_vmxon_pointer = 10,
    vmptrld_revision = 11,
    unsupported_component = 12,
    vmwrite_read_only = 13,
    vmxon_in_root = 15,
    entry_executive_vmcs_pointer = 16,
    entry_executive_vmcs_non_launched = 17,
    entry_executive_vmcs_not_vmxon = 18,
    vmcall_non_clear = 19,
    vmcall_invalid_exit_controls = 20,
    vmcall_mseg_revision = 22,
    vmxoff_dual_monitor = 23,
    vmcall_smm_monitor_features = 24,
    entry_executive_vmcs_controls = 25,
    entry_blocked_by_mov_ss = 26,
    invalid_operand = 28,
};

struct InstructionErrorName {
    InstructionError error;
    const char* name;
};

inline constexpr InstructionErrorName instruction_error_names[]{
    {InstructionError::vmcall_in_root, "VMCALL executed in VMX root operation"},
    {InstructionError::vmclear_invalid_address, "VMCLEAR with invalid physical address"},
    {InstructionError::vmclear_vmxon_pointer, "VMCLEAR with VMXON pointer"},
    {InstructionError::vmlaunch_non_clear, "VMLAUNCH with non-clear VMCS"},
    {InstructionError::vmresume_non_launched, "VMRESUME with non-launched VMCS"},
    {InstructionError::vmresume_after_vmxoff, "VMRESUME after VMXOFF"},
    {InstructionError::entry_invalid_control, "VM entry with invalid control field(s)"},
    {InstructionError::entry_invalid_host_state, "VM entry with invalid host-state field(s)"},
    {InstructionError::vmptrld_invalid_address, "VMPTRLD with invalid physical address"},
    {InstructionError::vmptrld_vmxon_pointer, "VMPTRLD with VMXON pointer"},
    {InstructionError::vmptrld_revision, "VMPTRLD with incorrect VMCS revision identifier"},
    {InstructionError::unsupported_component, "VMREAD or VMWRITE of an unsupported VMCS component"},
    {InstructionError::vmwrite_read_only, "VMWRITE to read-only VMCS component"},
    {InstructionError::vmxon_in_root, "VMXON executed in VMX root operation"},
    {InstructionError::entry_executive_vmcs_pointer, "VM entry with invalid executive-VMCS pointer"},
    {InstructionError::entry_executive_vmcs_non_launched, "VM entry with non-launched executive VMCS"},
    {InstructionError::entry_executive_vmcs_not_vmxon,
     "VM entry with executive-VMCS pointer not VMXON pointer"},
    {InstructionError::vmcall_non_clear, "VMCALL with non-clear VMCS"},
    {InstructionError::vmcall_invalid_exit_controls, "VMCALL with invalid VM-exit control fields"},
    {InstructionError::vmcall_mseg_revision, "VMCALL with incorrect MSEG revision identifier"},
    {InstructionError::vmxoff_dual_monitor, "VMXOFF under dual-monitor treatment of SMIs and SMM"},
    {InstructionError::vmcall_smm_monitor_features, "VMCALL with invalid SMM-monitor features"},
    {InstructionError::entry_executive_vmcs_controls,
     "VM entry with invalid VM-execution control fields in executive VMCS"},
    {InstructionError::entry_blocked_by_mov_ss, "VM entry with events blocked by MOV SS"},
    {InstructionError::invalid_operand, "Invalid operand to INVEPT/INVVPID"},
};

// Null where the manual has no such error.
constexpr const char* name_of(InstructionError error) {
    for (const auto& known : instruction_error_names)
        if (known.error == error)
            return known.name;
    return nullptr;
}

} // namespace nestbed::vmx
