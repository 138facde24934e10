// L2 halts, and what wakes it (APM volume 2, 15.13, 15.21); the task priority that L2 sees as CR8 (15.21.2).
#include "nested/guest/barrier.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {
constexpr std::uint8_t vector = 0x81;

L2_CODE(l2_hlt, 64, "hlt; .globl l2_behind_hlt; l2_behind_hlt: nop; vmmcall");
extern "C" const char l2_behind_hlt[];
L2_CODE(l2_sti_hlt, 64, "cli; sti; hlt; .globl l2_behind_sti_hlt; l2_behind_sti_hlt: nop; vmmcall");
extern "C" const char l2_behind_sti_hlt[];

// Late enough for L2 to halt before, however slow the host is.
constexpr std::uint64_t late_ms = 50;
void start_late_timer() {
    start_timer(guest::header().tsc_khz * late_ms, vector);
}

bool no_timer() {
    if (has_timer())
        return false;
    conform::not_applicable("no TSC-deadline timer (CPUID Fn0000_0001 ECX bit 24)");
    return true;
}

template<bool masking, bool guest_if, bool paging>
void timer_exit() {
    if (no_timer())
        return;
    count_interrupts(vector);
    L2 guest;
    if (paging) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    start_blob(guest, l2_hlt);
    guest.save().rflags = rflags_fixed | (guest_if ? rflags_if : 0);
    guest.control().int_ctl = masking ? int_ctl::v_intr_masking : 0;
    clgi(); // so that L1 does not take it before VMRUN
    start_late_timer();
    guest.run_to(ExitCode::intr, "the timer");
    if (!expect_equal(guest.save().rip, address_of(l2_behind_hlt), "RIP: behind HLT"))
        return;
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has seen");
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind HLT");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}
} // namespace

SVM_CASE(event_hlt_timer, "svm.event.hlt_timer_exit", "The timer ends L2's HLT by an INTR exit behind it",
         "15.13.1", (&timer_exit<false, true, false>))
SVM_CASE(event_hlt_timer_npt, "svm.event.hlt_timer_exit_npt", "The same with nested paging", "15.13.1",
         (&timer_exit<false, true, true>), .needs = "npt")
SVM_CASE(event_hlt_timer_masking, "svm.event.hlt_timer_exit_masking",
         "The timer ends L2's HLT with V_INTR_MASKING", "15.21.1", (&timer_exit<true, true, false>))
SVM_CASE(event_hlt_timer_if_0, "svm.event.hlt_timer_exit_masking_if_0",
         "The timer ends L2's HLT with IF=0, with V_INTR_MASKING and L1's IF=1", "15.21.1",
         (&timer_exit<true, false, false>))

