// Physical interrupts and NMIs while L2 runs, or pending when it starts (APM volume 2, 15.13, 15.17, 15.21).
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

constexpr std::uint8_t vector = 0x51;

// Where a physical interrupt that is pending at VMRUN ends up. With V_INTR_MASKING it is L1's RFLAGS.IF, at
// the time of VMRUN, that lets it through, without it L2's (15.21.1).
template<bool masking, bool host_if, bool guest_if, bool intercept, bool paging>
void pending_interrupt() {
    count_interrupts(vector);
    L2 guest;
    if (paging) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    std::uint64_t ran = 0;
    auto code = [&] {
        settle();
        ran = 1;
    };
    guest.start(code);
    const auto rip = guest.save().rip;
    guest.intercept(Intercept::intr, intercept);
    guest.context().end_of_interrupt = 1;
    guest.save().rflags = rflags_fixed | (guest_if ? rflags_if : 0);
    guest.control().int_ctl = masking ? int_ctl::v_intr_masking : 0;
    clgi();
    interrupt_self(vector);
    if (!host_if)
        guest::disable_interrupts();
    const bool open = masking ? host_if : guest_if;
    if (open && intercept) {
        guest.run_to(ExitCode::intr, "a pending interrupt");
        expect_equal(guest.save().rip, rip, "RIP: no instruction of L2 has run");
        expect_equal(ran, 0U, "L2 has not run");
    } else {
        guest.run_to_end("L2 runs");
    }
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    const unsigned in_l2 = open && !intercept ? 1 : 0;
    expect_equal(guest.context().interrupts[vector], in_l2, "interrupts that L2 has seen");
    expect_equal(guest.control().int_ctl & (int_ctl::v_irq | int_ctl::v_intr_prio | int_ctl::v_ign_tpr), 0U,
                 "V_IRQ, V_INTR_PRIO and V_IGN_TPR, which L1 has not set");
    expect_equal(guest.control().int_vector, 0U, "V_INTR_VECTOR, which L1 has not set");
    if (!host_if) {
        settle();
        expect_equal(interrupts_taken(vector), 0U, "interrupts that L1 has seen with IF=0");
        guest::enable_interrupts();
    }
    settle();
    expect_equal(interrupts_taken(vector), 1 - in_l2, "interrupts that L1 has seen");
    expect_equal(guest::load(guest::this_vcpu().spurious_interrupts), 0U, "spurious interrupts in L1");
}

} // namespace

#define EVENT_PENDING(masking, host, guest, intercept)                                                       \
    SVM_CASE(event_pending_##masking##host##guest##intercept,                                                \
             "svm.event.intr_masking_" #masking "_host_if_" #host "_guest_if_" #guest                        \
             "_intercept_" #intercept,                                                                       \
             "A pending interrupt with V_INTR_MASKING=" #masking ", RFLAGS.IF=" #host " in L1 and " #guest   \
             " in L2, INTR intercept " #intercept,                                                           \
             "15.21.1", (&pending_interrupt<masking != 0, host != 0, guest != 0, intercept != 0, false>))    \
    SVM_CASE(event_pending_npt_##masking##host##guest##intercept,                                            \
             "svm.event.intr_npt_masking_" #masking "_host_if_" #host "_guest_if_" #guest                    \
             "_intercept_" #intercept,                                                                       \
             "A pending interrupt with nested paging, V_INTR_MASKING=" #masking ", RFLAGS.IF=" #host         \
             " in L1 and " #guest " in L2, INTR intercept " #intercept,                                      \
             "15.21.1", (&pending_interrupt<masking != 0, host != 0, guest != 0, intercept != 0, true>),     \
             .needs = "npt")
#define EVENT_PENDING_4(masking, host)                                                                       \
    EVENT_PENDING(masking, host, 0, 0)                                                                       \
    EVENT_PENDING(masking, host, 0, 1)                                                                       \
    EVENT_PENDING(masking, host, 1, 0)                                                                       \
    EVENT_PENDING(masking, host, 1, 1)

EVENT_PENDING_4(0, 0)
EVENT_PENDING_4(0, 1)
EVENT_PENDING_4(1, 0)
EVENT_PENDING_4(1, 1)

