// VMCS field encodings (SDM volume 3, appendix B; their structure is in "VMREAD, VMWRITE, and Encodings of
// VMCS Fields"). Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

enum class Width : std::uint8_t { bits16, bits64, bits32, natural };
enum class FieldType : std::uint8_t { control, read_only_data, guest_state, host_state };
// High: bits 63:32 of a 64-bit field.
enum class Access : std::uint8_t { full, high };

struct Encoding {
    Width width = Width::bits16;
    FieldType type = FieldType::control;
    std::uint16_t index = 0; // 9 bits
    Access access = Access::full;

    constexpr bool operator==(const Encoding&) const = default;
};

constexpr Encoding decode_encoding(std::uint32_t encoding) {
    return {static_cast<Width>(encoding >> 13 & 3), static_cast<FieldType>(encoding >> 10 & 3),
            static_cast<std::uint16_t>(encoding >> 1 & 0x1ff), static_cast<Access>(encoding & 1)};
}

constexpr std::uint32_t encode(const Encoding& encoding) {
    return static_cast<std::uint32_t>(encoding.width) << 13 |
           static_cast<std::uint32_t>(encoding.type) << 10 | (encoding.index & 0x1ffU) << 1 |
           static_cast<std::uint32_t>(encoding.access);
}

// False where a reserved bit is set, or where the high half is asked of a field that has none.
constexpr bool is_well_formed(std::uint32_t encoding) {
    constexpr std::uint32_t defined = 0x6fff;
    return (encoding & ~defined) == 0 &&
           ((encoding & 1) == 0 || decode_encoding(encoding).width == Width::bits64);
}

