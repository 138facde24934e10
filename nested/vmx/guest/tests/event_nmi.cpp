// NMIs: to L1, to L2, virtual ones, their blocking and their window (SDM volume 3, "Other Causes of VM
// Exits", "NMI-Window Exiting", "Changes to Instruction Behavior in VMX Non-Root Operation": IRET).
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"

namespace nestbed::vmx {

using conform::expect_equal;

namespace {

#define NMIS "Other Causes of VM Exits"
#define WINDOW "NMI-Window Exiting"
#define IRET "Changes to Instruction Behavior in VMX Non-Root Operation"

L2_CODE(l2_vn_nops, 64, "nop; nop; nop; vmcall");
// An IRET to the code behind it, with RFLAGS of its own.
L2_CODE(l2_vn_iret, 64,
        "movq %rsp, %rbx; movw %ss, %ax; movzwl %ax, %eax; pushq %rax; pushq %rbx; pushfq; movw %cs, %ax;"
        "pushq %rax; leaq l2_vn_behind(%rip), %rax; pushq %rax\n.globl l2_vn_at\nl2_vn_at: iretq\n"
        ".globl l2_vn_behind\nl2_vn_behind: nop; nop; vmcall");
extern "C" const char l2_vn_at[];
extern "C" const char l2_vn_behind[];
L2_CODE(l2_vn_send, 64, "wrmsr; nop; nop; vmcall"); // an NMI to itself

// L2 sends itself an NMI: the interrupt command register is L1's.
void start_sending(L2& guest) {
    using namespace guest::apic;
    start_code(guest, l2_vn_send);
    const auto word = command(own_apic_id(), Shorthand::none, Delivery::nmi, 0);
    guest.registers.rcx = static_cast<std::uint32_t>(Register::interrupt_command);
    guest.registers.rax = word & 0xffff'ffff;
    guest.registers.rdx = word >> 32;
}

std::uint32_t nmis_of_l1() {
    settle();
    return static_cast<std::uint32_t>(guest::load(guest::this_vcpu().nmis));
}

bool use_virtual_nmis() {
    return use_pin_based(pin_based::nmi_exiting) && use_pin_based(pin_based::virtual_nmis);
}

// L1's own NMIs, blocked since the exit that an NMI caused, come again after an IRET.
void unblock_own_nmis() {
    asm volatile("movq %%rsp, %%rax; pushq %0; pushq %%rax; pushfq; pushq %1; leaq 1f(%%rip), %%rax;"
                 "pushq %%rax; iretq; 1:"
                 :
                 : "i"(nestbed::wire::kernel_data_selector), "i"(nestbed::wire::kernel_code_selector)
                 : "rax", "memory", "cc");
}

} // namespace

VMX_TEST(nmi_to_l2, "vmx.event.nmi_to_l2", "Without NMI exiting an NMI goes through L2's IDT", NMIS) {
    L2 guest;
    start_sending(guest);
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(guest.context().exceptions[2], 1U, "NMIs that L2 has taken");
    expect_equal(guest.context().last.rip, address_of(l2_vn_send) + 2, "RIP on the stack");
    expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state after IRET");
    expect_equal(nmis_of_l1(), 0U, "NMIs that L1 has taken");
}
VMX_TEST(nmi_exits, "vmx.event.nmi_exits",
         "With NMI exiting an NMI leaves L2, and blocks NMIs in L1 until its IRET", NMIS) {
    L2 guest;
    start_sending(guest);
    if (!use_pin_based(pin_based::nmi_exiting))
        return;
    if (!guest.run_to(ExitReason::exception_or_nmi, "the NMI"))
        return;
    expect_equal(read(Field::exit_interruption_information) & ~std::uint64_t{1U << 12},
                 event(EventType::nmi, 2), "VM-exit interruption information");
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
    expect_equal(read(Field::guest_rip), address_of(l2_vn_send) + 2, "guest RIP");
    expect_no_vectoring();
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    // The exit was the NMI's delivery: L1's IDT sees none, nor the next one before an IRET.
    expect_equal(nmis_of_l1(), 0U, "NMIs that L1's IDT has taken");
    nmi_self();
    expect_equal(nmis_of_l1(), 0U, "a second NMI, while they are blocked");
    unblock_own_nmis();
    expect_equal(nmis_of_l1(), 1U, "the second NMI, after an IRET");
}
VMX_TEST(nmi_exits_if_0, "vmx.event.nmi_exits_hlt", "An NMI leaves L2 that was entered in the HLT state",
         NMIS) {
    if ((miscellaneous() >> 6 & 1) == 0)
        return conform::not_applicable("no HLT activity state");
    L2 guest;
    start_code(guest, l2_vn_nops);
    if (!use_pin_based(pin_based::nmi_exiting))
        return;
    // An NMI of L1's while it handles one: it is pending at the entry and blocked until then.
    static L2* running;
    running = &guest;
    write(Field::guest_activity_state, activity_hlt);
    guest::set_nmi_handler([] {
        guest::set_nmi_handler(nullptr);
        nmi_self();
        // Blocking of L1's NMIs ends where L2 does not begin with it.
        running->run_to(ExitReason::exception_or_nmi, "the NMI");
    });
    nmi_self();
    settle();
    expect_equal(read(Field::exit_interruption_information) & 0x8000'07ff, event(EventType::nmi, 2),
                 "VM-exit interruption information");
    expect_equal(read(Field::guest_activity_state), activity_hlt, "activity state");
    expect_equal(guest::load(guest::this_vcpu().nmis), 0U, "NMIs that L1's IDT has counted");
}

// Blocking by NMI, which without virtual NMIs is that of the processor.
VMX_TEST(nmi_blocked_in, "vmx.event.nmi_blocked_in",
         "Blocking by NMI that L1 sets holds an NMI of L2's until its IRET", IRET) {
    L2 guest;
    start_sending(guest);
    write(Field::guest_interruptibility_state, blocking_by_nmi);
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen before an IRET");
    expect_equal(read(Field::guest_interruptibility_state), blocking_by_nmi, "interruptibility state");
    // The NMI is pending still, and blocked in L1 as it was in L2.
    expect_equal(nmis_of_l1(), 0U, "NMIs that L1 has taken");
    start_code(guest, l2_vn_iret);
    guest.run_to(ExitReason::vmcall, "VMCALL behind the IRET");
    expect_equal(guest.context().exceptions[2], 1U, "NMIs that L2 has taken");
    expect_equal(guest.context().last.rip, address_of(l2_vn_behind), "RIP on the stack");
    expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state after IRET");
}
VMX_TEST(nmi_blocks, "vmx.event.nmi_blocks",
         "An exit from the handler of an NMI of L2's shows blocking by NMI", NMIS) {
    L2 guest;
    start_sending(guest);
    guest.context().hook = [](guest::ExceptionFrame&) {
        guest::cpuid(0, 0);
        return true;
    };
    if (!guest.run_to(ExitReason::cpuid, "CPUID in the handler"))
        return;
    expect_equal(read(Field::guest_interruptibility_state), blocking_by_nmi, "interruptibility state");
    guest.skip();
    guest.run_to(ExitReason::vmcall, "VMCALL");
    expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state after IRET");
}
VMX_TEST(nmi_injected_blocks, "vmx.event.nmi_injected_blocks",
         "An injected NMI blocks NMIs until L2's IRET, with and without virtual NMIs", "Event Injection") {
    for (const bool is_virtual : {false, true}) {
        L2 guest;
        start_code(guest, l2_vn_nops);
        guest.context().hook = [](guest::ExceptionFrame&) {
            guest::cpuid(0, 0);
            return true;
        };
        if (is_virtual && !use_virtual_nmis())
            return;
        write(Field::entry_interruption_information, event(EventType::nmi, 2));
        if (!guest.run_to(ExitReason::cpuid, "CPUID in the handler"))
            return;
        expect_equal(read(Field::guest_interruptibility_state), blocking_by_nmi, "interruptibility state");
        guest.skip();
        guest.run_to(ExitReason::vmcall, "VMCALL");
        expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state after IRET");
    }
}
VMX_TEST(nmi_virtual_blocking, "vmx.event.nmi_virtual_blocking",
         "With virtual NMIs blocking by NMI is L2's own: a physical NMI leaves L2 all the same", NMIS) {
    L2 guest;
    start_sending(guest);
    if (!use_virtual_nmis())
        return;
    write(Field::guest_interruptibility_state, blocking_by_nmi);
    if (!guest.run_to(ExitReason::exception_or_nmi, "the NMI"))
        return;
    expect_equal(read(Field::exit_interruption_information) & 0x8000'07ff, event(EventType::nmi, 2),
                 "VM-exit interruption information");
    expect_equal(read(Field::guest_interruptibility_state), blocking_by_nmi, "interruptibility state");
    expect_equal(nmis_of_l1(), 0U, "NMIs that L1's IDT has taken");
}
VMX_TEST(nmi_virtual_iret, "vmx.event.nmi_virtual_iret", "With virtual NMIs IRET ends L2's blocking by NMI",
         IRET) {
    L2 guest;
    start_code(guest, l2_vn_iret);
    if (!use_virtual_nmis())
        return;
    write(Field::guest_interruptibility_state, blocking_by_nmi);
    guest.run_to(ExitReason::vmcall, "VMCALL behind the IRET");
    expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state");
}
VMX_TEST(nmi_exiting_iret, "vmx.event.nmi_exiting_iret",
         "With NMI exiting and no virtual NMIs IRET leaves blocking by NMI as it is", IRET) {
    L2 guest;
    start_code(guest, l2_vn_iret);
    if (!use_pin_based(pin_based::nmi_exiting))
        return;
    write(Field::guest_interruptibility_state, blocking_by_nmi);
    guest.run_to(ExitReason::vmcall, "VMCALL behind the IRET");
    expect_equal(read(Field::guest_interruptibility_state), blocking_by_nmi, "interruptibility state");
}

namespace {

// IRET whose stack is not there: it has unblocked NMIs before it faults.
enum class Look { information, interruptibility };
void iret_faults(bool is_virtual, Look look) {
    L2 guest;
    start_code(guest, l2_vn_at);
    if (is_virtual && !use_virtual_nmis())
        return;
    write(Field::guest_rsp, 0x8000'0000'0000'0000); // #SS(0)
    write(Field::guest_interruptibility_state, blocking_by_nmi);
    guest.intercept_exception(12);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#SS of IRET"))
        return;
    if (look == Look::information)
        expect_equal(read(Field::exit_interruption_information),
                     event_with_error_code(EventType::hardware_exception, 12) | event_nmi_unblocking,
                     "VM-exit interruption information, with NMI unblocking due to IRET");
    else
        expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state");
}

} // namespace

VMX_TEST(nmi_iret_faults, "vmx.event.nmi_unblocking_virtual",
         "An exit for a fault of IRET says that it has unblocked virtual NMIs",
         "Information for VM Exits Due to Vectored Events") {
    iret_faults(true, Look::information);
}
VMX_TEST(nmi_iret_faults_plain, "vmx.event.nmi_unblocking",
         "An exit for a fault of IRET says that it has unblocked NMIs",
         "Information for VM Exits Due to Vectored Events") {
    iret_faults(false, Look::information);
}
VMX_TEST(nmi_iret_faults_state, "vmx.event.nmi_unblocking_state",
         "After an exit for a fault of IRET blocking by NMI is not in the guest state: software puts it back",
         "Information for VM Exits Due to Vectored Events") {
    iret_faults(true, Look::interruptibility);
}
VMX_TEST(nmi_unblocking_clear, "vmx.event.nmi_unblocking_clear",
         "An exit for a fault of another instruction does not say that it has unblocked NMIs",
         "Information for VM Exits Due to Vectored Events") {
    L2 guest;
    start_code(guest, l2_vn_iret);
    if (!use_virtual_nmis())
        return;
    write(Field::guest_rsp, 0x8000'0000'0000'0008);
    write(Field::guest_interruptibility_state, blocking_by_nmi);
    guest.intercept_exception(12);
    if (!guest.run_to(ExitReason::exception_or_nmi, "#SS of PUSH"))
        return;
    expect_equal(read(Field::exit_interruption_information),
                 event_with_error_code(EventType::hardware_exception, 12),
                 "VM-exit interruption information");
    expect_equal(read(Field::guest_interruptibility_state), blocking_by_nmi, "interruptibility state");
}

// The window.
namespace {

bool want_nmi_window(L2& guest, const char* code, std::uint64_t interruptibility) {
    start_code(guest, code);
    write(Field::guest_interruptibility_state, interruptibility);
    return use_virtual_nmis() && use_primary(primary::nmi_window_exiting);
}

} // namespace

VMX_TEST(nmi_window_open, "vmx.event.nmi_window_open",
         "An open NMI window leaves before L2's first instruction", WINDOW) {
    L2 guest;
    if (!want_nmi_window(guest, l2_vn_nops, 0))
        return;
    if (guest.run_to(ExitReason::nmi_window, "the NMI window")) {
        expect_equal(read(Field::guest_rip), address_of(l2_vn_nops), "guest RIP");
        expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
        expect_equal(read(Field::exit_interruption_information) >> 31, 0U,
                     "VM-exit interruption information");
        expect_no_vectoring();
    }
    clear(Field::primary_controls, primary::nmi_window_exiting);
    guest.run_to(ExitReason::vmcall, "L2 without the control");
}
VMX_TEST(nmi_window_blocked, "vmx.event.nmi_window_blocked",
         "The NMI window is closed while NMIs are blocked, and opens behind IRET", WINDOW) {
    L2 guest;
    if (!want_nmi_window(guest, l2_vn_iret, blocking_by_nmi))
        return;
    if (guest.run_to(ExitReason::nmi_window, "the NMI window")) {
        expect_equal(read(Field::guest_rip), address_of(l2_vn_behind), "guest RIP");
        expect_equal(read(Field::guest_interruptibility_state), 0U, "interruptibility state");
    }
}
VMX_TEST(nmi_window_mov_ss, "vmx.event.nmi_window_mov_ss",
         "Blocking by MOV SS holds the NMI window for one instruction", WINDOW) {
    L2 guest;
    if (want_nmi_window(guest, l2_vn_nops, blocking_by_mov_ss) &&
        guest.run_to(ExitReason::nmi_window, "the NMI window"))
        expect_equal(read(Field::guest_rip), address_of(l2_vn_nops) + 1, "guest RIP");
}
VMX_TEST(nmi_window_hlt, "vmx.event.nmi_window_hlt_activity",
         "An NMI window wakes L2 that L1 enters in the HLT state", WINDOW) {
    if ((miscellaneous() >> 6 & 1) == 0)
        return conform::not_applicable("no HLT activity state");
    L2 guest;
    if (!want_nmi_window(guest, l2_vn_nops, 0))
        return;
    write(Field::guest_activity_state, activity_hlt);
    if (guest.run_to(ExitReason::nmi_window, "the NMI window"))
        expect_equal(read(Field::guest_rip), address_of(l2_vn_nops), "guest RIP");
}
VMX_TEST(nmi_window_before_interrupt_window, "vmx.event.nmi_window_before_interrupt_window",
         "The NMI window comes before the interrupt window", WINDOW) {
    L2 guest;
    if (!want_nmi_window(guest, l2_vn_nops, 0) || !use_primary(primary::interrupt_window_exiting))
        return;
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    guest.run_to(ExitReason::nmi_window, "the NMI window");
    clear(Field::primary_controls, primary::nmi_window_exiting);
    guest.run_to(ExitReason::interrupt_window, "the interrupt window");
}
VMX_TEST(nmi_window_after_nmi, "vmx.event.nmi_window_after_injection",
         "After an injected NMI the NMI window opens behind the handler's IRET", WINDOW) {
    L2 guest;
    if (!want_nmi_window(guest, l2_vn_nops, 0))
        return;
    write(Field::entry_interruption_information, event(EventType::nmi, 2));
    if (guest.run_to(ExitReason::nmi_window, "the NMI window")) {
        expect_equal(read(Field::guest_rip), address_of(l2_vn_nops), "guest RIP");
        expect_equal(guest.context().exceptions[2], 1U, "NMIs that L2 has seen");
    }
}

} // namespace nestbed::vmx