// The interrupt comes while L2 runs: L2 sends it itself.
namespace {
L2_CODE(l2_intr_send, 64, "wrmsr; .globl l2_intr_sent; l2_intr_sent: 1: pause; jmp 1b");
extern "C" const char l2_intr_sent[];

void set_up_send(L2& guest, std::uint64_t command) {
    guest.registers.rcx = static_cast<std::uint64_t>(guest::apic::Register::interrupt_command);
    guest.save().rax = command & 0xffff'ffff;
    guest.registers.rdx = command >> 32;
}
std::uint64_t self_command(guest::apic::Delivery delivery, std::uint8_t which) {
    return guest::apic::command(guest::this_vcpu().apic_id, guest::apic::Shorthand::none, delivery, which);
}
void expect_in_loop(L2& guest) {
    const auto rip = guest.save().rip - address_of(l2_intr_sent);
    expect(rip < 4, conform::Text{"RIP is in L2's loop, ", rip, " bytes behind WRMSR"});
}
} // namespace

SVM_TEST(event_intr_from_l2, "svm.event.intr_from_l2",
         "An interrupt that L2 sends its own vCPU leaves by INTR, and L1 takes it once", "15.13.1") {
    count_interrupts(vector);
    L2 guest;
    start_blob(guest, l2_intr_send);
    guest.save().rflags = rflags_fixed | rflags_if;
    set_up_send(guest, self_command(guest::apic::Delivery::fixed, vector));
    guest.run_to(ExitCode::intr, "L2's interrupt");
    expect_in_loop(guest);
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has seen");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
}
SVM_TEST(event_intr_from_l2_masking, "svm.event.intr_from_l2_masking",
         "An interrupt that L2 sends its own vCPU leaves by INTR although L2 has IF=0, with V_INTR_MASKING",
         "15.21.1") {
    count_interrupts(vector);
    L2 guest;
    start_blob(guest, l2_intr_send);
    guest.control().int_ctl = int_ctl::v_intr_masking;
    set_up_send(guest, self_command(guest::apic::Delivery::fixed, vector));
    guest.run_to(ExitCode::intr, "L2's interrupt");
    expect_in_loop(guest);
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has seen");
}
SVM_TEST(event_nmi_from_l2, "svm.event.nmi_from_l2",
         "An NMI that L2 sends its own vCPU leaves by NMI, and L1 takes it once", "15.13.2") {
    L2 guest;
    start_blob(guest, l2_intr_send);
    guest.intercept(Intercept::nmi);
    set_up_send(guest, self_command(guest::apic::Delivery::nmi, 0));
    guest.run_to(ExitCode::nmi, "L2's NMI");
    expect_in_loop(guest);
    settle();
    expect_equal(guest::load(guest::this_vcpu().nmis), 1U, "NMIs that L1 has seen");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}

// L2 opens the window itself.
namespace {
template<bool intercept>
void opened_by_sti() {
    count_interrupts(vector);
    L2 guest;
    guest.intercept(Intercept::intr, intercept);
    guest.context().end_of_interrupt = 1;
    const auto self = guest::this_vcpu().apic_id;
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    auto code = [&] {
        send_event_from_l2(self, guest::apic::Delivery::fixed, vector);
        settle();
        guest::store(before, std::uint64_t{1});
        guest::enable_interrupts();
        settle();
        guest::store(after, std::uint64_t{1});
    };
    guest.start(code);
    if (intercept) {
        guest.run_to(ExitCode::intr, "STI lets the interrupt through");
        expect_equal(before, 1U, "L2 has run with IF=0");
        expect_equal(after, 0U, "L2 was left at STI");
        expect_equal(guest.save().rflags & rflags_if, rflags_if, "RFLAGS.IF");
    }
    guest.run_to_end();
    settle();
    expect_equal(guest.context().interrupts[vector], intercept ? 0U : 1U, "interrupts that L2 has seen");
    expect_equal(interrupts_taken(vector), intercept ? 1U : 0U, "interrupts that L1 has seen");
    expect_equal(guest.control().int_ctl, 0U, "the VMCB's virtual interrupt fields, which L1 has not set");
}
} // namespace
SVM_CASE(event_sti_intercepted, "svm.event.intr_at_sti_intercepted",
         "A pending interrupt leaves L2 by INTR once L2 sets IF, not before", "15.13.1", &opened_by_sti<true>)
