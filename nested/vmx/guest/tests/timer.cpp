// The VMX-preemption timer (SDM volume 3, "VMX-Preemption Timer").
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

#define TIMER "VMX-Preemption Timer"

L2_CODE(l2_vt_nops, 64, "nop; nop; vmcall");
L2_CODE(l2_vt_spin, 64, "1: pause; jmp 1b");
// Until the TSC has passed RSI, which is at (%rdi) then.
L2_CODE(l2_vt_wait, 64,
        "1: rdtsc; shlq $32, %rdx; orq %rdx, %rax; movq %rax, (%rdi); cmpq %rsi, %rax; jb 1b; vmcall");
L2_CODE(l2_vt_hlt, 64, "hlt; nop; vmcall");

unsigned rate() {
    return static_cast<unsigned>(miscellaneous() & 0x1f);
}
// In units of the timer, from ticks of the TSC.
std::uint64_t units(std::uint64_t ticks) {
    return ticks >> rate();
}

constexpr std::uint64_t far = 0xffff'ffff; // no test waits for that

// L2 at `code` with a timer of `value` units, interrupts on and exiting: where L0's timer is an interrupt,
// nothing of L2's state stands in its way.
bool start_timer_at(L2& guest, const char* code, std::uint64_t value) {
    start_code(guest, code, reinterpret_cast<std::uint64_t>(&guest.context().value[0]));
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::preemption_timer_value, value);
    return use_pin_based(pin_based::activate_vmx_preemption_timer);
}

bool expect_expired(L2& guest, std::uint64_t rip, const char* file = __builtin_FILE(),
                    std::uint32_t line = __builtin_LINE()) {
    if (!guest.run_to(ExitReason::preemption_timer_expired, "the VMX-preemption timer", file, line))
        return false;
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification", file, line);
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "VM-exit interruption information",
                 file, line);
    expect_no_vectoring(file, line);
    return rip == 0 || expect_equal(read(Field::guest_rip), rip, "guest RIP", file, line);
}

bool may_save() {
    if (allowed_exit().may_set(vm_exit::save_vmx_preemption_timer_value))
        return true;
    conform::not_applicable("KVM does not offer to save the timer");
    return false;
}

} // namespace

