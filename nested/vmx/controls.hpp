// VMX controls bit by bit (SDM volume 3, "Virtual Machine Control Structures": VM-execution, VM-exit and
// VM-entry control fields). Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

// Pin-based VM-execution controls.
namespace pin_based {
inline constexpr std::uint32_t external_interrupt_exiting = 1U << 0;
inline constexpr std::uint32_t nmi_exiting = 1U << 3;
inline constexpr std::uint32_t virtual_nmis = 1U << 5;
inline constexpr std::uint32_t activate_vmx_preemption_timer = 1U << 6;
inline constexpr std::uint32_t process_posted_interrupts = 1U << 7;
} // namespace pin_based

// Primary processor-based VM-execution controls.
namespace primary {
inline constexpr std::uint32_t interrupt_window_exiting = 1U << 2;
inline constexpr std::uint32_t use_tsc_offsetting = 1U << 3;
inline constexpr std::uint32_t hlt_exiting = 1U << 7;
inline constexpr std::uint32_t invlpg_exiting = 1U << 9;
inline constexpr std::uint32_t mwait_exiting = 1U << 10;
inline constexpr std::uint32_t rdpmc_exiting = 1U << 11;
inline constexpr std::uint32_t rdtsc_exiting = 1U << 12;
inline constexpr std::uint32_t cr3_load_exiting = 1U << 15;
inline constexpr std::uint32_t cr3_store_exiting = 1U << 16;
inline constexpr std::uint32_t activate_tertiary_controls = 1U << 17;
inline constexpr std::uint32_t cr8_load_exiting = 1U << 19;
inline constexpr std::uint32_t cr8_store_exiting = 1U << 20;
inline constexpr std::uint32_t use_tpr_shadow = 1U << 21;
inline constexpr std::uint32_t nmi_window_exiting = 1U << 22;
inline constexpr std::uint32_t mov_dr_exiting = 1U << 23;
inline constexpr std::uint32_t unconditional_io_exiting = 1U << 24;
inline constexpr std::uint32_t use_io_bitmaps = 1U << 25;
inline constexpr std::uint32_t monitor_trap_flag = 1U << 27;
inline constexpr std::uint32_t use_msr_bitmaps = 1U << 28;
inline constexpr std::uint32_t monitor_exiting = 1U << 29;
inline constexpr std::uint32_t pause_exiting = 1U << 30;
inline constexpr std::uint32_t activate_secondary_controls = 1U << 31;
} // namespace primary

// Secondary processor-based VM-execution controls.
namespace secondary {
inline constexpr std::uint32_t virtualize_apic_accesses = 1U << 0;
inline constexpr std::uint32_t enable_ept = 1U << 1;
inline constexpr std::uint32_t descriptor_table_exiting = 1U << 2;
inline constexpr std::uint32_t enable_rdtscp = 1U << 3;
inline constexpr std::uint32_t virtualize_x2apic_mode = 1U << 4;
inline constexpr std::uint32_t enable_vpid = 1U << 5;
inline constexpr std::uint32_t wbinvd_exiting = 1U << 6;
inline constexpr std::uint32_t unrestricted_guest = 1U << 7;
inline constexpr std::uint32_t apic_register_virtualization = 1U << 8;
inline constexpr std::uint32_t virtual_interrupt_delivery = 1U << 9;
inline constexpr std::uint32_t pause_loop_exiting = 1U << 10;
inline constexpr std::uint32_t rdrand_exiting = 1U << 11;
inline constexpr std::uint32_t enable_invpcid = 1U << 12;
inline constexpr std::uint32_t enable_vm_functions = 1U << 13;
inline constexpr std::uint32_t vmcs_shadowing = 1U << 14;
inline constexpr std::uint32_t enable_encls_exiting = 1U << 15;
inline constexpr std::uint32_t rdseed_exiting = 1U << 16;
inline constexpr std::uint32_t enable_pml = 1U << 17;
inline constexpr std::uint32_t ept_violation_ve = 1U << 18;
inline constexpr std::uint32_t conceal_vmx_from_pt = 1U << 19;
inline constexpr std::uint32_t enable_xsaves_xrstors = 1U << 20;
inline constexpr std::uint32_t pasid_translation = 1U << 21;
inline constexpr std::uint32_t mode_based_execute_control_for_ept = 1U << 22;
inline constexpr std::uint32_t sub_page_write_permissions_for_ept = 1U << 23;
inline constexpr std::uint32_t intel_pt_uses_guest_physical_addresses = 1U << 24;
inline constexpr std::uint32_t use_tsc_scaling = 1U << 25;
inline constexpr std::uint32_t enable_user_wait_and_pause = 1U << 26;
inline constexpr std::uint32_t enable_pconfig = 1U << 27;
inline constexpr std::uint32_t enable_enclv_exiting = 1U << 28;
inline constexpr std::uint32_t vmm_bus_lock_detection = 1U << 30;
inline constexpr std::uint32_t instruction_timeout = 1U << 31;
} // namespace secondary