SVM_CASE(event_sti_delivered, "svm.event.intr_at_sti_delivered",
         "A pending interrupt that is not intercepted reaches L2 once it sets IF, not before", "15.13.1",
         &opened_by_sti<false>)

// 15.21.3: the window that L0 opens for a physical interrupt must not be seen in L1's VMCB.
SVM_TEST(event_window_not_leaked, "svm.event.window_not_leaked",
         "A physical interrupt that waits for L2's IF leaves L1's virtual interrupt fields alone",
         "15.21.4") {
    count_interrupts(vector);
    L2 guest;
    guest.intercept(Intercept::intr, false);
    guest.intercept(Intercept::cpuid);
    auto code = [] {
        for (;;)
            guest::cpuid(0, 0);
    };
    guest.start(code);
    // Waits for IF like the physical one.
    const std::uint32_t pending = int_ctl::v_irq | 5U << int_ctl::v_intr_prio_shift;
    guest.control().int_ctl = pending;
    guest.control().int_vector = 0x66;
    guest::disable_interrupts(); // in L1 too, so that it stays pending
    interrupt_self(vector);
    for (int i = 0; i < 5; ++i) {
        if (!guest.run_to(ExitCode::cpuid, "L2 runs with IF=0"))
            return;
        guest.skip(2);
        expect_equal(guest.control().int_ctl, pending, "V_IRQ and V_INTR_PRIO");
        expect_equal(guest.control().int_vector, 0x66U, "V_INTR_VECTOR");
    }
    guest::enable_interrupts();
    settle();
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has seen");
}

// EVENTINJ comes first, the pending interrupt right after it.
SVM_TEST(event_inject_before_intr, "svm.event.inject_before_intr",
         "With an interrupt pending, VMRUN first delivers EVENTINJ and then leaves by INTR in the handler",
         "15.20") {
    count_interrupts(vector);
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().int_ctl = int_ctl::v_intr_masking;
    guest.control().event_inj = event(EventType::exception, 6);
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    const auto rip = guest.save().rip;
    const auto rsp = guest.save().rsp;
    clgi();
    interrupt_self(vector);
    guest.run_to(ExitCode::intr, "the pending interrupt");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    expect_equal(guest.control().event_inj & event_valid, 0U, "EVENTINJ.V");
    expect_equal(guest.save().rsp, (rsp & ~std::uint64_t{15}) - 40, "RSP below the frame of the event");
    expect_equal(*guest::pointer_to<std::uint64_t>(guest.save().rsp), rip, "RIP in the frame of the event");
    guest.run_to_end();
    expect_equal(guest.context().exceptions[6], 1U, "#UDs that L2 has seen");
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has seen");
}
SVM_TEST(event_inject_before_nmi, "svm.event.inject_before_nmi",
         "With an NMI pending, VMRUN first delivers EVENTINJ and then leaves by NMI in the handler",
         "15.20") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.intercept(Intercept::nmi);
    guest.control().event_inj = event(EventType::exception, 13, 0x20);
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    const auto rsp = guest.save().rsp;
    clgi();
    nmi_self();
    guest.run_to(ExitCode::nmi, "the pending NMI");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    expect_equal(guest.save().rsp, (rsp & ~std::uint64_t{15}) - 48, "RSP below the frame of the event");
    guest.run_to_end();
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest::load(guest::this_vcpu().nmis), 1U, "NMIs that L1 has seen");
}
SVM_TEST(event_inject_then_unmasked, "svm.event.inject_before_intr_not_masked",
         "Without V_INTR_MASKING the handler of an injected event runs with IF=0, and INTR comes after it",
         "15.20") {
    count_interrupts(vector);
    L2 guest;
    auto code = [] { settle(); };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.control().event_inj = event(EventType::interrupt, 0x40);
    const auto rip = guest.save().rip;
    clgi();
    interrupt_self(vector);
    guest.run_to(ExitCode::intr, "the pending interrupt");
    expect_equal(guest.context().interrupts[0x40], 1U, "the injected interrupt that L2 has seen");
    expect_equal(guest.save().rip, rip, "RIP: back from the handler, no further");
    guest.run_to_end();
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
}

