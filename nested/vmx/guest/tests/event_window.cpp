// Interrupts, NMIs and windows: what reaches L2, what leaves to L1, and in what order (SDM volume 3, "Other
// Causes of VM Exits", "Interrupt-Window Exiting and Virtual-Interrupt Delivery", "NMI-Window Exiting").
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

namespace {

L2_CODE(l2_vw_nops, 64, "nop; nop; nop; nop; vmcall");
L2_CODE(l2_vw_sti, 64, "sti; nop; nop; vmcall");
L2_CODE(l2_vw_mov_ss, 64, "movw %ss, %ax; movw %ax, %ss; nop; nop; vmcall");
L2_CODE(l2_vw_popf, 64, "pushq $0x202; popfq; nop; nop; vmcall");
L2_CODE(l2_vw_sti_hlt, 64, "sti; hlt; vmcall");

constexpr std::uint8_t vector = 0x61;

// L2 at `code`, interrupts on, with a window exit wanted.
bool want_window(L2& guest, const char* code, std::uint64_t rflags = rflags_fixed | rflags_if) {
    start_code(guest, code);
    write(Field::guest_rflags, rflags);
    return use_primary(primary::interrupt_window_exiting);
}

bool expect_at(std::uint64_t rip, const char* file = __builtin_FILE(),
               std::uint32_t line = __builtin_LINE()) {
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification", file, line);
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "VM-exit interruption information",
                 file, line);
    expect_no_vectoring(file, line);
    return expect_equal(read(Field::guest_rip), rip, "guest RIP", file, line);
}

} // namespace

#define WINDOW "Interrupt-Window Exiting and Virtual-Interrupt Delivery"