// Of full access. `high()` gives the other half of a 64-bit field.
enum class Field : std::uint32_t {
    // 16-bit control fields
    virtual_processor_identifier = 0x0000,
    posted_interrupt_notification_vector = 0x0002,
    eptp_index = 0x0004,
    hlat_prefix_size = 0x0006,
    last_pid_pointer_index = 0x0008,
    virtual_timer_vector = 0x000a,
    // 16-bit guest-state fields
    guest_es_selector = 0x0800,
    guest_cs_selector = 0x0802,
    guest_ss_selector = 0x0804,
    guest_ds_selector = 0x0806,
    guest_fs_selector = 0x0808,
    guest_gs_selector = 0x080a,
    guest_ldtr_selector = 0x080c,
    guest_tr_selector = 0x080e,
    guest_interrupt_status = 0x0810,
    pml_index = 0x0812,
    guest_uinv = 0x0814,
    // 16-bit host-state fields
    host_es_selector = 0x0c00,
    host_cs_selector = 0x0c02,
    host_ss_selector = 0x0c04,
    host_ds_selector = 0x0c06,
    host_fs_selector = 0x0c08,
    host_gs_selector = 0x0c0a,
    host_tr_selector = 0x0c0c,
    // 64-bit control fields
    io_bitmap_a = 0x2000,
    io_bitmap_b = 0x2002,
    msr_bitmaps = 0x2004,
    exit_msr_store_address = 0x2006,
    exit_msr_load_address = 0x2008,
    entry_msr_load_address = 0x200a,
    executive_vmcs_pointer = 0x200c,
    pml_address = 0x200e,
    tsc_offset = 0x2010,
    virtual_apic_address = 0x2012,
    apic_access_address = 0x2014,
    posted_interrupt_descriptor = 0x2016,
    vm_function_controls = 0x2018,
    ept_pointer = 0x201a,
    eoi_exit_bitmap_0 = 0x201c,
    eoi_exit_bitmap_1 = 0x201e,
    eoi_exit_bitmap_2 = 0x2020,
    eoi_exit_bitmap_3 = 0x2022,
    eptp_list_address = 0x2024,
    vmread_bitmap = 0x2026,
    vmwrite_bitmap = 0x2028,
    virtualization_exception_information = 0x202a,
    xss_exiting_bitmap = 0x202c,
    encls_exiting_bitmap = 0x202e,
    sub_page_permission_table_pointer = 0x2030,
    tsc_multiplier = 0x2032,
    tertiary_controls = 0x2034,
    enclv_exiting_bitmap = 0x2036,
    low_pasid_directory = 0x2038,
    high_pasid_directory = 0x203a,
    shared_ept_pointer = 0x203c,
    pconfig_exiting_bitmap = 0x203e,
    hlat_pointer = 0x2040,
    pid_pointer_table = 0x2042,
    secondary_exit_controls = 0x2044,
    ia32_spec_ctrl_mask = 0x204a,
    ia32_spec_ctrl_shadow = 0x204c,
    guest_deadline_shadow = 0x204e,
    injected_event_data = 0x2052,
    // 64-bit read-only data fields
    guest_physical_address = 0x2400,
    msr_data = 0x2402,
    original_event_data = 0x2404,
    // 64-bit guest-state fields
    vmcs_link_pointer = 0x2800,
    guest_ia32_debugctl = 0x2802,
    guest_ia32_pat = 0x2804,
    guest_ia32_efer = 0x2806,
    guest_ia32_perf_global_ctrl = 0x2808,
    guest_pdpte0 = 0x280a,
    guest_pdpte1 = 0x280c,
    guest_pdpte2 = 0x280e,
    guest_pdpte3 = 0x2810,
    guest_ia32_bndcfgs = 0x2812,
    guest_ia32_rtit_ctl = 0x2814,
    guest_ia32_lbr_ctl = 0x2816,
    guest_ia32_pkrs = 0x2818,
    guest_ia32_fred_config = 0x281a,
    guest_ia32_fred_rsp1 = 0x281c,
    guest_ia32_fred_rsp2 = 0x281e,
    guest_ia32_fred_rsp3 = 0x2820,
    guest_ia32_fred_stklvls = 0x2822,
    guest_ia32_fred_ssp1 = 0x2824,
    guest_ia32_fred_ssp2 = 0x2826,
    guest_ia32_fred_ssp3 = 0x2828,
    guest_ia32_spec_ctrl = 0x282e,
    guest_deadline = 0x2830,
    // 64-bit host-state fields
    host_ia32_pat = 0x2c00,
    host_ia32_efer = 0x2c02,
    host_ia32_perf_global_ctrl = 0x2c04,
    host_ia32_pkrs = 0x2c06,
    host_ia32_fred_config = 0x2c08,
    host_ia32_fred_rsp1 = 0x2c0a,
    host_ia32_fred_rsp2 = 0x2c0c,
    host_ia32_fred_rsp3 = 0x2c0e,
    host_ia32_fred_stklvls = 0x2c10,
    host_ia32_fred_ssp1 = 0x2c12,
    host_ia32_fred_ssp2 = 0x2c14,
    host_ia32_fred_ssp3 = 0x2c16,
    host_ia32_spec_ctrl = 0x2c1a,
    // 32-bit control fields
    pin_based_controls = 0x4000,
    primary_controls = 0x4002,
    exception_bitmap = 0x4004,
    page_fault_error_code_mask = 0x4006,
    page_fault_error_code_match = 0x4008,
    cr3_target_count = 0x400a,
    exit_controls = 0x400c,
    exit_msr_store_count = 0x400e,
    exit_msr_load_count = 0x4010,
    entry_controls = 0x4012,
    entry_msr_load_count = 0x4014,
    entry_interruption_information = 0x4016,
    entry_exception_error_code = 0x4018,
    entry_instruction_length = 0x401a,
    tpr_threshold = 0x401c,
    secondary_controls = 0x401e,
    ple_gap = 0x4020,
    ple_window = 0x4022,
    instruction_timeout_control = 0x4024,
    // 32-bit read-only data fields
    instruction_error = 0x4400,
    exit_reason = 0x4402,
    exit_interruption_information = 0x4404,
    exit_interruption_error_code = 0x4406,
    idt_vectoring_information = 0x4408,
    idt_vectoring_error_code = 0x440a,
    exit_instruction_length = 0x440c,
    exit_instruction_information = 0x440e,
    // 32-bit guest-state fields
    guest_es_limit = 0x4800,
    guest_cs_limit = 0x4802,
    guest_ss_limit = 0x4804,
    guest_ds_limit = 0x4806,
    guest_fs_limit = 0x4808,
    guest_gs_limit = 0x480a,
    guest_ldtr_limit = 0x480c,
    guest_tr_limit = 0x480e,
    guest_gdtr_limit = 0x4810,
    guest_idtr_limit = 0x4812,
    guest_es_access_rights = 0x4814,
    guest_cs_access_rights = 0x4816,
    guest_ss_access_rights = 0x4818,
    guest_ds_access_rights = 0x481a,
    guest_fs_access_rights = 0x481c,
    guest_gs_access_rights = 0x481e,
    guest_ldtr_access_rights = 0x4820,
    guest_tr_access_rights = 0x4822,
    guest_interruptibility_state = 0x4824,
    guest_activity_state = 0x4826,
    guest_smbase = 0x4828,
    guest_ia32_sysenter_cs = 0x482a,
    preemption_timer_value = 0x482e,
    // 32-bit host-state field
    host_ia32_sysenter_cs = 0x4c00,
    // Natural-width control fields
    cr0_guest_host_mask = 0x6000,
    cr4_guest_host_mask = 0x6002,
    cr0_read_shadow = 0x6004,
    cr4_read_shadow = 0x6006,
    cr3_target_value_0 = 0x6008,
    cr3_target_value_1 = 0x600a,
    cr3_target_value_2 = 0x600c,
    cr3_target_value_3 = 0x600e,
    // Natural-width read-only data fields
    exit_qualification = 0x6400,
    io_rcx = 0x6402,
    io_rsi = 0x6404,
    io_rdi = 0x6406,
    io_rip = 0x6408,
    guest_linear_address = 0x640a,
    // Natural-width guest-state fields
    guest_cr0 = 0x6800,
    guest_cr3 = 0x6802,
    guest_cr4 = 0x6804,
    guest_es_base = 0x6806,
    guest_cs_base = 0x6808,
    guest_ss_base = 0x680a,
    guest_ds_base = 0x680c,
    guest_fs_base = 0x680e,
    guest_gs_base = 0x6810,
    guest_ldtr_base = 0x6812,
    guest_tr_base = 0x6814,
    guest_gdtr_base = 0x6816,
    guest_idtr_base = 0x6818,
    guest_dr7 = 0x681a,
    guest_rsp = 0x681c,
    guest_rip = 0x681e,
    guest_rflags = 0x6820,
    guest_pending_debug_exceptions = 0x6822,
    guest_ia32_sysenter_esp = 0x6824,
    guest_ia32_sysenter_eip = 0x6826,
    guest_ia32_s_cet = 0x6828,
    guest_ssp = 0x682a,
    guest_ia32_interrupt_ssp_table_addr = 0x682c,
    // Natural-width host-state fields
    host_cr0 = 0x6c00,
    host_cr3 = 0x6c02,
    host_cr4 = 0x6c04,
    host_fs_base = 0x6c06,
    host_gs_base = 0x6c08,
    host_tr_base = 0x6c0a,
    host_gdtr_base = 0x6c0c,
    host_idtr_base = 0x6c0e,
    host_ia32_sysenter_esp = 0x6c10,
    host_ia32_sysenter_eip = 0x6c12,
    host_rsp = 0x6c14,
    host_rip = 0x6c16,
    host_ia32_s_cet = 0x6c18,
    host_ssp = 0x6c1a,
    host_ia32_interrupt_ssp_table_addr = 0x6c1c,
};

constexpr std::uint32_t high(Field field) {
    return static_cast<std::uint32_t>(field) | 1U;
}

constexpr Encoding decode_encoding(Field field) {
    return decode_encoding(static_cast<std::uint32_t>(field));
}

} // namespace nestbed::vmx
