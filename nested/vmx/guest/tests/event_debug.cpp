// Debug exceptions across entries and exits: pending ones, single step, the monitor trap flag (SDM volume 3,
// "Guest Non-Register State", "Delivery of Pending Debug Exceptions After VM Entry", "Monitor Trap Flag").
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

namespace {

#define PENDING "Delivery of Pending Debug Exceptions After VM Entry"
#define SAVED "Saving Non-Register State"
#define EXITS "Basic VM-Exit Information"
#define MTF "Monitor Trap Flag"

L2_CODE(l2_vd_nops, 64, "nop; nop; nop; nop; vmcall");
L2_CODE(l2_vd_cpuid, 64, "nop; cpuid; nop; vmcall");
L2_CODE(l2_vd_int3, 64, "int3; nop; vmcall");
L2_CODE(l2_vd_read, 64, "movq (%rsi), %rax; nop; vmcall");
L2_CODE(l2_vd_mov_ss_read, 64, "movw (%rsi), %ss; cpuid; nop; vmcall");
L2_CODE(l2_vd_ud2, 64, "ud2; vmcall");
L2_CODE(l2_vd_rep, 64, "rep lodsb; nop; vmcall");
L2_CODE(l2_vd_hlt, 64, "hlt; nop; vmcall");
L2_CODE(l2_vd_popf, 64, "popfq; nop; vmcall");
L2_CODE(l2_vd_out, 64, "outb %al, $0x80; nop; vmcall");

constexpr std::uint64_t dr6_fixed = 0xffff'0ff0;
constexpr std::uint64_t bs = 1U << 14;

std::uint64_t dr6() {
    std::uint64_t value = 0;
    asm volatile("movq %%dr6, %0" : "=r"(value));
    return value;
}
void set_dr6(std::uint64_t value) {
    asm volatile("movq %0, %%dr6" : : "r"(value));
}
void set_dr0(std::uint64_t value) {
    asm volatile("movq %0, %%dr0" : : "r"(value));
}

// DR7 of the guest state, for L2.
void use_dr7(std::uint64_t value) {
    set(Field::entry_controls, vm_entry::load_debug_controls);
    write(Field::guest_dr7, value);
}

// L2 at `code`, which it has run to its VMCALL before: L0 has all that it needs by then, and does not step in
// at the instruction that is looked at.
void start_again(L2& guest, const char* code) {
    start_code(guest, code);
    write(Field::guest_rflags, rflags_fixed);
    auto& context = guest.context();
    context.hook = [](guest::ExceptionFrame&) { return true; };
    for (int i = 0; i < 4; ++i) {
        const auto entry = guest.try_run();
        if (!entry.exited() || entry.basic() == ExitReason::vmcall)
            break;
        guest.skip();
    }
    context.hook = nullptr;
    context.delivered = 0;
    for (auto& count : context.exceptions)
        count = 0;
    start_code(guest, code);
    write(Field::guest_rflags, rflags_fixed);
}

// An intercepted #DB: a trap that has not reached DR6.
bool expect_db(L2& guest, std::uint64_t qualification, std::uint64_t rip, const char* file = __builtin_FILE(),
               std::uint32_t line = __builtin_LINE()) {
    if (!guest.run_to(ExitReason::exception_or_nmi, "#DB", file, line))
        return false;
    expect_equal(read(Field::exit_interruption_information) & ~std::uint64_t{1U << 12},
                 event(EventType::hardware_exception, 1), "VM-exit interruption information", file, line);
    expect_equal(read(Field::exit_qualification), qualification, "exit qualification", file, line);
    expect_equal(dr6(), dr6_fixed, "DR6, which the exit leaves alone", file, line);
    return expect_equal(read(Field::guest_rip), rip, "guest RIP", file, line);
}

} // namespace