VMX_TEST(window_open, "vmx.event.interrupt_window_open",
         "An open interrupt window leaves before L2's first instruction", WINDOW) {
    L2 guest;
    if (!want_window(guest, l2_vw_nops))
        return;
    if (guest.run_to(ExitReason::interrupt_window, "the interrupt window"))
        expect_at(address_of(l2_vw_nops));
    // The control stays on until L1 clears it.
    if (guest.run_to(ExitReason::interrupt_window, "the interrupt window again"))
        expect_at(address_of(l2_vw_nops));
    clear(Field::primary_controls, primary::interrupt_window_exiting);
    guest.run_to(ExitReason::vmcall, "L2 without the control");
}
VMX_TEST(window_closed, "vmx.event.interrupt_window_if_0", "No interrupt window opens while RFLAGS.IF is 0",
         WINDOW) {
    L2 guest;
    if (want_window(guest, l2_vw_nops, rflags_fixed))
        guest.run_to(ExitReason::vmcall, "L2 runs to its VMCALL");
}
VMX_TEST(window_sti, "vmx.event.interrupt_window_sti", "The interrupt window opens one instruction after STI",
         WINDOW) {
    L2 guest;
    if (want_window(guest, l2_vw_sti, rflags_fixed) &&
        guest.run_to(ExitReason::interrupt_window, "the interrupt window")) {
        expect_at(address_of(l2_vw_sti) + 2);
        expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state");
        expect_equal(read(Field::guest_rflags), rflags_fixed | rflags_if, "RFLAGS");
    }
}
VMX_TEST(window_popf, "vmx.event.interrupt_window_popf", "The interrupt window opens right after POPF",
         WINDOW) {
    L2 guest;
    if (want_window(guest, l2_vw_popf, rflags_fixed) &&
        guest.run_to(ExitReason::interrupt_window, "the interrupt window"))
        expect_at(address_of(l2_vw_popf) + 6);
}
VMX_TEST(window_mov_ss, "vmx.event.interrupt_window_mov_ss",
         "Blocking by STI and by MOV SS, set by L1, each hold the interrupt window for one instruction",
         WINDOW) {
    for (const auto blocking : {blocking_by_sti, blocking_by_mov_ss}) {
        L2 guest;
        if (!want_window(guest, l2_vw_nops))
            return;
        write(Field::guest_interruptibility_state, blocking);
        if (guest.run_to(ExitReason::interrupt_window, "the interrupt window"))
            expect_at(address_of(l2_vw_nops) + 1);
        expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state");
    }
}
VMX_TEST(window_mov_ss_executed, "vmx.event.interrupt_window_mov_ss_executed",
         "MOV SS in L2 holds the interrupt window for one instruction, where the window opens before it",
         WINDOW) {
    L2 guest;
    start_code(guest, l2_vw_mov_ss);
    // Masked up to MOV SS by STI blocking, which L1 sets, and by nothing else.
    write(Field::guest_rip, address_of(l2_vw_mov_ss) + 3);
    if (!use_primary(primary::interrupt_window_exiting))
        return;
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::guest_interruptibility_state, blocking_by_sti);
    guest.registers.rax = nestbed::wire::kernel_data_selector;
    if (guest.run_to(ExitReason::interrupt_window, "the interrupt window")) {
        // The SDM lets MOV SS after STI block or not.
        const auto rip = read(Field::guest_rip) - address_of(l2_vw_mov_ss);
        conform::expect(rip == 5 || rip == 6, "guest RIP behind MOV SS or one instruction later");
    }
}
VMX_TEST(window_after_injection, "vmx.event.interrupt_window_after_injection",
         "An injected exception is delivered before the interrupt window is looked for", WINDOW) {
    L2 guest;
    if (!want_window(guest, l2_vw_nops))
        return;
    guest.context().resume |= 1U << 6;
    write(Field::entry_interruption_information, event(EventType::hardware_exception, 6));
    if (guest.run_to(ExitReason::interrupt_window, "the interrupt window")) {
        // The gate clears IF; IRET opens the window again.
        expect_at(address_of(l2_vw_nops));
        expect_equal(guest.context().exceptions[6], 1U, "#UD that L2 has seen");
    }
}
VMX_TEST(window_hlt, "vmx.event.interrupt_window_hlt_activity",
         "An interrupt window wakes L2 that L1 enters in the HLT state", WINDOW) {
    if ((miscellaneous() >> 6 & 1) == 0)
        return conform::not_applicable("no HLT activity state");
    L2 guest;
    if (!want_window(guest, l2_vw_nops))
        return;
    write(Field::guest_activity_state, activity_hlt);
    if (guest.run_to(ExitReason::interrupt_window, "the interrupt window"))
        expect_at(address_of(l2_vw_nops));
}
VMX_TEST(window_before_interrupt, "vmx.event.interrupt_window_before_interrupt",
         "The interrupt-window exit comes before that of an external interrupt", WINDOW) {
    count_interrupts(vector);
    L2 guest;
    if (!want_window(guest, l2_vw_nops))
        return;
    guest::disable_interrupts();
    interrupt_self(vector);
    guest.run_to(ExitReason::interrupt_window, "the interrupt window");
    expect_equal(interrupts_taken(vector), 0U, "interrupts that L1 has taken");
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has taken once it can");
}
VMX_TEST(window_sti_hlt, "vmx.event.interrupt_window_sti_hlt",
         "STI; HLT halts before the interrupt window opens, which then wakes it", WINDOW) {
    L2 guest;
    if (want_window(guest, l2_vw_sti_hlt, rflags_fixed) &&
        guest.run_to(ExitReason::interrupt_window, "the interrupt window")) {
        expect_at(address_of(l2_vw_sti_hlt) + 2);
        // The window opens at the end of HLT, which is then left or kept as an activity state.
        conform::expect(read(Field::guest_activity_state) <= activity_hlt, "activity state active or HLT");
    }
}

// External interrupts.
#define INTERRUPTS "Other Causes of VM Exits"

