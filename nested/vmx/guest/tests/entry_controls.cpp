// What VM entry checks of the controls (SDM volume 3, "Checks on VMX Controls").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/entry_checks.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::not_applicable;
using conform::physical;

namespace {

// A bit that must be as it is, the other way round: the lowest that must be 1, or the lowest that may not be.
void break_must_be_one(Field field, Allowed allowed) {
    const auto must = allowed.zero;
    if (must == 0)
        return not_applicable("no bit must be 1");
    clear(field, must & -must);
}
void break_must_be_zero(Field field, Allowed allowed) {
    const auto may_not = ~allowed.one;
    if (may_not == 0)
        return not_applicable("every bit may be 1");
    set(field, may_not & -may_not);
}

bool want_primary(std::uint32_t bits, const char* otherwise) {
    return want(Field::primary_controls, allowed_primary(), bits, otherwise);
}
bool want_secondary(std::uint32_t bits, const char* otherwise) {
    return want_primary(primary::activate_secondary_controls, otherwise) &&
           want(Field::secondary_controls, allowed_secondary(), bits, otherwise);
}
bool want_pin(std::uint32_t bits, const char* otherwise) {
    return want(Field::pin_based_controls, allowed_pin_based(), bits, otherwise);
}

std::uint64_t beyond_physical() {
    return std::uint64_t{1} << physical_address_bits();
}

} // namespace