// Single step.
VMX_TEST(step_in_l2, "vmx.event.step_in_l2",
         "TF of L2 traps into L2 after each of its instructions, not before the first", "VM Entries") {
    L2 guest;
    start_again(guest, l2_vd_nops);
    guest.context().resume |= 2;
    set_dr6(dr6_fixed);
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    static std::uint64_t first;
    first = 0;
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        if (first == 0)
            first = frame.rip;
        return true;
    };
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(first, address_of(l2_vd_nops) + 1, "RIP of the first #DB");
    expect_equal(guest.context().exceptions[1], 4U, "#DB that L2 has seen");
    expect_equal(dr6() & bs, bs, "DR6.BS");
}
VMX_TEST(step_exits, "vmx.event.step_exits",
         "An intercepted single-step trap leaves L2 with BS in the exit qualification and DR6 as it was",
         EXITS) {
    L2 guest;
    start_again(guest, l2_vd_nops);
    guest.intercept_exception(1);
    set_dr6(dr6_fixed);
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        if (!expect_db(guest, bs, address_of(l2_vd_nops) + i))
            return;
        expect_equal(read(Field::guest_rflags) & rflags_tf, rflags_tf, "RFLAGS.TF");
        // What has been delivered, as an exit, is pending no longer; L1 may not leave BS out where the entry
        // asks for it, with TF and a shadow, of which there is none.
        expect_equal(read(Field::guest_pending_debug_exceptions), 0U, "pending debug exceptions");
        expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state");
    }
}
VMX_TEST(step_over_exit, "vmx.event.step_over_exit",
         "An instruction that leaves L2 makes no single-step trap: it has not been executed", SAVED) {
    L2 guest;
    start_again(guest, l2_vd_cpuid);
    set_dr6(dr6_fixed);
    guest.context().resume |= 2;
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    expect_equal(guest.context().exceptions[1], 1U, "#DB that L2 has seen, of the NOP");
    expect_equal(read(Field::guest_pending_debug_exceptions), 0U, "pending debug exceptions");
    expect_equal(read(Field::guest_rflags) & rflags_tf, rflags_tf, "RFLAGS.TF");
    // Over the CPUID without a trap, as L1 wants it; then one of the NOP behind it.
    guest.skip();
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(guest.context().exceptions[1], 2U, "#DB that L2 has seen");
    expect_equal(guest.context().last.rip, address_of(l2_vd_cpuid) + 4, "RIP of the last");
}
VMX_TEST(step_emulated, "vmx.event.step_over_l0",
         "An instruction that L0 completes for L2 (OUT) makes its single-step trap", "VM Entries") {
    L2 guest;
    start_again(guest, l2_vd_out);
    guest.intercept_exception(1);
    set_dr6(dr6_fixed);
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    expect_db(guest, bs, address_of(l2_vd_out) + 2);
}
VMX_TEST(step_int3, "vmx.event.step_int3",
         "INT3 with TF leaves L2 as #BP where that is intercepted, with no single-step trap", EXITS) {
    L2 guest;
    start_again(guest, l2_vd_int3);
    guest.intercept_exception(1);
    guest.intercept_exception(3);
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#BP"))
        return;
    expect_equal(read(Field::exit_interruption_information), event(EventType::software_exception, 3),
                 "VM-exit interruption information");
    expect_equal(read(Field::exit_instruction_length), 1U, "VM-exit instruction length");
    expect_equal(read(Field::guest_rip), address_of(l2_vd_int3), "guest RIP");
}