// Tertiary processor-based VM-execution controls.
namespace tertiary {
inline constexpr std::uint64_t loadiwkey_exiting = std::uint64_t{1} << 0;
inline constexpr std::uint64_t enable_hlat = std::uint64_t{1} << 1;
inline constexpr std::uint64_t ept_paging_write_control = std::uint64_t{1} << 2;
inline constexpr std::uint64_t guest_paging_verification = std::uint64_t{1} << 3;
inline constexpr std::uint64_t ipi_virtualization = std::uint64_t{1} << 4;
inline constexpr std::uint64_t enable_msr_list_instructions = std::uint64_t{1} << 6;
inline constexpr std::uint64_t virtualize_ia32_spec_ctrl = std::uint64_t{1} << 7;
inline constexpr std::uint64_t apic_timer_virtualization = std::uint64_t{1} << 8;
} // namespace tertiary

// Primary VM-exit controls.
namespace vm_exit {
inline constexpr std::uint32_t save_debug_controls = 1U << 2;
inline constexpr std::uint32_t host_address_space_size = 1U << 9;
inline constexpr std::uint32_t load_ia32_perf_global_ctrl = 1U << 12;
inline constexpr std::uint32_t acknowledge_interrupt_on_exit = 1U << 15;
inline constexpr std::uint32_t save_ia32_pat = 1U << 18;
inline constexpr std::uint32_t load_ia32_pat = 1U << 19;
inline constexpr std::uint32_t save_ia32_efer = 1U << 20;
inline constexpr std::uint32_t load_ia32_efer = 1U << 21;
inline constexpr std::uint32_t save_vmx_preemption_timer_value = 1U << 22;
inline constexpr std::uint32_t clear_ia32_bndcfgs = 1U << 23;
inline constexpr std::uint32_t conceal_vmx_from_pt = 1U << 24;
inline constexpr std::uint32_t clear_ia32_rtit_ctl = 1U << 25;
inline constexpr std::uint32_t clear_ia32_lbr_ctl = 1U << 26;
inline constexpr std::uint32_t clear_uinv = 1U << 27;
inline constexpr std::uint32_t load_cet_state = 1U << 28;
inline constexpr std::uint32_t load_pkrs = 1U << 29;
inline constexpr std::uint32_t save_ia32_perf_global_ctrl = 1U << 30;
inline constexpr std::uint32_t activate_secondary_controls = 1U << 31;
} // namespace vm_exit

// Secondary VM-exit controls.
namespace secondary_vm_exit {
inline constexpr std::uint64_t save_fred_state = std::uint64_t{1} << 0;
inline constexpr std::uint64_t load_fred_state = std::uint64_t{1} << 1;
inline constexpr std::uint64_t load_ia32_spec_ctrl = std::uint64_t{1} << 2;
inline constexpr std::uint64_t prematurely_busy_shadow_stack = std::uint64_t{1} << 3;
} // namespace secondary_vm_exit

// VM-entry controls.
namespace vm_entry {
inline constexpr std::uint32_t load_debug_controls = 1U << 2;
inline constexpr std::uint32_t ia_32e_mode_guest = 1U << 9;
inline constexpr std::uint32_t entry_to_smm = 1U << 10;
inline constexpr std::uint32_t deactivate_dual_monitor_treatment = 1U << 11;
inline constexpr std::uint32_t load_ia32_perf_global_ctrl = 1U << 13;
inline constexpr std::uint32_t load_ia32_pat = 1U << 14;
inline constexpr std::uint32_t load_ia32_efer = 1U << 15;
inline constexpr std::uint32_t load_ia32_bndcfgs = 1U << 16;
inline constexpr std::uint32_t conceal_vmx_from_pt = 1U << 17;
inline constexpr std::uint32_t load_ia32_rtit_ctl = 1U << 18;
inline constexpr std::uint32_t load_uinv = 1U << 19;
inline constexpr std::uint32_t load_cet_state = 1U << 20;
inline constexpr std::uint32_t load_guest_ia32_lbr_ctl = 1U << 21;
inline constexpr std::uint32_t load_pkrs = 1U << 22;
inline constexpr std::uint32_t load_fred_state = 1U << 23;
inline constexpr std::uint32_t load_ia32_spec_ctrl = 1U << 24;
} // namespace vm_entry

} // namespace nestbed::vmx