VMX_TEST(timer_zero, "vmx.timer.zero", "A timer of 0 leaves L2 before its first instruction, at each entry",
         TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, 0))
        return;
    for (int i = 0; i < 5; ++i)
        if (!expect_expired(guest, address_of(l2_vt_nops)))
            return;
    clear(Field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
    guest.run_to(ExitReason::vmcall, "L2 without the timer");
}
VMX_TEST(timer_zero_if_0, "vmx.timer.zero_if_0", "A timer of 0 leaves L2 whatever RFLAGS.IF and the shadow",
         TIMER) {
    for (const auto blocking : {std::uint64_t{0}, blocking_by_mov_ss, blocking_by_nmi}) {
        L2 guest;
        if (!start_timer_at(guest, l2_vt_nops, 0))
            return;
        write(Field::guest_rflags, rflags_fixed);
        write(Field::guest_interruptibility_state, blocking);
        if (!expect_expired(guest, address_of(l2_vt_nops)))
            return;
        expect_equal(read(Field::guest_interruptibility_state), blocking, "interruptibility state");
    }
}
VMX_TEST(timer_zero_injection, "vmx.timer.zero_after_injection",
         "With a timer of 0 an injected event is delivered first: L2 is left at its handler", TIMER) {
    for (const auto injected : {event(EventType::external_interrupt, 0x51),
                                event(EventType::hardware_exception, 6), event(EventType::nmi, 2)}) {
        L2 guest;
        if (!start_timer_at(guest, l2_vt_nops, 0))
            return;
        write(Field::entry_interruption_information, injected);
        const auto* const gate = gate_of(guest, static_cast<std::uint8_t>(injected));
        const auto handler = (gate[0] & 0xffff) | (gate[0] >> 48 & 0xffff) << 16 | gate[1] << 32;
        if (!expect_expired(guest, handler))
            return;
        expect_equal(read(Field::guest_rsp), code_stack(guest) - 40, "guest RSP, below the frame");
        expect_equal(read(Field::entry_interruption_information) >> 31, 0U,
                     "VM-entry interruption information");
    }
}
VMX_TEST(timer_zero_hlt, "vmx.timer.zero_hlt",
         "A timer of 0 leaves L2 that is entered in the HLT state, which is kept", TIMER) {
    if ((miscellaneous() >> 6 & 1) == 0)
        return conform::not_applicable("no HLT activity state");
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, 0))
        return;
    write(Field::guest_activity_state, activity_hlt);
    if (expect_expired(guest, address_of(l2_vt_nops)))
        expect_equal(read(Field::guest_activity_state), activity_hlt, "activity state");
}
VMX_TEST(timer_zero_save, "vmx.timer.zero_save", "The timer that has expired is saved as 0", TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, 0) || !may_save())
        return;
    set(Field::exit_controls, vm_exit::save_vmx_preemption_timer_value);
    if (expect_expired(guest, address_of(l2_vt_nops)))
        expect_equal(read(Field::preemption_timer_value), 0U, "the timer's value");
}
VMX_TEST(timer_expires, "vmx.timer.expires", "The timer leaves L2 that spins, no earlier than its value says",
         TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_spin, units(2'000'000)))
        return;
    for (int i = 0; i < 3; ++i) {
        write(Field::guest_rip, address_of(l2_vt_spin));
        const auto begin = guest::rdtsc();
        if (!expect_expired(guest, 0))
            return;
        const auto took = guest::rdtsc() - begin;
        // One unit less: the counter may be about to step at the entry.
        expect(took >= (units(2'000'000) - 1) << rate(), Text{"ticks of the TSC it took: ", took});
        expect_equal(read(Field::preemption_timer_value), units(2'000'000), "the timer's value, not saved");
    }
}
VMX_TEST(timer_expires_if_0, "vmx.timer.expires_if_0", "The timer leaves L2 that waits with RFLAGS.IF = 0",
         TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_wait, units(2'000'000)))
        return;
    write(Field::guest_rflags, rflags_fixed);
    // Ends by itself: a host whose own interrupts wait for L2's IF would hang with it.
    guest.registers.rsi = guest::rdtsc() + 100'000'000;
    expect_expired(guest, 0);
}
VMX_TEST(timer_rate, "vmx.timer.rate", "The timer counts at the rate that IA32_VMX_MISC says, to a third",
         TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_wait, far) || !may_save())
        return;
    set(Field::exit_controls, vm_exit::save_vmx_preemption_timer_value);
    // L0's own work around the entry and the exit counts or does not, so a long run.
    constexpr std::uint64_t ticks = 60'000'000;
    const auto begin = guest::rdtsc();
    guest.registers.rsi = begin + ticks;
    if (!guest.run_to(ExitReason::vmcall, "VMCALL"))
        return;
    const auto gone = (far - read(Field::preemption_timer_value)) << rate();
    const auto took = guest.context().value[0] - begin;
    expect(gone >= took - took / 3 && gone <= took + took / 3,
           Text{"the timer counted ", gone, " ticks, the TSC ", took});
}
VMX_TEST(timer_save, "vmx.timer.save", "With the control each exit saves the timer, which goes on from there",
         TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_wait, far) || !may_save())
        return;
    set(Field::exit_controls, vm_exit::save_vmx_preemption_timer_value);
    auto last = far;
    for (int i = 0; i < 4; ++i) {
        write(Field::guest_rip, address_of(l2_vt_wait));
        guest.registers.rsi = guest::rdtsc() + 1'000'000;
        if (!guest.run_to(ExitReason::vmcall, "VMCALL"))
            return;
        const auto now = read(Field::preemption_timer_value);
        expect(now < last, Text{"the timer, before ", last, ", after ", now});
        last = now;
    }
}
VMX_TEST(timer_no_save, "vmx.timer.no_save", "Without the control the timer's field stays as L1 wrote it",
         TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_wait, far))
        return;
    clear(Field::exit_controls, vm_exit::save_vmx_preemption_timer_value);
    guest.registers.rsi = guest::rdtsc() + 1'000'000;
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(read(Field::preemption_timer_value), far, "the timer's value");
}
VMX_TEST(timer_off_save, "vmx.timer.off", "Without the timer L2 runs on with a value of 0", TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_wait, 0))
        return;
    clear(Field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
    guest.registers.rsi = guest::rdtsc() + 1'000'000;
    guest.run_to(ExitReason::vmcall, "VMCALL");
}
VMX_TEST(timer_not_left_over, "vmx.timer.not_left_over",
         "A timer that L2 was left before does not come in the next run without one", TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, units(3'000'000)))
        return;
    // Where the host is busy the timer comes first: once more then.
    for (int i = 0; i < 100 && guest.run() != ExitReason::vmcall; ++i)
        write(Field::guest_rip, address_of(l2_vt_nops));
    expect_equal(read(Field::exit_reason), static_cast<std::uint32_t>(ExitReason::vmcall),
                 "exit reason: VMCALL before the timer");
    clear(Field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
    start_code(guest, l2_vt_wait, reinterpret_cast<std::uint64_t>(&guest.context().value[0]));
    guest.registers.rsi = guest::rdtsc() + 8'000'000;
    guest.run_to(ExitReason::vmcall, "VMCALL long after it");
}
VMX_TEST(timer_restarts, "vmx.timer.restarts", "Each entry starts the timer anew with the field's value",
         TIMER) {
    L2 guest;
    constexpr std::uint64_t ticks = 40'000'000;
    if (!start_timer_at(guest, l2_vt_wait, units(ticks)))
        return;
    // Together they are far longer than the timer.
    for (int i = 0; i < 6; ++i) {
        write(Field::guest_rip, address_of(l2_vt_wait));
        const auto begin = guest::rdtsc();
        guest.registers.rsi = begin + ticks / 4;
        const auto reason = guest.run();
        const auto took = guest::rdtsc() - begin;
        // Where the host is busy a run may take longer than the timer.
        expect(reason == ExitReason::vmcall ||
                   (reason == ExitReason::preemption_timer_expired && took >= ticks - (1U << rate())),
               Text{"exit reason ", static_cast<std::uint32_t>(reason), " after ", took,
                    " ticks: VMCALL before the timer"});
    }
}
VMX_TEST(timer_two_vmcs, "vmx.timer.two_vmcs", "The timer is each VMCS's own", TIMER) {
    L2 first;
    L2 second;
    if (!start_timer_at(second, l2_vt_wait, far))
        return;
    first.load();
    if (!start_timer_at(first, l2_vt_nops, 0))
        return;
    for (int i = 0; i < 3; ++i) {
        first.load();
        if (!expect_expired(first, address_of(l2_vt_nops)))
            return;
        second.load();
        write(Field::guest_rip, address_of(l2_vt_wait));
        second.registers.rsi = guest::rdtsc() + 100'000;
        if (!second.run_to(ExitReason::vmcall, "the other L2"))
            return;
    }
}
VMX_TEST(timer_hlt_state, "vmx.timer.hlt_activity",
         "The timer leaves L2 that waits in the HLT state, which is kept", TIMER) {
    if ((miscellaneous() >> 6 & 1) == 0)
        return conform::not_applicable("no HLT activity state");
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, units(2'000'000)))
        return;
    write(Field::guest_activity_state, activity_hlt);
    if (expect_expired(guest, address_of(l2_vt_nops)))
        expect_equal(read(Field::guest_activity_state), activity_hlt, "activity state");
}
VMX_TEST(timer_hlt, "vmx.timer.hlt", "The timer leaves L2 that has halted, behind its HLT, in the HLT state",
         TIMER) {
    if (!allowed_primary().may_clear(primary::hlt_exiting))
        return conform::not_applicable("HLT always exits");
    L2 guest;
    if (!start_timer_at(guest, l2_vt_hlt, units(20'000'000)))
        return;
    if (expect_expired(guest, address_of(l2_vt_hlt) + 1))
        expect_equal(read(Field::guest_activity_state), activity_hlt, "activity state");
}
VMX_TEST(timer_before_interrupt_window, "vmx.timer.before_interrupt_window",
         "An expired timer comes before the interrupt window", TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, 0) || !use_primary(primary::interrupt_window_exiting))
        return;
    if (!expect_expired(guest, address_of(l2_vt_nops)))
        return;
    clear(Field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
    guest.run_to(ExitReason::interrupt_window, "the interrupt window without the timer");
}
VMX_TEST(timer_before_nmi_window, "vmx.timer.before_nmi_window",
         "An expired timer comes before the NMI window", TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, 0) || !use_pin_based(pin_based::nmi_exiting) ||
        !use_pin_based(pin_based::virtual_nmis) || !use_primary(primary::nmi_window_exiting))
        return;
    if (!expect_expired(guest, address_of(l2_vt_nops)))
        return;
    clear(Field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
    guest.run_to(ExitReason::nmi_window, "the NMI window without the timer");
}
VMX_TEST(timer_before_interrupt, "vmx.timer.before_interrupt",
         "An expired timer comes before an external interrupt", TIMER) {
    count_interrupts(0x62);
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, 0))
        return;
    guest::disable_interrupts();
    interrupt_self(0x62);
    expect_expired(guest, address_of(l2_vt_nops));
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(0x62), 1U, "interrupts that L1 has taken");
}
VMX_TEST(timer_behind_debug, "vmx.timer.behind_pending_debug",
         "A pending debug exception comes before an expired timer", TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, 0))
        return;
    guest.intercept_exception(1);
    set(Field::guest_rflags, rflags_tf);
    write(Field::guest_pending_debug_exceptions, pending_bs);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#DB"))
        return;
    expect_equal(read(Field::exit_qualification), 1U << 14, "exit qualification");
    expect_equal(read(Field::guest_rip), address_of(l2_vt_nops), "guest RIP");
    clear(Field::guest_rflags, rflags_tf);
    expect_expired(guest, address_of(l2_vt_nops));
}
VMX_TEST(timer_failed_entry, "vmx.timer.failed_entry", "A VM entry that fails late starts no timer", TIMER) {
    L2 guest;
    if (!start_timer_at(guest, l2_vt_nops, 0))
        return;
    write(Field::guest_rflags, 0);
    const auto entry = guest.try_run();
    expect_equal(entry.reason, 0x8000'0021U, "exit reason");
    expect_equal(read(Field::preemption_timer_value), 0U, "the timer's value");
    write(Field::guest_rflags, rflags_fixed);
    clear(Field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
    guest.run_to(ExitReason::vmcall, "L2 without the timer");
}

} // namespace nestbed::vmx