// Pending debug exceptions that L1 gives L2.
VMX_TEST(pending_bs_delivered, "vmx.event.pending_bs", "A pending BS is a #DB before L2's first instruction",
         PENDING) {
    L2 guest;
    start_code(guest, l2_vd_nops);
    set_dr6(dr6_fixed);
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rflags &= ~rflags_tf;
        return true;
    };
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    write(Field::guest_pending_debug_exceptions, pending_bs);
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(guest.context().exceptions[1], 1U, "#DB that L2 has seen");
    expect_equal(guest.context().last.rip, address_of(l2_vd_nops), "RIP on the stack");
    expect_equal(dr6(), dr6_fixed | bs, "DR6");
}
VMX_TEST(pending_bs_exits, "vmx.event.pending_bs_exits",
         "A pending BS leaves L2 before its first instruction where #DB is intercepted", PENDING) {
    L2 guest;
    start_code(guest, l2_vd_nops);
    guest.intercept_exception(1);
    set_dr6(dr6_fixed);
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    write(Field::guest_pending_debug_exceptions, pending_bs);
    if (expect_db(guest, bs, address_of(l2_vd_nops)))
        expect_equal(read(Field::guest_pending_debug_exceptions), 0U,
                     "pending debug exceptions after the exit");
}
VMX_TEST(pending_breakpoint, "vmx.event.pending_breakpoint",
         "A pending breakpoint (B0 with the enabled bit) is a #DB before L2's first instruction", PENDING) {
    L2 guest;
    start_code(guest, l2_vd_nops);
    guest.context().resume |= 2;
    set_dr6(dr6_fixed);
    set_dr0(0xffff'8000'0000'0000);
    use_dr7(0x402 | 1U << 16);
    write(Field::guest_pending_debug_exceptions, pending_enabled_breakpoint | 1);
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(guest.context().exceptions[1], 1U, "#DB that L2 has seen");
    expect_equal(guest.context().last.rip, address_of(l2_vd_nops), "RIP on the stack");
    expect_equal(dr6() & ~std::uint64_t{0xe}, dr6_fixed | 1, "DR6, but for breakpoints that are not enabled");
}
VMX_TEST(pending_none, "vmx.event.pending_not_enabled", "A pending B0 without the enabled bit is no #DB",
         PENDING) {
    L2 guest;
    start_code(guest, l2_vd_nops);
    set_dr6(dr6_fixed);
    write(Field::guest_pending_debug_exceptions, 1);
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}
VMX_TEST(pending_shadow, "vmx.event.pending_mov_ss",
         "Pending debug exceptions wait for one instruction behind MOV SS blocking", PENDING) {
    L2 guest;
    start_again(guest, l2_vd_nops);
    guest.intercept_exception(1);
    set_dr6(dr6_fixed);
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    write(Field::guest_pending_debug_exceptions, pending_bs);
    write(Field::guest_interruptibility_state, blocking_by_mov_ss);
    expect_db(guest, bs, address_of(l2_vd_nops) + 1);
}
VMX_TEST(pending_with_injection, "vmx.event.pending_dropped_by_exception",
         "Pending debug exceptions are lost where a hardware exception is injected", PENDING) {
    L2 guest;
    start_code(guest, l2_vd_nops);
    guest.intercept_exception(1);
    guest.context().resume |= 1U << 6;
    set_dr6(dr6_fixed);
    write(Field::guest_pending_debug_exceptions, pending_enabled_breakpoint | 1);
    write(Field::entry_interruption_information, event(EventType::hardware_exception, 6));
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(guest.context().exceptions[6], 1U, "#UD that L2 has seen");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
}
VMX_TEST(pending_with_interrupt, "vmx.event.pending_dropped_by_interrupt",
         "Pending debug exceptions are lost where an external interrupt or an NMI is injected", PENDING) {
    for (const auto injected : {event(EventType::external_interrupt, 0x51), event(EventType::nmi, 2)}) {
        L2 guest;
        start_code(guest, l2_vd_nops);
        guest.intercept_exception(1);
        write(Field::guest_rflags, rflags_fixed | rflags_if);
        write(Field::guest_pending_debug_exceptions, pending_enabled_breakpoint | 1);
        write(Field::entry_interruption_information, injected);
        guest.run_to(ExitReason::vmcall, "VMCALL");
        expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    }
}

// Data breakpoints, and what an exit saves of them.
VMX_TEST(breakpoint_exits, "vmx.event.breakpoint_exits",
         "An intercepted data breakpoint leaves L2 with B0 in the exit qualification", EXITS) {
    L2 guest;
    start_code(guest, l2_vd_read);
    guest.intercept_exception(1);
    guest.registers.rsi = reinterpret_cast<std::uint64_t>(&guest.context().value[2]);
    set_dr0(guest.registers.rsi);
    set_dr6(dr6_fixed);
    use_dr7(0x401 | 0xbU << 16); // reads and writes, 8 bytes
    expect_db(guest, 1, address_of(l2_vd_read) + 3);
}
VMX_TEST(breakpoint_shadow_saved, "vmx.event.breakpoint_saved",
         "An exit right behind MOV SS that met a data breakpoint saves it as a pending debug exception",
         SAVED) {
    L2 guest;
    auto& selector = guest.context().value[2];
    selector = nestbed::wire::kernel_data_selector;
    guest.registers.rsi = reinterpret_cast<std::uint64_t>(&selector);
    start_again(guest, l2_vd_mov_ss_read);
    guest.registers.rsi = reinterpret_cast<std::uint64_t>(&selector);
    set_dr0(guest.registers.rsi);
    set_dr6(dr6_fixed);
    use_dr7(0x401 | 0x7U << 16); // reads and writes, 2 bytes
    if (!guest.run_to(ExitReason::cpuid, "CPUID in the shadow of MOV SS"))
        return;
    expect_equal(read(Field::guest_interruptibility_state), blocking_by_mov_ss, "interruptibility state");
    expect_equal(read(Field::guest_pending_debug_exceptions) & (pending_enabled_breakpoint | 1),
                 pending_enabled_breakpoint | 1, "pending debug exceptions");
    expect_equal(dr6(), dr6_fixed, "DR6");
    // Over the CPUID, with the shadow ended: the trap comes now.
    guest.skip();
    write(Field::guest_interruptibility_state, 0);
    guest.intercept_exception(1);
    expect_db(guest, 1, address_of(l2_vd_mov_ss_read) + 4);
}
VMX_TEST(breakpoint_instruction, "vmx.event.breakpoint_instruction",
         "An intercepted instruction breakpoint leaves L2 at its instruction, and RF of the guest passes it",
         EXITS) {
    L2 guest;
    start_code(guest, l2_vd_nops);
    guest.intercept_exception(1);
    set_dr0(address_of(l2_vd_nops) + 2);
    set_dr6(dr6_fixed);
    use_dr7(0x401);
    if (!expect_db(guest, 1, address_of(l2_vd_nops) + 2))
        return;
    set(Field::guest_rflags, rflags_rf);
    guest.run_to(ExitReason::vmcall, "L2 goes on with RFLAGS.RF = 1");
    expect_equal(read(Field::guest_rflags) & rflags_rf, 0U, "RFLAGS.RF after it");
}
VMX_TEST(general_detect, "vmx.event.general_detect",
         "MOV DR with DR7.GD leaves L2 as #DB with BD in the exit qualification", EXITS) {
    L2 guest;
    auto code = [] {
        std::uint64_t value = 0;
        asm volatile("movq %%dr6, %0" : "=r"(value));
    };
    guest.start(code);
    guest.intercept_exception(1);
    set_dr6(dr6_fixed);
    use_dr7(0x400 | 1U << 13);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#DB"))
        return;
    expect_equal(read(Field::exit_qualification), 1U << 13, "exit qualification");
    expect_equal(read(Field::exit_interruption_information) & 0x8000'07ff,
                 event(EventType::hardware_exception, 1), "VM-exit interruption information");
}

// Monitor trap flag.
namespace {

bool use_mtf(L2& guest, const char* code) {
    start_code(guest, code);
    return use_primary(primary::monitor_trap_flag);
}
bool expect_mtf(L2& guest, std::uint64_t rip, const char* file = __builtin_FILE(),
                std::uint32_t line = __builtin_LINE()) {
    if (!guest.run_to(ExitReason::monitor_trap_flag, "the monitor trap flag", file, line))
        return false;
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification", file, line);
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "VM-exit interruption information",
                 file, line);
    expect_no_vectoring(file, line);
    return expect_equal(read(Field::guest_rip), rip, "guest RIP", file, line);
}

} // namespace