ENTRY_CONTROL(pin_must_be_one, "A pin-based control that must be 1 is 0") {
    break_must_be_one(Field::pin_based_controls, allowed_pin_based());
}
ENTRY_CONTROL(pin_must_be_zero, "A pin-based control that must be 0 is 1") {
    break_must_be_zero(Field::pin_based_controls, allowed_pin_based());
}
ENTRY_CONTROL(primary_must_be_one, "A primary processor-based control that must be 1 is 0") {
    break_must_be_one(Field::primary_controls, allowed_primary());
}
ENTRY_CONTROL(primary_must_be_zero, "A primary processor-based control that must be 0 is 1") {
    break_must_be_zero(Field::primary_controls, allowed_primary());
}
ENTRY_CONTROL(secondary_must_be_zero, "A secondary processor-based control that must be 0 is 1") {
    if (want_secondary(0, "no secondary controls"))
        break_must_be_zero(Field::secondary_controls, allowed_secondary());
}
ENTRY_CONTROL_GOOD(secondary_not_activated,
                   "Secondary controls are not looked at where they are not activated") {
    if ((allowed_primary().zero & primary::activate_secondary_controls) != 0)
        return not_applicable("secondary controls are always activated");
    clear(Field::primary_controls, primary::activate_secondary_controls);
    if (allowed_primary().may_set(primary::activate_secondary_controls))
        write(Field::secondary_controls, 0xffff'ffff & ~secondary::enable_ept);
}
ENTRY_CONTROL(exit_must_be_one, "A VM-exit control that must be 1 is 0") {
    break_must_be_one(Field::exit_controls, allowed_exit());
}
ENTRY_CONTROL(exit_must_be_zero, "A VM-exit control that must be 0 is 1") {
    break_must_be_zero(Field::exit_controls, allowed_exit());
}
ENTRY_CONTROL(entry_must_be_one, "A VM-entry control that must be 1 is 0") {
    break_must_be_one(Field::entry_controls, allowed_entry());
}
ENTRY_CONTROL(entry_must_be_zero, "A VM-entry control that must be 0 is 1") {
    break_must_be_zero(Field::entry_controls, allowed_entry());
}
ENTRY_CONTROL(cr3_targets, "The CR3-target count is larger than the processor has") {
    write(Field::cr3_target_count, (miscellaneous() >> 16 & 0x1ff) + 1);
}
ENTRY_CONTROL_GOOD(cr3_targets_most, "The CR3-target count is what the processor has") {
    write(Field::cr3_target_count, miscellaneous() >> 16 & 0x1ff);
}
ENTRY_CONTROL(io_bitmap_a_misaligned, "I/O bitmap A is misaligned") {
    if (want_primary(primary::use_io_bitmaps, "no I/O bitmaps"))
        set(Field::io_bitmap_a, 1);
}
ENTRY_CONTROL(io_bitmap_b_misaligned, "I/O bitmap B is misaligned") {
    if (want_primary(primary::use_io_bitmaps, "no I/O bitmaps"))
        set(Field::io_bitmap_b, 0x800);
}
ENTRY_CONTROL(io_bitmap_a_beyond, "I/O bitmap A is beyond the physical width") {
    if (want_primary(primary::use_io_bitmaps, "no I/O bitmaps"))
        set(Field::io_bitmap_a, beyond_physical());
}
ENTRY_CONTROL(io_bitmap_b_beyond, "I/O bitmap B is beyond the physical width") {
    if (want_primary(primary::use_io_bitmaps, "no I/O bitmaps"))
        set(Field::io_bitmap_b, beyond_physical());
}
ENTRY_CONTROL_GOOD(io_bitmaps_not_used,
                   "The addresses of I/O bitmaps are not looked at where they are not used") {
    clear(Field::primary_controls, primary::use_io_bitmaps);
    write(Field::io_bitmap_a, ~std::uint64_t{0});
    write(Field::io_bitmap_b, ~std::uint64_t{0});
}
ENTRY_CONTROL(msr_bitmap_misaligned, "The MSR bitmap is misaligned") {
    if (want_primary(primary::use_msr_bitmaps, "no MSR bitmaps"))
        set(Field::msr_bitmaps, 0x10);
}
ENTRY_CONTROL(msr_bitmap_beyond, "The MSR bitmap is beyond the physical width") {
    if (want_primary(primary::use_msr_bitmaps, "no MSR bitmaps"))
        set(Field::msr_bitmaps, beyond_physical());
}
ENTRY_CONTROL(tpr_misaligned, "The virtual-APIC page is misaligned") {
    if (!want_primary(primary::use_tpr_shadow, "no TPR shadow"))
        return;
    write(Field::virtual_apic_address, physical(conform::allocate_pages(1)) + 8);
    write(Field::tpr_threshold, 0);
}
ENTRY_CONTROL(tpr_beyond, "The virtual-APIC page is beyond the physical width") {
    if (!want_primary(primary::use_tpr_shadow, "no TPR shadow"))
        return;
    write(Field::virtual_apic_address, physical(conform::allocate_pages(1)) | beyond_physical());
    write(Field::tpr_threshold, 0);
}
ENTRY_CONTROL_GOOD(tpr_shadow, "A virtual-APIC page with a TPR threshold of 0") {
    if (!want_primary(primary::use_tpr_shadow, "no TPR shadow"))
        return;
    write(Field::virtual_apic_address, physical(conform::allocate_pages(1)));
    write(Field::tpr_threshold, 0);
}
ENTRY_CONTROL(tpr_threshold_reserved, "Bits 31:4 of the TPR threshold are not 0") {
    if (!want_primary(primary::use_tpr_shadow, "no TPR shadow"))
        return;
    write(Field::virtual_apic_address, physical(conform::allocate_pages(1)));
    write(Field::tpr_threshold, 0x10);
}
ENTRY_CONTROL(tpr_threshold_above,
              "The TPR threshold is above the virtual TPR, without virtualized APIC accesses") {
    if (!want_primary(primary::use_tpr_shadow, "no TPR shadow"))
        return;
    write(Field::virtual_apic_address, physical(conform::allocate_pages(1)));
    write(Field::tpr_threshold, 1);
}
ENTRY_CONTROL(virtual_nmis_without_nmi_exiting, "Virtual NMIs without NMI exiting") {
    if (want_pin(pin_based::virtual_nmis, "no virtual NMIs"))
        clear(Field::pin_based_controls, pin_based::nmi_exiting);
}
ENTRY_CONTROL(nmi_window_without_virtual_nmis, "NMI-window exiting without virtual NMIs") {
    if (want_primary(primary::nmi_window_exiting, "no NMI-window exiting"))
        clear(Field::pin_based_controls, pin_based::virtual_nmis);
}
ENTRY_CONTROL(apic_access_misaligned, "The APIC-access page is misaligned") {
    if (want_secondary(secondary::virtualize_apic_accesses, "no virtualized APIC accesses"))
        write(Field::apic_access_address, physical(conform::allocate_pages(1)) + 0x20);
}
ENTRY_CONTROL(apic_access_beyond, "The APIC-access page is beyond the physical width") {
    if (want_secondary(secondary::virtualize_apic_accesses, "no virtualized APIC accesses"))
        write(Field::apic_access_address, physical(conform::allocate_pages(1)) | beyond_physical());
}
ENTRY_CONTROL(x2apic_without_tpr_shadow, "Virtualized x2APIC mode without the TPR shadow") {
    if (want_secondary(secondary::virtualize_x2apic_mode, "no virtualized x2APIC mode"))
        clear(Field::primary_controls, primary::use_tpr_shadow);
}
ENTRY_CONTROL(apic_registers_without_tpr_shadow, "APIC-register virtualization without the TPR shadow") {
    if (want_secondary(secondary::apic_register_virtualization, "no APIC-register virtualization"))
        clear(Field::primary_controls, primary::use_tpr_shadow);
}
ENTRY_CONTROL(delivery_without_tpr_shadow, "Virtual-interrupt delivery without the TPR shadow") {
    if (want_secondary(secondary::virtual_interrupt_delivery, "no virtual-interrupt delivery"))
        clear(Field::primary_controls, primary::use_tpr_shadow);
}
ENTRY_CONTROL(x2apic_and_apic_accesses, "Virtualized x2APIC mode and virtualized APIC accesses at once") {
    if (!want_primary(primary::use_tpr_shadow, "no TPR shadow") ||
        !want_secondary(secondary::virtualize_x2apic_mode | secondary::virtualize_apic_accesses,
                        "not both are offered"))
        return;
    write(Field::virtual_apic_address, physical(conform::allocate_pages(1)));
    write(Field::apic_access_address, physical(conform::allocate_pages(1)));
    write(Field::tpr_threshold, 0);
}
ENTRY_CONTROL(delivery_without_external_interrupt,
              "Virtual-interrupt delivery without external-interrupt exiting") {
    if (!want_primary(primary::use_tpr_shadow, "no TPR shadow") ||
        !want_secondary(secondary::virtual_interrupt_delivery, "no virtual-interrupt delivery"))
        return;
    write(Field::virtual_apic_address, physical(conform::allocate_pages(1)));
    write(Field::tpr_threshold, 0);
    clear(Field::pin_based_controls, pin_based::external_interrupt_exiting);
}
ENTRY_CONTROL(posted_without_delivery, "Posted interrupts without virtual-interrupt delivery") {
    want_pin(pin_based::process_posted_interrupts, "no posted interrupts");
}
ENTRY_CONTROL(vpid_0, "VPID 0 with VPIDs enabled") {
    if (want_secondary(secondary::enable_vpid, "no VPIDs"))
        write(Field::virtual_processor_identifier, 0);
}
ENTRY_CONTROL_GOOD(vpid_1, "VPID 1 with VPIDs enabled") {
    if (want_secondary(secondary::enable_vpid, "no VPIDs"))
        write(Field::virtual_processor_identifier, 1);
}
ENTRY_CONTROL_GOOD(vpid_ffff, "VPID 0xffff with VPIDs enabled") {
    if (want_secondary(secondary::enable_vpid, "no VPIDs"))
        write(Field::virtual_processor_identifier, 0xffff);
}
ENTRY_CONTROL(unrestricted_without_ept, "An unrestricted guest without EPT") {
    if (want_secondary(secondary::unrestricted_guest, "no unrestricted guests"))
        clear(Field::secondary_controls, secondary::enable_ept);
}
ENTRY_CONTROL(pml_without_ept, "A page-modification log without EPT") {
    if (!want_secondary(secondary::enable_pml, "no page-modification log"))
        return;
    clear(Field::secondary_controls, secondary::enable_ept);
    write(Field::pml_address, physical(conform::allocate_pages(1)));
}
ENTRY_CONTROL(save_timer_without_timer, "The preemption timer is saved at exits and not activated") {
    if (!allowed_exit().may_set(vm_exit::save_vmx_preemption_timer_value))
        return not_applicable("the preemption timer cannot be saved");
    set(Field::exit_controls, vm_exit::save_vmx_preemption_timer_value);
    clear(Field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
}

// MSR areas.
#define MSR_AREA(name, text, count_field, address_field)                                                     \
    ENTRY_CONTROL(name##_misaligned, text " is misaligned") {                                                \
        write(Field::count_field, 1);                                                                        \
        write(Field::address_field, physical(conform::allocate_pages(1)) + 8);                               \
    }                                                                                                        \
    ENTRY_CONTROL(name##_beyond, text " is beyond the physical width") {                                     \
        write(Field::count_field, 1);                                                                        \
        write(Field::address_field, physical(conform::allocate_pages(1)) | beyond_physical());               \
    }                                                                                                        \
    ENTRY_CONTROL(name##_end_beyond, text " ends beyond the physical width") {                               \
        write(Field::count_field, 2);                                                                        \
        write(Field::address_field, beyond_physical() - 16);                                                 \
    }                                                                                                        \
    ENTRY_CONTROL_GOOD(name##_empty, text ": its address is not looked at where it has no entries") {        \
        write(Field::count_field, 0);                                                                        \
        write(Field::address_field, ~std::uint64_t{0});                                                      \
    }
MSR_AREA(exit_store_area, "The VM-exit MSR-store area", exit_msr_store_count, exit_msr_store_address)
MSR_AREA(exit_load_area, "The VM-exit MSR-load area", exit_msr_load_count, exit_msr_load_address)
MSR_AREA(entry_load_area, "The VM-entry MSR-load area", entry_msr_load_count, entry_msr_load_address)

// Event injection ("Checks on VM-Entry Control Fields").
namespace {
void inject(std::uint32_t information, std::uint32_t error_code = 0, std::uint32_t length = 1) {
    write(Field::entry_interruption_information, information);
    write(Field::entry_exception_error_code, error_code);
    write(Field::entry_instruction_length, length);
}
} // namespace
#define INJECTION(identifier, title, ...)                                                                    \
    ENTRY_CONTROL(inject_##identifier, title) {                                                              \
        inject(__VA_ARGS__);                                                                                 \
    }
INJECTION(type_1, "Injection of type 1, which is reserved", event_valid | 1U << 8 | 32)
INJECTION(nmi_vector_3, "Injection of an NMI with vector 3", event(EventType::nmi, 3))
INJECTION(nmi_vector_0, "Injection of an NMI with vector 0", event(EventType::nmi, 0))
INJECTION(exception_vector_32, "Injection of a hardware exception with vector 32",
          event(EventType::hardware_exception, 32))
INJECTION(exception_vector_255, "Injection of a hardware exception with vector 255",
          event(EventType::hardware_exception, 255))
INJECTION(ud_with_error_code, "Injection of #UD with an error code",
          event_with_error_code(EventType::hardware_exception, 6))
INJECTION(gp_without_error_code, "Injection of #GP without an error code",
          event(EventType::hardware_exception, 13))
INJECTION(pf_without_error_code, "Injection of #PF without an error code",
          event(EventType::hardware_exception, 14))
INJECTION(df_without_error_code, "Injection of #DF without an error code",
          event(EventType::hardware_exception, 8))
INJECTION(ac_without_error_code, "Injection of #AC without an error code",
          event(EventType::hardware_exception, 17))
INJECTION(interrupt_with_error_code, "Injection of an external interrupt with an error code",
          event_with_error_code(EventType::external_interrupt, 32))
INJECTION(nmi_with_error_code, "Injection of an NMI with an error code",
          event_with_error_code(EventType::nmi, 2))
INJECTION(software_interrupt_with_error_code, "Injection of a software interrupt with an error code",
          event_with_error_code(EventType::software_interrupt, 14))
INJECTION(reserved_bit_12, "Injection with bit 12 set", event(EventType::external_interrupt, 32) | 1U << 12)
INJECTION(reserved_bit_20, "Injection with bit 20 set", event(EventType::external_interrupt, 32) | 1U << 20)
INJECTION(reserved_bit_30, "Injection with bit 30 set", event(EventType::external_interrupt, 32) | 1U << 30)
INJECTION(error_code_bit_16, "Injection of #GP with bit 16 of its error code",
          event_with_error_code(EventType::hardware_exception, 13), 1U << 16)
INJECTION(error_code_bit_31, "Injection of #PF with bit 31 of its error code",
          event_with_error_code(EventType::hardware_exception, 14), 1U << 31)
INJECTION(length_16, "Injection of a software interrupt with an instruction length of 16",
          event(EventType::software_interrupt, 32), 0, 16)
INJECTION(software_exception_length_16, "Injection of a software exception with an instruction length of 16",
          event(EventType::software_exception, 3), 0, 16)
ENTRY_CONTROL(
    inject_length_0,
    "Injection of a software interrupt with an instruction length of 0, where that is not offered") {
    if ((miscellaneous() >> 30 & 1) != 0)
        return not_applicable("a length of 0 is offered (IA32_VMX_MISC bit 30)");
    inject(event(EventType::software_interrupt, 32), 0, 0);
}
ENTRY_CONTROL(inject_other_without_mtf, "Injection of type 7 without the monitor trap flag being offered") {
    if (allowed_primary().may_set(primary::monitor_trap_flag))
        return not_applicable("the monitor trap flag is offered");
    inject(event(EventType::other, 0));
}
ENTRY_CONTROL(inject_other_vector_1, "Injection of type 7 with vector 1") {
    inject(event(EventType::other, 1));
}
ENTRY_CONTROL_GOOD(inject_not_valid, "Nothing of an injection that is not valid is looked at") {
    inject(0x7fff'ffff, ~0U, ~0U);
}

} // namespace nestbed::vmx
