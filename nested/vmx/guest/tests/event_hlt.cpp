// HLT in L2, and L2 that L1 enters in the HLT state (SDM volume 3, "Guest Non-Register State", "Activity
// State").
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

namespace {

#define INTERRUPTS "Other Causes of VM Exits"

L2_CODE(l2_vl_nops, 64, "nop; nop; nop; nop; vmcall");
L2_CODE(l2_vl_sti_hlt, 64, "sti; hlt; vmcall");
L2_CODE(l2_vl_hlt, 64, "hlt; nop; vmcall");

constexpr std::uint8_t vector = 0x61;

bool expect_at(std::uint64_t rip) {
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "VM-exit interruption information");
    expect_no_vectoring();
    return expect_equal(read(Field::guest_rip), rip, "guest RIP");
}

} // namespace

VMX_TEST(hlt_exit_state, "vmx.event.hlt_exiting_activity",
         "HLT that leaves L2 leaves it in the active state, at the HLT", "Saving Non-Register State") {
    L2 guest;
    start_code(guest, l2_vl_hlt);
    if (!use_primary(primary::hlt_exiting))
        return;
    if (guest.run_to(ExitReason::hlt, "HLT")) {
        expect_equal(read(Field::guest_activity_state), activity_active, "activity state");
        expect_equal(read(Field::guest_rip), address_of(l2_vl_hlt), "guest RIP");
    }
}
VMX_TEST(hlt_interrupt_exit, "vmx.event.hlt_left_by_interrupt",
         "An interrupt leaves L2 that has halted, in the HLT state, behind its HLT", INTERRUPTS) {
    if (!has_timer())
        return conform::not_applicable("no TSC-deadline timer");
    if (!allowed_primary().may_clear(primary::hlt_exiting))
        return conform::not_applicable("HLT always exits");
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vl_hlt);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    guest::disable_interrupts();
    start_timer(2'000'000, vector);
    if (!guest.run_to(ExitReason::external_interrupt, "the interrupt"))
        return;
    // Before HLT, should the machine be so slow.
    if (read(Field::guest_rip) != address_of(l2_vl_hlt)) {
        expect_equal(read(Field::guest_rip), address_of(l2_vl_hlt) + 1, "guest RIP");
        expect_equal(read(Field::guest_activity_state), activity_hlt, "activity state");
    }
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has taken");
    // And L2 goes on where L1 lets it.
    write(Field::guest_rip, address_of(l2_vl_hlt) + 1);
    write(Field::guest_activity_state, activity_active);
    guest.run_to(ExitReason::vmcall, "L2 goes on as active");
}
VMX_TEST(hlt_interrupt_to_l2, "vmx.event.hlt_woken_by_interrupt",
         "L2 that has halted is woken by an interrupt of its own", INTERRUPTS) {
    if (!has_timer())
        return conform::not_applicable("no TSC-deadline timer");
    if (!allowed_primary().may_clear(primary::hlt_exiting))
        return conform::not_applicable("HLT always exits");
    L2 guest;
    start_code(guest, l2_vl_sti_hlt);
    if (!give_interrupts_to_l2(guest))
        return;
    guest::disable_interrupts();
    start_timer(2'000'000, vector);
    if (guest.run_to(ExitReason::vmcall, "L2 goes on behind its HLT"))
        expect_equal(guest.context().interrupts[vector], 1U, "interrupts that L2 has taken");
    expect_equal(read(Field::guest_activity_state), activity_active, "activity state");
}

namespace {

bool has_activity(std::uint64_t state) {
    if ((miscellaneous() >> (5 + state) & 1) != 0)
        return true;
    conform::not_applicable("IA32_VMX_MISC does not offer the activity state");
    return false;
}

} // namespace

VMX_TEST(hlt_activity_interrupt, "vmx.event.hlt_activity_interrupt",
         "L2 entered in the HLT state waits; a pending interrupt leaves it there", "Activity State") {
    if (!has_activity(activity_hlt))
        return;
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vl_nops);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::guest_activity_state, activity_hlt);
    guest::disable_interrupts();
    interrupt_self(vector);
    if (guest.run_to(ExitReason::external_interrupt, "the interrupt")) {
        expect_at(address_of(l2_vl_nops));
        expect_equal(read(Field::guest_activity_state), activity_hlt, "activity state");
    }
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has taken");
}
VMX_TEST(hlt_activity_timer, "vmx.event.hlt_activity_later",
         "L2 entered in the HLT state waits for an interrupt that comes later", "Activity State") {
    if (!has_activity(activity_hlt))
        return;
    if (!has_timer())
        return conform::not_applicable("no TSC-deadline timer");
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vl_nops);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::guest_activity_state, activity_hlt);
    guest::disable_interrupts();
    start_timer(2'000'000, vector);
    if (guest.run_to(ExitReason::external_interrupt, "the interrupt")) {
        expect_at(address_of(l2_vl_nops));
        expect_equal(read(Field::guest_activity_state), activity_hlt, "activity state");
    }
    guest::enable_interrupts();
    settle();
}
VMX_TEST(hlt_activity_to_l2, "vmx.event.hlt_activity_to_l2",
         "L2 entered in the HLT state is woken by an interrupt of its own", "Activity State") {
    if (!has_activity(activity_hlt))
        return;
    L2 guest;
    start_code(guest, l2_vl_nops);
    if (!give_interrupts_to_l2(guest))
        return;
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::guest_activity_state, activity_hlt);
    guest::disable_interrupts();
    interrupt_self(vector);
    guest.run_to(ExitReason::vmcall, "L2 runs to its VMCALL");
    expect_equal(guest.context().interrupts[vector], 1U, "interrupts that L2 has taken");
    expect_equal(guest.context().last.rip, address_of(l2_vl_nops), "RIP on the stack");
}

namespace {

void hlt_woken_by(std::uint32_t injected) {
    if (!has_activity(activity_hlt))
        return;
    L2 guest;
    start_code(guest, l2_vl_nops);
    guest.context().resume |= 0xf'ffff;
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::guest_activity_state, activity_hlt);
    write(Field::entry_interruption_information, injected);
    if (guest.run_to(ExitReason::vmcall, "L2 runs to its VMCALL")) {
        expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
        expect_equal(guest.context().last.rip, address_of(l2_vl_nops), "RIP on the stack");
        expect_equal(read(Field::guest_activity_state), activity_active, "activity state");
    }
}

} // namespace

#define WOKEN(name, injected, text)                                                                          \
    VMX_TEST(hlt_activity_inject_##name, "vmx.event.hlt_activity_inject_" #name,                             \
             "Injected " text " wakes L2 from the HLT state of the entry", "Activity State") {               \
        hlt_woken_by(injected);                                                                              \
    }
WOKEN(interrupt, event(EventType::external_interrupt, 0x71), "external interrupt")
WOKEN(nmi, event(EventType::nmi, 2), "NMI")
WOKEN(db, event(EventType::hardware_exception, 1), "#DB")
WOKEN(mc, event(EventType::hardware_exception, 18), "#MC")

} // namespace nestbed::vmx