// A storm of them, each an exit of its own.
SVM_TEST(event_intr_1000, "svm.event.intr_1000_exits",
         "A thousand interrupts that L2 sends itself are a thousand INTR exits and reach L1 once each",
         "15.13.1") {
    count_interrupts(vector);
    L2 guest;
    const auto self = guest::this_vcpu().apic_id;
    auto code = [&] {
        for (;;)
            send_event_from_l2(self, guest::apic::Delivery::fixed, vector);
    };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    for (unsigned i = 1; i <= 1000; ++i)
        if (!guest.run_to(ExitCode::intr, conform::Text{"interrupt ", i}) ||
            !expect_equal(interrupts_taken(vector), i, "interrupts that L1 has seen"))
            return;
}
SVM_TEST(event_intr_1000_delivered, "svm.event.intr_1000_delivered",
         "A thousand interrupts that L2 sends itself reach its own handler once each where L1 does not "
         "intercept them",
         "15.13.1") {
    count_interrupts(vector);
    L2 guest;
    guest.intercept(Intercept::intr, false);
    guest.context().end_of_interrupt = 1;
    const auto self = guest::this_vcpu().apic_id;
    const auto& seen = guest.context().interrupts[vector];
    auto code = [&] {
        for (unsigned i = 1; i <= 1000; ++i) {
            send_event_from_l2(self, guest::apic::Delivery::fixed, vector);
            while (guest::load(seen) < i)
                guest::pause();
        }
    };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.run_to_end();
    expect_equal(guest.context().delivered, 1000U, "events that L2 has seen");
    expect_equal(interrupts_taken(vector), 0U, "interrupts that L1 has seen");
}

SVM_TEST(event_timer_exit, "svm.event.timer_exit", "The timer ends L2's endless loop by INTR", "15.13.1") {
    if (!has_timer())
        return conform::not_applicable("no TSC-deadline timer (CPUID Fn0000_0001 ECX bit 24)");
    count_interrupts(vector);
    L2 guest;
    auto code = [] {
        for (;;)
            guest::pause();
    };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    for (unsigned i = 1; i <= 20; ++i) {
        clgi(); // so that L1 does not take it before VMRUN
        start_timer(1'000'000, vector);
        if (!guest.run_to(ExitCode::intr, "the timer"))
            return;
        settle();
        expect_equal(interrupts_taken(vector), i, "interrupts that L1 has seen");
    }
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}
SVM_TEST(event_timer_delivered, "svm.event.timer_delivered",
         "The timer reaches L2's own handler where L1 does not intercept INTR", "15.13.1") {
    if (!has_timer())
        return conform::not_applicable("no TSC-deadline timer (CPUID Fn0000_0001 ECX bit 24)");
    count_interrupts(vector);
    L2 guest;
    guest.intercept(Intercept::intr, false);
    guest.context().end_of_interrupt = 1;
    const auto& seen = guest.context().interrupts[vector];
    auto code = [&] {
        for (unsigned i = 1; i <= 20; ++i) {
            start_timer(1'000'000, vector);
            while (guest::load(seen) < i)
                guest::pause();
        }
    };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.run_to_end();
    expect_equal(guest.context().delivered, 20U, "events that L2 has seen");
    expect_equal(interrupts_taken(vector), 0U, "interrupts that L1 has seen");
}

// An interrupt that one level has taken and not ended holds others of its class back for the other level too,
// since there is one local APIC (15.21).
SVM_TEST(event_in_service, "svm.event.l2_in_service_blocks_l1",
         "An interrupt that L2 has taken and not ended holds back lower ones of L1 until its EOI", "15.21") {
    count_interrupts(0x41);
    L2 guest;
    guest.intercept(Intercept::intr, false);
    guest.context().end_of_interrupt = 0;
    auto code = [] { settle(); };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    clgi();
    interrupt_self(0x91);
    guest.run_to_end();
    expect_equal(guest.context().interrupts[0x91], 1U, "interrupts that L2 has seen");
    interrupt_self(0x41);
    settle();
    expect_equal(interrupts_taken(0x41), 0U, "lower interrupts before the EOI");
    guest::apic::write(guest::apic::Register::end_of_interrupt, 0);
    settle();
    expect_equal(interrupts_taken(0x41), 1U, "lower interrupts after the EOI");
}

} // namespace nestbed::svm