VMX_TEST(interrupt_exits, "vmx.event.interrupt_exits",
         "An external interrupt leaves L2 and is L1's to take, where it is not acknowledged", INTERRUPTS) {
    count_interrupts(vector);
    L2 guest;
    if (!allowed_exit().may_clear(vm_exit::acknowledge_interrupt_on_exit))
        return conform::not_applicable("interrupts are always acknowledged");
    start_code(guest, l2_vw_nops);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    guest::disable_interrupts();
    interrupt_self(vector);
    if (guest.run_to(ExitReason::external_interrupt, "the interrupt"))
        expect_at(address_of(l2_vw_nops));
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(interrupts_taken(vector), 0U, "interrupts that L1 has taken with IF = 0");
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has taken");
}
VMX_TEST(interrupt_exits_if_0, "vmx.event.interrupt_exits_if_0",
         "An external interrupt leaves L2 whatever its RFLAGS.IF", INTERRUPTS) {
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vw_nops);
    guest::disable_interrupts();
    interrupt_self(vector);
    if (guest.run_to(ExitReason::external_interrupt, "the interrupt"))
        expect_equal(read(Field::guest_rip), address_of(l2_vw_nops), "guest RIP");
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has taken");
}
VMX_TEST(interrupt_exits_blocked, "vmx.event.interrupt_exits_sti",
         "An external interrupt leaves L2 in an STI shadow, at once or after it, and no later", INTERRUPTS) {
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vw_nops);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::guest_interruptibility_state, blocking_by_sti);
    guest::disable_interrupts();
    interrupt_self(vector);
    if (guest.run_to(ExitReason::external_interrupt, "the interrupt"))
        conform::expect(read(Field::guest_rip) - address_of(l2_vw_nops) <= 1,
                        "guest RIP at the first or second instruction");
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has taken");
}
VMX_TEST(interrupt_acknowledged, "vmx.event.interrupt_acknowledged",
         "An external interrupt that is acknowledged on exit has its vector in the interruption information",
         INTERRUPTS) {
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vw_nops);
    if (!allowed_exit().may_set(vm_exit::acknowledge_interrupt_on_exit))
        return conform::not_applicable("KVM does not offer acknowledge interrupt on exit");
    set(Field::exit_controls, vm_exit::acknowledge_interrupt_on_exit);
    guest::disable_interrupts();
    interrupt_self(vector);
    if (!guest.run_to(ExitReason::external_interrupt, "the interrupt"))
        return;
    expect_equal(read(Field::exit_interruption_information), event(EventType::external_interrupt, vector),
                 "VM-exit interruption information");
    expect_no_vectoring();
    // In service now: the APIC has it, and L1 does not take it by its IDT.
    expect_equal(guest::rdmsr(0x810 + vector / 32) >> vector % 32 & 1, 1U, "ISR bit");
    expect_equal(guest::rdmsr(0x820 + vector / 32) >> vector % 32 & 1, 0U, "IRR bit");
    guest::apic::write(guest::apic::Register::end_of_interrupt, 0);
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 0U, "interrupts that L1's IDT has taken");
}
VMX_TEST(interrupt_acknowledged_two, "vmx.event.interrupt_acknowledged_two",
         "Of two external interrupts the one of higher priority is acknowledged, the other stays",
         INTERRUPTS) {
    count_interrupts(vector);
    count_interrupts(0x91);
    L2 guest;
    start_code(guest, l2_vw_nops);
    if (!allowed_exit().may_set(vm_exit::acknowledge_interrupt_on_exit))
        return conform::not_applicable("KVM does not offer acknowledge interrupt on exit");
    set(Field::exit_controls, vm_exit::acknowledge_interrupt_on_exit);
    guest::disable_interrupts();
    interrupt_self(vector);
    interrupt_self(0x91);
    if (!guest.run_to(ExitReason::external_interrupt, "the interrupt"))
        return;
    expect_equal(read(Field::exit_interruption_information), event(EventType::external_interrupt, 0x91),
                 "VM-exit interruption information");
    guest::apic::write(guest::apic::Register::end_of_interrupt, 0);
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(0x91), 0U, "of the higher that L1's IDT has taken");
    expect_equal(interrupts_taken(vector), 1U, "of the lower");
}
VMX_TEST(interrupt_acknowledged_other, "vmx.event.interrupt_acknowledge_other_exit",
         "An exit for something else acknowledges nothing, though an interrupt waits behind the TPR",
         INTERRUPTS) {
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vw_nops);
    if (!allowed_exit().may_set(vm_exit::acknowledge_interrupt_on_exit))
        return conform::not_applicable("KVM does not offer acknowledge interrupt on exit");
    set(Field::exit_controls, vm_exit::acknowledge_interrupt_on_exit);
    guest::apic::write(guest::apic::Register::task_priority, 0xf0);
    interrupt_self(vector);
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "VM-exit interruption information");
    expect_equal(guest::rdmsr(0x810 + vector / 32) >> vector % 32 & 1, 0U, "ISR bit");
    expect_equal(guest::rdmsr(0x820 + vector / 32) >> vector % 32 & 1, 1U, "IRR bit");
    guest::apic::write(guest::apic::Register::task_priority, 0);
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1's IDT has taken");
}
VMX_TEST(interrupt_to_l2, "vmx.event.interrupt_to_l2",
         "Without external-interrupt exiting an interrupt goes through L2's IDT", INTERRUPTS) {
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vw_nops);
    if (!give_interrupts_to_l2(guest))
        return;
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    guest::disable_interrupts();
    interrupt_self(vector);
    guest.run_to(ExitReason::vmcall, "L2 runs to its VMCALL");
    expect_equal(guest.context().interrupts[vector], 1U, "interrupts that L2 has taken");
    expect_equal(guest.context().last.rip, address_of(l2_vw_nops), "RIP on the stack");
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 0U, "interrupts that L1 has taken");
}
VMX_TEST(interrupt_to_l2_masked, "vmx.event.interrupt_to_l2_if_0",
         "Without external-interrupt exiting L2's IF masks an interrupt, which L1 then takes", INTERRUPTS) {
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vw_nops);
    if (!give_interrupts_to_l2(guest))
        return;
    guest::disable_interrupts();
    interrupt_self(vector);
    guest.run_to(ExitReason::vmcall, "L2 runs to its VMCALL");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has taken");
}
VMX_TEST(interrupt_to_l2_sti, "vmx.event.interrupt_to_l2_sti",
         "Without external-interrupt exiting an interrupt comes one instruction after L2's STI", INTERRUPTS) {
    L2 guest;
    start_code(guest, l2_vw_sti);
    if (!give_interrupts_to_l2(guest))
        return;
    guest::disable_interrupts();
    interrupt_self(vector);
    guest.run_to(ExitReason::vmcall, "L2 runs to its VMCALL");
    expect_equal(guest.context().interrupts[vector], 1U, "interrupts that L2 has taken");
    expect_equal(guest.context().last.rip, address_of(l2_vw_sti) + 2, "RIP on the stack");
}
VMX_TEST(interrupt_to_l2_shadow, "vmx.event.interrupt_to_l2_shadow",
         "A shadow that L1 sets holds an interrupt of L2's for one instruction", INTERRUPTS) {
    for (const auto blocking : {blocking_by_sti, blocking_by_mov_ss}) {
        L2 guest;
        start_code(guest, l2_vw_nops);
        if (!give_interrupts_to_l2(guest))
            return;
        write(Field::guest_rflags, rflags_fixed | rflags_if);
        write(Field::guest_interruptibility_state, blocking);
        guest::disable_interrupts();
        interrupt_self(vector);
        guest.run_to(ExitReason::vmcall, "L2 runs to its VMCALL");
        expect_equal(guest.context().interrupts[vector], 1U, "interrupts that L2 has taken");
        expect_equal(guest.context().last.rip, address_of(l2_vw_nops) + 1, "RIP on the stack");
        expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state");
        guest::enable_interrupts();
    }
}
VMX_TEST(interrupt_before_injected, "vmx.event.interrupt_behind_injected",
         "An injected exception is delivered first, then the pending interrupt leaves L2 from its handler",
         "Event Injection") {
    count_interrupts(vector);
    L2 guest;
    start_code(guest, l2_vw_nops);
    guest.context().resume |= 1U << 6;
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::entry_interruption_information, event(EventType::hardware_exception, 6));
    guest::disable_interrupts();
    interrupt_self(vector);
    if (!guest.run_to(ExitReason::external_interrupt, "the interrupt"))
        return;
    expect_no_vectoring();
    expect_equal(guest.context().delivered, 0U, "events whose handler has run");
    // At the handler's first instruction, with the frame on the stack.
    expect_equal(read(Field::guest_rsp), code_stack(guest) - 40, "guest RSP below the frame");
    expect_equal(*guest::pointer_to<std::uint64_t>(code_stack(guest) - 40), address_of(l2_vw_nops),
                 "RIP in the frame");
    expect_equal(read(Field::guest_rflags) & rflags_if, 0U, "RFLAGS.IF behind the gate");
    guest::enable_interrupts();
    settle();
    guest.run_to(ExitReason::vmcall, "L2 goes on");
    expect_equal(guest.context().exceptions[6], 1U, "#UD that L2 has seen");
}

} // namespace nestbed::vmx
