// The names of VMX controls: the manual's, and the one that profiles use. Compiles freestanding.
#pragma once

#include <cstdint>

#include "nested/vmx/controls.hpp"

namespace nestbed::vmx {

// A control, or a bit of a capability MSR.
struct NamedBit {
    std::uint64_t mask;
    const char* feature; // for profiles: Linux's name in lower case where it has one; unique
    const char* name;    // the manual's
    const char* needs;   // a feature without which it is of no use; null where there is none
};

// Pin-based VM-execution controls.
inline constexpr NamedBit pin_based_control_names[]{
    {pin_based::external_interrupt_exiting, "intr_exiting", "External-interrupt exiting", nullptr},
    {pin_based::nmi_exiting, "nmi_exiting", "NMI exiting", nullptr},
    {pin_based::virtual_nmis, "vnmi", "Virtual NMIs", "nmi_exiting"},
    {pin_based::activate_vmx_preemption_timer, "preemption_timer", "Activate VMX-preemption timer", nullptr},
    {pin_based::process_posted_interrupts, "posted_intr", "Process posted interrupts", "vid"},
};

// Primary processor-based VM-execution controls.
inline constexpr NamedBit primary_control_names[]{
    {primary::interrupt_window_exiting, "intr_window_exiting", "Interrupt-window exiting", nullptr},
    {primary::use_tsc_offsetting, "tsc_offset", "Use TSC offsetting", nullptr},
    {primary::hlt_exiting, "hlt_exiting", "HLT exiting", nullptr},
    {primary::invlpg_exiting, "invlpg_exiting", "INVLPG exiting", nullptr},
    {primary::mwait_exiting, "mwait_exiting", "MWAIT exiting", nullptr},
    {primary::rdpmc_exiting, "rdpmc_exiting", "RDPMC exiting", nullptr},
    {primary::rdtsc_exiting, "rdtsc_exiting", "RDTSC exiting", nullptr},
    {primary::cr3_load_exiting, "cr3_load_exiting", "CR3-load exiting", nullptr},
    {primary::cr3_store_exiting, "cr3_store_exiting", "CR3-store exiting", nullptr},
    {primary::activate_tertiary_controls, "tertiary_controls", "Activate tertiary controls", nullptr},
    {primary::cr8_load_exiting, "cr8_load_exiting", "CR8-load exiting", nullptr},
    {primary::cr8_store_exiting, "cr8_store_exiting", "CR8-store exiting", nullptr},
    {primary::use_tpr_shadow, "vtpr", "Use TPR shadow", nullptr},
    {primary::nmi_window_exiting, "nmi_window_exiting", "NMI-window exiting", "vnmi"},
    {primary::mov_dr_exiting, "mov_dr_exiting", "MOV-DR exiting", nullptr},
    {primary::unconditional_io_exiting, "uncond_io_exiting", "Unconditional I/O exiting", nullptr},
    {primary::use_io_bitmaps, "use_io_bitmaps", "Use I/O bitmaps", nullptr},
    {primary::monitor_trap_flag, "mtf", "Monitor trap flag", nullptr},
    {primary::use_msr_bitmaps, "use_msr_bitmaps", "Use MSR bitmaps", nullptr},
    {primary::monitor_exiting, "monitor_exiting", "MONITOR exiting", nullptr},
    {primary::pause_exiting, "pause_exiting", "PAUSE exiting", nullptr},
    {primary::activate_secondary_controls, "sec_controls", "Activate secondary controls", nullptr},
};

// Secondary processor-based VM-execution controls.
inline constexpr NamedBit secondary_control_names[]{
    {secondary::virtualize_apic_accesses, "vapic", "Virtualize APIC accesses", nullptr},
    {secondary::enable_ept, "ept", "Enable EPT", nullptr},
    {secondary::descriptor_table_exiting, "desc_exiting", "Descriptor-table exiting", nullptr},
    {secondary::enable_rdtscp, "rdtscp", "Enable RDTSCP", nullptr},
    {secondary::virtualize_x2apic_mode, "virtual_x2apic", "Virtualize x2APIC mode", "vtpr"},
    {secondary::enable_vpid, "vpid", "Enable VPID", nullptr},
    {secondary::wbinvd_exiting, "wbinvd_exiting", "WBINVD exiting", nullptr},
    {secondary::unrestricted_guest, "unrestricted_guest", "Unrestricted guest", "ept"},
    {secondary::apic_register_virtualization, "vapic_reg", "APIC-register virtualization", "vtpr"},
    {secondary::virtual_interrupt_delivery, "vid", "Virtual-interrupt delivery", "vtpr"},
    {secondary::pause_loop_exiting, "ple", "PAUSE-loop exiting", nullptr},
    {secondary::rdrand_exiting, "rdrand_exiting", "RDRAND exiting", nullptr},
    {secondary::enable_invpcid, "invpcid", "Enable INVPCID", nullptr},
    {secondary::enable_vm_functions, "vmfunc", "Enable VM functions", nullptr},
    {secondary::vmcs_shadowing, "shadow_vmcs", "VMCS shadowing", nullptr},
    {secondary::enable_encls_exiting, "encls_exiting", "Enable ENCLS exiting", nullptr},
    {secondary::rdseed_exiting, "rdseed_exiting", "RDSEED exiting", nullptr},
    {secondary::enable_pml, "pml", "Enable PML", "ept"},
    {secondary::ept_violation_ve, "ept_violation_ve", "EPT-violation #VE", "ept"},
    {secondary::conceal_vmx_from_pt, "pt_conceal_vmx", "Conceal VMX from PT", nullptr},
    {secondary::enable_xsaves_xrstors, "xsaves", "Enable XSAVES/XRSTORS", nullptr},
    {secondary::pasid_translation, "pasid_translation", "PASID translation", nullptr},
    {secondary::mode_based_execute_control_for_ept, "ept_mode_based_exec",
     "Mode-based execute control for EPT", "ept"},
    {secondary::sub_page_write_permissions_for_ept, "sub_page_write", "Sub-page write permissions for EPT",
     "ept"},
    {secondary::intel_pt_uses_guest_physical_addresses, "pt_use_gpa",
     "Intel PT uses guest physical addresses", "ept"},
    {secondary::use_tsc_scaling, "tsc_scaling", "Use TSC scaling", nullptr},
    {secondary::enable_user_wait_and_pause, "usr_wait_pause", "Enable user wait and pause", nullptr},
    {secondary::enable_pconfig, "pconfig", "Enable PCONFIG", nullptr},
    {secondary::enable_enclv_exiting, "enclv_exiting", "Enable ENCLV exiting", nullptr},
    {secondary::vmm_bus_lock_detection, "bus_lock_detection", "VMM bus-lock detection", nullptr},
    {secondary::instruction_timeout, "notify_vm_exiting", "Instruction timeout", nullptr},
};

// Tertiary processor-based VM-execution controls.
inline constexpr NamedBit tertiary_control_names[]{
    {tertiary::loadiwkey_exiting, "loadiwkey_exiting", "LOADIWKEY exiting", nullptr},
    {tertiary::enable_hlat, "hlat", "Enable HLAT", "ept"},
    {tertiary::ept_paging_write_control, "ept_paging_write", "EPT paging-write control", "ept"},
    {tertiary::guest_paging_verification, "guest_paging_verification", "Guest-paging verification", "ept"},
    {tertiary::ipi_virtualization, "ipi_virt", "IPI virtualization", "vtpr"},
    {tertiary::enable_msr_list_instructions, "msr_list", "Enable MSR-list instructions", nullptr},
    {tertiary::virtualize_ia32_spec_ctrl, "virt_spec_ctrl", "Virtualize IA32_SPEC_CTRL", nullptr},
    {tertiary::apic_timer_virtualization, "apic_timer_virt", "APIC-timer virtualization", "vid"},
};

// Primary VM-exit controls.
inline constexpr NamedBit vm_exit_control_names[]{
    {vm_exit::save_debug_controls, "exit_save_debug_controls", "Save debug controls", nullptr},
    {vm_exit::host_address_space_size, "exit_host_address_space_size", "Host address-space size", nullptr},
    {vm_exit::load_ia32_perf_global_ctrl, "exit_load_perf_global_ctrl", "Load IA32_PERF_GLOBAL_CTRL",
     nullptr},
    {vm_exit::acknowledge_interrupt_on_exit, "exit_ack_intr", "Acknowledge interrupt on exit", nullptr},
    {vm_exit::save_ia32_pat, "exit_save_pat", "Save IA32_PAT", nullptr},
    {vm_exit::load_ia32_pat, "exit_load_pat", "Load IA32_PAT", nullptr},
    {vm_exit::save_ia32_efer, "exit_save_efer", "Save IA32_EFER", nullptr},
    {vm_exit::load_ia32_efer, "exit_load_efer", "Load IA32_EFER", nullptr},
    {vm_exit::save_vmx_preemption_timer_value, "exit_save_preemption_timer",
     "Save VMX-preemption timer value", "preemption_timer"},
    {vm_exit::clear_ia32_bndcfgs, "exit_clear_bndcfgs", "Clear IA32_BNDCFGS", nullptr},
    {vm_exit::conceal_vmx_from_pt, "exit_pt_conceal", "Conceal VMX from PT", nullptr},
    {vm_exit::clear_ia32_rtit_ctl, "exit_clear_rtit_ctl", "Clear IA32_RTIT_CTL", nullptr},
    {vm_exit::clear_ia32_lbr_ctl, "exit_clear_lbr_ctl", "Clear IA32_LBR_CTL", nullptr},
    {vm_exit::clear_uinv, "exit_clear_uinv", "Clear UINV", nullptr},
    {vm_exit::load_cet_state, "exit_load_cet", "Load CET state", nullptr},
    {vm_exit::load_pkrs, "exit_load_pkrs", "Load PKRS", nullptr},
    {vm_exit::save_ia32_perf_global_ctrl, "exit_save_perf_global_ctrl", "Save IA32_PERF_GLOBAL_CTRL",
     nullptr},
    {vm_exit::activate_secondary_controls, "exit_sec_controls", "Activate secondary controls", nullptr},
};

// Secondary VM-exit controls.
inline constexpr NamedBit secondary_vm_exit_control_names[]{
    {secondary_vm_exit::save_fred_state, "exit_save_fred", "Save FRED state", nullptr},
    {secondary_vm_exit::load_fred_state, "exit_load_fred", "Load FRED state", nullptr},
    {secondary_vm_exit::load_ia32_spec_ctrl, "exit_load_spec_ctrl", "Load IA32_SPEC_CTRL", nullptr},
    {secondary_vm_exit::prematurely_busy_shadow_stack, "exit_busy_shadow_stack",
     "Prematurely busy shadow stack", nullptr},
};

// VM-entry controls.
inline constexpr NamedBit vm_entry_control_names[]{
    {vm_entry::load_debug_controls, "entry_load_debug_controls", "Load debug controls", nullptr},
    {vm_entry::ia_32e_mode_guest, "entry_ia32e_mode", "IA-32e mode guest", nullptr},
    {vm_entry::entry_to_smm, "entry_smm", "Entry to SMM", nullptr},
    {vm_entry::deactivate_dual_monitor_treatment, "entry_deactivate_dual_monitor",
     "Deactivate dual-monitor treatment", nullptr},
    {vm_entry::load_ia32_perf_global_ctrl, "entry_load_perf_global_ctrl", "Load IA32_PERF_GLOBAL_CTRL",
     nullptr},
    {vm_entry::load_ia32_pat, "entry_load_pat", "Load IA32_PAT", nullptr},
    {vm_entry::load_ia32_efer, "entry_load_efer", "Load IA32_EFER", nullptr},
    {vm_entry::load_ia32_bndcfgs, "entry_load_bndcfgs", "Load IA32_BNDCFGS", nullptr},
    {vm_entry::conceal_vmx_from_pt, "entry_pt_conceal", "Conceal VMX from PT", nullptr},
    {vm_entry::load_ia32_rtit_ctl, "entry_load_rtit_ctl", "Load IA32_RTIT_CTL", nullptr},
    {vm_entry::load_uinv, "entry_load_uinv", "Load UINV", nullptr},
    {vm_entry::load_cet_state, "entry_load_cet", "Load CET state", nullptr},
    {vm_entry::load_guest_ia32_lbr_ctl, "entry_load_lbr_ctl", "Load guest IA32_LBR_CTL", nullptr},
    {vm_entry::load_pkrs, "entry_load_pkrs", "Load PKRS", nullptr},
    {vm_entry::load_fred_state, "entry_load_fred", "Load FRED state", nullptr},
    {vm_entry::load_ia32_spec_ctrl, "entry_load_spec_ctrl", "Load IA32_SPEC_CTRL", nullptr},
};

} // namespace nestbed::vmx