VMX_TEST(mtf_each, "vmx.event.mtf_each", "The monitor trap flag leaves L2 after each instruction", MTF) {
    L2 guest;
    if (!use_mtf(guest, l2_vd_nops))
        return;
    for (std::uint64_t i = 1; i <= 4; ++i)
        if (!expect_mtf(guest, address_of(l2_vd_nops) + i))
            return;
    guest.run_to(ExitReason::vmcall, "VMCALL leaves by itself");
}
VMX_TEST(mtf_injected_event, "vmx.event.mtf_after_injection",
         "The monitor trap flag leaves L2 at the first instruction of an injected event's handler", MTF) {
    L2 guest;
    if (!use_mtf(guest, l2_vd_nops))
        return;
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x55));
    const auto* const gate = gate_of(guest, 0x55);
    const auto handler = (gate[0] & 0xffff) | (gate[0] >> 48 & 0xffff) << 16 | gate[1] << 32;
    if (expect_mtf(guest, handler))
        expect_equal(read(Field::guest_rsp), code_stack(guest) - 40, "guest RSP, below the frame");
}
VMX_TEST(mtf_fault, "vmx.event.mtf_fault",
         "The monitor trap flag leaves L2 at the first instruction of a fault's handler", MTF) {
    L2 guest;
    if (!use_mtf(guest, l2_vd_ud2))
        return;
    const auto* const gate = gate_of(guest, 6);
    const auto handler = (gate[0] & 0xffff) | (gate[0] >> 48 & 0xffff) << 16 | gate[1] << 32;
    expect_mtf(guest, handler);
}
VMX_TEST(mtf_over_l0, "vmx.event.mtf_over_l0",
         "The monitor trap flag leaves L2 after an instruction that L0 completes (OUT)", MTF) {
    L2 guest;
    if (use_mtf(guest, l2_vd_out))
        expect_mtf(guest, address_of(l2_vd_out) + 2);
}
VMX_TEST(mtf_rep, "vmx.event.mtf_rep", "The monitor trap flag leaves L2 after one iteration of REP", MTF) {
    L2 guest;
    if (!use_mtf(guest, l2_vd_rep))
        return;
    guest.registers.rcx = 3;
    guest.registers.rsi = address_of(l2_vd_nops);
    if (expect_mtf(guest, address_of(l2_vd_rep)))
        expect_equal(guest.registers.rcx, 2U, "RCX");
}
VMX_TEST(mtf_before_step, "vmx.event.mtf_before_step",
         "The monitor trap flag comes before a single-step trap, which is saved as pending", MTF) {
    L2 guest;
    if (!use_mtf(guest, l2_vd_nops))
        return;
    guest.intercept_exception(1);
    set_dr6(dr6_fixed);
    write(Field::guest_rflags, rflags_fixed | rflags_tf);
    if (!expect_mtf(guest, address_of(l2_vd_nops) + 1))
        return;
    expect_equal(read(Field::guest_pending_debug_exceptions), pending_bs, "pending debug exceptions");
    clear(Field::primary_controls, primary::monitor_trap_flag);
    expect_db(guest, bs, address_of(l2_vd_nops) + 1);
}
VMX_TEST(mtf_before_interrupt, "vmx.event.mtf_before_windows",
         "The monitor trap flag comes before the interrupt window that the instruction opens", MTF) {
    L2 guest;
    if (!use_mtf(guest, l2_vd_popf) || !use_primary(primary::interrupt_window_exiting))
        return;
    *guest::pointer_to<std::uint64_t>(code_stack(guest)) = rflags_fixed | rflags_if;
    expect_mtf(guest, address_of(l2_vd_popf) + 1);
    clear(Field::primary_controls, primary::monitor_trap_flag);
    guest.run_to(ExitReason::interrupt_window, "the interrupt window");
}
VMX_TEST(mtf_hlt, "vmx.event.mtf_hlt", "The monitor trap flag leaves L2 behind HLT", MTF) {
    L2 guest;
    if (use_mtf(guest, l2_vd_hlt) && expect_mtf(guest, address_of(l2_vd_hlt) + 1))
        // Whether it had halted by then is not said.
        conform::expect(read(Field::guest_activity_state) <= activity_hlt, "activity state active or HLT");
}

} // namespace nestbed::vmx