SVM_TEST(event_hlt_timer_delivered, "svm.event.hlt_timer_delivered",
         "The timer ends L2's HLT in L2's own handler where L1 does not intercept INTR", "15.13.1") {
    if (no_timer())
        return;
    count_interrupts(vector);
    L2 guest;
    guest.intercept(Intercept::intr, false);
    guest.context().end_of_interrupt = 1;
    start_blob(guest, l2_hlt);
    guest.save().rflags = rflags_fixed | rflags_if;
    clgi(); // so that L1 does not take it before VMRUN
    start_late_timer();
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind HLT");
    expect_equal(guest.context().interrupts[vector], 1U, "interrupts that L2 has seen");
    expect_equal(guest.context().last.rip, address_of(l2_behind_hlt), "RIP on the stack");
    settle();
    expect_equal(interrupts_taken(vector), 0U, "interrupts that L1 has seen");
}
SVM_TEST(event_hlt_20, "svm.event.hlt_20_times", "L2 halts and is woken twenty times by its own timer",
         "15.13.1") {
    if (no_timer())
        return;
    L2 guest;
    guest.intercept(Intercept::intr, false);
    guest.context().end_of_interrupt = 1;
    const auto& seen = guest.context().interrupts[vector];
    auto code = [&] {
        for (unsigned i = 1; i <= 20; ++i) {
            guest::disable_interrupts();
            start_timer(200'000, vector);
            while (guest::load(seen) < i) {
                guest::enable_interrupts_and_halt();
                guest::disable_interrupts();
            }
        }
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(guest.context().delivered, 20U, "events that L2 has seen");
}
SVM_TEST(event_hlt_virq, "svm.event.hlt_virq", "V_IRQ that waits for STI wakes the HLT in STI's shadow",
         "15.21.4") {
    L2 guest;
    warm_up(guest);
    start_blob(guest, l2_sti_hlt);
    guest.control().int_ctl = int_ctl::v_irq | 8U << int_ctl::v_intr_prio_shift | int_ctl::v_intr_masking;
    guest.control().int_vector = vector;
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind HLT");
    expect_equal(guest.context().interrupts[vector], 1U, "virtual interrupts that L2 has seen");
    expect_equal(guest.context().last.rip, address_of(l2_behind_sti_hlt), "RIP on the stack");
    expect_equal(guest.control().int_ctl & int_ctl::v_irq, 0U, "V_IRQ");
}
SVM_TEST(event_hlt_inject, "svm.event.hlt_inject",
         "A halted L2 whose exit L1 took goes on behind HLT after an injected interrupt", "15.20") {
    L2 guest;
    guest.intercept(Intercept::hlt);
    start_blob(guest, l2_hlt);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.run_to(ExitCode::hlt, "HLT");
    expect_equal(guest.save().rip, address_of(l2_hlt), "RIP: at HLT");
    guest.skip(1);
    guest.control().event_inj = event(EventType::interrupt, vector);
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind HLT");
    expect_equal(guest.context().last.rip, address_of(l2_behind_hlt), "RIP on the stack");
}
SVM_TEST(event_hlt_inject_first, "svm.event.hlt_after_inject",
         "L2 halts behind the handler of an injected event, and the timer ends that", "15.20") {
    if (no_timer())
        return;
    count_interrupts(vector);
    L2 guest;
    start_blob(guest, l2_hlt);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().event_inj = event(EventType::interrupt, 0x33);
    clgi(); // so that L1 does not take it before VMRUN
    start_late_timer();
    guest.run_to(ExitCode::intr, "the timer");
    expect_equal(guest.context().interrupts[0x33], 1U, "injected interrupts that L2 has seen");
    expect_equal(guest.save().rip, address_of(l2_behind_hlt), "RIP: behind HLT");
}

// Pending before STI; the HLT in its shadow is not entered for good.
namespace {
L2_CODE(l2_wrmsr_sti_hlt, 64,
        "cli; wrmsr; sti; hlt; .globl l2_behind_wrmsr_hlt; l2_behind_wrmsr_hlt: nop; vmmcall");
extern "C" const char l2_behind_wrmsr_hlt[];

template<bool intercept>
void pending_at_halt() {
    count_interrupts(vector);
    L2 guest;
    guest.intercept(Intercept::intr, intercept);
    guest.context().end_of_interrupt = 1;
    start_blob(guest, l2_wrmsr_sti_hlt);
    const auto command = guest::apic::command(guest::this_vcpu().apic_id, guest::apic::Shorthand::none,
                                              guest::apic::Delivery::fixed, vector);
    guest.registers.rcx = static_cast<std::uint64_t>(guest::apic::Register::interrupt_command);
    guest.registers.rdx = command >> 32;
    guest.save().rax = command & 0xffff'ffff;
    if (intercept) {
        guest.run_to(ExitCode::intr, "the interrupt that waited for STI");
        // Whether an intercept waits for the end of STI's shadow is left open.
        const auto rip = guest.save().rip;
        const auto behind = reinterpret_cast<std::uint64_t>(l2_behind_wrmsr_hlt);
        expect(rip == behind || rip == behind - 1, "RIP: at HLT or behind it");
        settle();
        expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has seen");
        return;
    }
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind HLT");
    expect_equal(guest.context().interrupts[vector], 1U, "interrupts that L2 has seen");
    expect_equal(guest.context().last.rip, reinterpret_cast<std::uint64_t>(l2_behind_wrmsr_hlt),
                 "RIP on the stack");
}
} // namespace
SVM_CASE(event_hlt_pending, "svm.event.hlt_pending_at_sti",
         "An interrupt that waits for STI wakes the HLT in STI's shadow", "15.13.1", &pending_at_halt<false>)
SVM_CASE(event_hlt_pending_i, "svm.event.hlt_pending_at_sti_intercepted",
         "An intercepted interrupt that waits for STI leaves L2 at the HLT in STI's shadow, or behind it",
         "15.13.1", &pending_at_halt<true>)

// From another vCPU.
namespace {
template<guest::apic::Delivery delivery, bool intercept>
void woken_by_other() {
    count_interrupts(vector);
    static std::uint32_t halting;
    static std::uint32_t finished;
    if (guest::this_vcpu().vcpu != 0) {
        conform::spin_until([] { return guest::load(halting) != 0; });
        wait_ms(late_ms);
        send_event(0, delivery, vector);
        conform::spin_until([] { return guest::load(finished) != 0; });
        return;
    }
    L2 guest;
    guest.intercept(Intercept::intr, intercept);
    guest.intercept(Intercept::nmi, intercept);
    guest.context().end_of_interrupt = 1;
    start_blob(guest, l2_hlt);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest::store(halting, 1U);
    constexpr bool nmi = delivery == guest::apic::Delivery::nmi;
    if (intercept) {
        guest.run_to(nmi ? ExitCode::nmi : ExitCode::intr, "the other vCPU's event");
        if (!expect_equal(guest.save().rip, address_of(l2_behind_hlt), "RIP: behind HLT")) {
            guest::store(finished, 1U);
            return;
        }
    }
    guest.run_to(ExitCode::vmmcall, "L2 goes on behind HLT");
    settle();
    const auto in_l2 = nmi ? guest.context().exceptions[2] : guest.context().interrupts[vector];
    const auto in_l1 =
        nmi ? static_cast<std::uint32_t>(guest::load(guest::this_vcpu().nmis)) : interrupts_taken(vector);
    expect_equal(in_l2, intercept ? 0U : 1U, "events that L2 has seen");
    expect_equal(in_l1, intercept ? 1U : 0U, "events that L1 has seen");
    guest::store(finished, 1U);
}
} // namespace
SVM_CASE(event_hlt_ipi, "svm.event.hlt_ipi_exit", "Another vCPU's interrupt ends L2's HLT by an INTR exit",
         "15.13.1", (&woken_by_other<guest::apic::Delivery::fixed, true>), .vcpus = 2)
SVM_CASE(event_hlt_ipi_delivered, "svm.event.hlt_ipi_delivered",
         "Another vCPU's interrupt ends L2's HLT in L2's handler", "15.13.1",
         (&woken_by_other<guest::apic::Delivery::fixed, false>), .vcpus = 2)
SVM_CASE(event_hlt_nmi, "svm.event.hlt_nmi_exit", "Another vCPU's NMI ends L2's HLT by an NMI exit",
         "15.13.2", (&woken_by_other<guest::apic::Delivery::nmi, true>), .vcpus = 2)
SVM_CASE(event_hlt_nmi_delivered, "svm.event.hlt_nmi_delivered",
         "Another vCPU's NMI ends L2's HLT in L2's handler", "15.13.2",
         (&woken_by_other<guest::apic::Delivery::nmi, false>), .vcpus = 2)

// CR8.
namespace {
inline void write_cr8(std::uint64_t value) {
    asm volatile("movq %0, %%cr8" : : "r"(value) : "memory");
}
std::uint64_t l1_tpr() {
    return guest::apic::read(guest::apic::Register::task_priority);
}
} // namespace
SVM_TEST(event_cr8_masking, "svm.event.cr8_write_masking",
         "With V_INTR_MASKING, L2's CR8 is V_TPR and leaves L1's task priority alone", "15.21.2") {
    L2 guest;
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    write_cr8(3);
    auto code = [&] {
        first = guest::control_register<8>();
        write_cr8(9);
        second = guest::control_register<8>();
    };
    guest.start(code);
    guest.control().int_ctl = int_ctl::v_intr_masking | 5;
    guest.run_to_end();
    expect_equal(first, 5U, "CR8 as L2 finds it: V_TPR");
    expect_equal(second, 9U, "CR8 as L2 wrote it");
    expect_equal(guest.control().int_ctl & int_ctl::v_tpr, 9U, "V_TPR");
    expect_equal(guest::control_register<8>(), 3U, "L1's CR8");
    expect_equal(l1_tpr(), 0x30U, "L1's task priority register");
    write_cr8(0);
}
SVM_TEST(event_cr8_not_masking, "svm.event.cr8_write_not_masking",
         "Without V_INTR_MASKING, L2's CR8 is the task priority of L1's APIC", "15.21.2") {
    L2 guest;
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    write_cr8(3);
    auto code = [&] {
        first = guest::control_register<8>();
        write_cr8(9);
        second = guest::control_register<8>();
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(first, 3U, "CR8 as L2 finds it: L1's");
    expect_equal(second, 9U, "CR8 as L2 wrote it");
    expect_equal(guest::control_register<8>(), 9U, "L1's CR8");
    expect_equal(l1_tpr(), 0x90U, "L1's task priority register");
    write_cr8(0);
}
SVM_TEST(event_cr8_read_only, "svm.event.cr8_read_masking",
         "With V_INTR_MASKING, V_TPR is written back as L1 wrote it where L2 does not write CR8", "15.21.2") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::control_register<8>(); };
    for (std::uint32_t tpr = 0; tpr < 16; ++tpr) {
        guest.start(code);
        guest.control().int_ctl = int_ctl::v_intr_masking | tpr;
        guest.run_to_end();
        expect_equal(seen, tpr, "CR8 as L2 finds it");
        expect_equal(guest.control().int_ctl, int_ctl::v_intr_masking | tpr, "V_TPR");
        expect_equal(l1_tpr(), 0U, "L1's task priority register");
    }
}
// L1's task priority keeps an interrupt from L1, and with V_INTR_MASKING from INTR exits too (15.21.2).
SVM_TEST(event_tpr_of_l1, "svm.event.tpr_of_l1_holds_intr",
         "An interrupt below L1's task priority causes no INTR exit", "15.21.2") {
    count_interrupts(0x41);
    L2 guest;
    auto code = [] { settle(); };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().int_ctl = int_ctl::v_intr_masking;
    write_cr8(8);
    interrupt_self(0x41);
    guest.run_to_end();
    expect_equal(interrupts_taken(0x41), 0U, "interrupts that L1 has seen");
    write_cr8(0);
    settle();
    expect_equal(interrupts_taken(0x41), 1U, "interrupts that L1 has seen with task priority 0");
}
SVM_TEST(event_vtpr_not_physical, "svm.event.v_tpr_does_not_hold_intr",
         "With V_INTR_MASKING, V_TPR 15 does not keep a physical interrupt from its INTR exit", "15.21.2") {
    count_interrupts(0x41);
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().int_ctl = int_ctl::v_intr_masking | 15;
    clgi();
    interrupt_self(0x41);
    guest.run_to(ExitCode::intr, "the interrupt");
    settle();
    expect_equal(interrupts_taken(0x41), 1U, "interrupts that L1 has seen");
}
SVM_TEST(event_cr8_lowered, "svm.event.cr8_lowered_not_masking",
         "Without V_INTR_MASKING, an interrupt comes once L2 lowers CR8 below it", "15.21.2") {
    count_interrupts(0x41);
    L2 guest;
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    auto code = [&] {
        settle();
        guest::store(before, std::uint64_t{1});
        write_cr8(0);
        settle();
        guest::store(after, std::uint64_t{1});
    };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    write_cr8(8);
    interrupt_self(0x41);
    guest.run_to(ExitCode::intr, "CR8 is low enough");
    expect_equal(before, 1U, "L2 has run with CR8 at 8");
    expect_equal(after, 0U, "L2 was left at once");
    settle();
    expect_equal(interrupts_taken(0x41), 1U, "interrupts that L1 has seen");
}
SVM_TEST(event_virq_cr8, "svm.event.virq_cr8_lowered",
         "With V_INTR_MASKING, V_IRQ is taken once L2 lowers CR8 below its priority", "15.21.4") {
    L2 guest;
    warm_up(guest);
    std::uint32_t before = ~0U;
    std::uint32_t after = ~0U;
    auto code = [&] {
        before = conform::l2_context().delivered;
        write_cr8(2);
        guest::pause();
        after = conform::l2_context().delivered;
    };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().int_ctl =
        int_ctl::v_irq | 8U << int_ctl::v_intr_prio_shift | int_ctl::v_intr_masking | 12;
    guest.control().int_vector = vector;
    guest.run_to_end();
    expect_equal(before, 0U, "events while CR8 is 12");
    expect_equal(after, 1U, "events while CR8 is 2");
    expect_equal(guest.control().int_ctl & (int_ctl::v_irq | int_ctl::v_tpr), 2U, "V_IRQ and V_TPR");
}

} // namespace nestbed::svm
