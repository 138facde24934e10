// GIF holds interrupts, NMIs, SMIs and INIT until STGI; NMIs and what they block (APM volume 2, 15.13.2,
// 15.17, 8.5.2).
#include "core/guest/guard.hpp"
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
constexpr std::uint8_t vector = 0x71;
std::uint64_t nmis() {
    return guest::load(guest::this_vcpu().nmis);
}
} // namespace

SVM_TEST(event_gif_intr, "svm.event.gif_holds_interrupt",
         "An interrupt waits while GIF=0 although IF=1, and comes once at STGI", "15.17") {
    count_interrupts(vector);
    clgi();
    interrupt_self(vector);
    settle();
    expect_equal(interrupts_taken(vector), 0U, "interrupts with GIF=0");
    stgi();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts after STGI");
}
SVM_TEST(event_gif_intr_if, "svm.event.gif_set_if_0",
         "STGI with IF=0 lets no interrupt through; STI then does", "15.17") {
    count_interrupts(vector);
    clgi();
    guest::disable_interrupts();
    interrupt_self(vector);
    stgi();
    settle();
    expect_equal(interrupts_taken(vector), 0U, "interrupts with IF=0");
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts after STI");
}
SVM_TEST(event_gif_sti, "svm.event.gif_0_sti", "STI with GIF=0 lets no interrupt through; STGI then does",
         "15.17") {
    count_interrupts(vector);
    guest::disable_interrupts();
    clgi();
    interrupt_self(vector);
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 0U, "interrupts with GIF=0");
    stgi();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts after STGI");
}
SVM_TEST(event_gif_many, "svm.event.gif_holds_many",
         "All interrupts that waited for STGI come, each once, the highest first", "15.17") {
    for (unsigned i = 0; i < 8; ++i)
        count_interrupts(static_cast<std::uint8_t>(0x40 + 16 * i));
    clgi();
    for (unsigned i = 0; i < 8; ++i)
        interrupt_self(static_cast<std::uint8_t>(0x40 + 16 * i));
    stgi();
    settle();
    for (unsigned i = 0; i < 8; ++i)
        expect_equal(interrupts_taken(static_cast<std::uint8_t>(0x40 + 16 * i)), 1U,
                     conform::Text{"interrupts of vector ", 0x40 + 16 * i});
}
SVM_TEST(event_gif_nmi, "svm.event.gif_holds_nmi", "An NMI waits while GIF=0, and comes once at STGI",
         "15.17") {
    clgi();
    nmi_self();
    settle();
    expect_equal(nmis(), 0U, "NMIs with GIF=0");
    stgi();
    settle();
    expect_equal(nmis(), 1U, "NMIs after STGI");
}
SVM_TEST(event_gif_both, "svm.event.gif_holds_nmi_and_interrupt",
         "An NMI and an interrupt that both waited come once each at STGI", "15.17") {
    count_interrupts(vector);
    clgi();
    interrupt_self(vector);
    nmi_self();
    settle();
    expect_equal(nmis() + interrupts_taken(vector), 0U, "either with GIF=0");
    stgi();
    settle();
    expect_equal(nmis(), 1U, "NMIs after STGI");
    expect_equal(interrupts_taken(vector), 1U, "interrupts after STGI");
}
SVM_TEST(event_gif_toggle, "svm.event.gif_toggled_1000_times",
         "A thousand interrupts wait for a thousand STGIs, each once", "15.17") {
    count_interrupts(vector);
    for (unsigned i = 0; i < 1000; ++i) {
        clgi();
        interrupt_self(vector);
        guest::pause();
        if (!expect_equal(interrupts_taken(vector), i, "interrupts with GIF=0"))
            break;
        stgi();
        settle();
        if (!expect_equal(interrupts_taken(vector), i + 1, "interrupts after STGI"))
            break;
    }
    stgi();
}
SVM_TEST(event_gif_exception, "svm.event.gif_0_exceptions",
         "Exceptions are raised with GIF=0 as ever, and leave GIF alone", "15.17") {
    clgi();
    const auto fault = guest::catch_fault([] { asm volatile("ud2"); });
    expect(fault.is(6), "#UD with GIF=0");
    expect_equal(gif_is_set(), false, "GIF after the exception");
}
SVM_TEST(event_gif_cli, "svm.event.gif_leaves_if", "CLGI and STGI do not change RFLAGS.IF", "15.17") {
    std::uint64_t flags[4];
    clgi();
    asm volatile("pushfq; popq %0" : "=r"(flags[0]));
    stgi();
    asm volatile("pushfq; popq %0" : "=r"(flags[1]));
    guest::disable_interrupts();
    clgi();
    asm volatile("pushfq; popq %0" : "=r"(flags[2]));
    stgi();
    asm volatile("pushfq; popq %0" : "=r"(flags[3]));
    guest::enable_interrupts();
    expect_equal(flags[0] & rflags_if, rflags_if, "RFLAGS.IF=1 after CLGI");
    expect_equal(flags[1] & rflags_if, rflags_if, "RFLAGS.IF=1 after STGI");
    expect_equal(flags[2] & rflags_if, 0U, "RFLAGS.IF=0 after CLGI");
    expect_equal(flags[3] & rflags_if, 0U, "RFLAGS.IF=0 after STGI");
}

// #VMEXIT clears GIF (15.6), whatever the reason.
namespace {
void gif_after(L2& guest, ExitCode expected) {
    clgi();
    svm_enter(guest.vmcb_pa(), &guest.registers, conform::physical(this_host().state));
    expect_equal(guest.control().exit_code, expected, "EXITCODE");
    expect_equal(gif_is_set(), false, "GIF after the exit");
    expect_equal(gif_is_set(), true, "GIF after STGI");
}
} // namespace
SVM_TEST(event_gif_exit_intr, "svm.event.gif_0_after_intr_exit", "GIF is 0 after an INTR exit", "15.17") {
    count_interrupts(vector);
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    clgi();
    interrupt_self(vector);
    gif_after(guest, ExitCode::intr);
}
SVM_TEST(event_gif_exit_nmi, "svm.event.gif_0_after_nmi_exit", "GIF is 0 after an NMI exit", "15.17") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.intercept(Intercept::nmi);
    clgi();
    nmi_self();
    gif_after(guest, ExitCode::nmi);
}
SVM_TEST(event_gif_exit_npf, "svm.event.gif_0_after_npf_exit", "GIF is 0 after a nested page fault", "15.17",
         .needs = "npt") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    auto code = [] {};
    guest.start(code);
    tables.entry(guest.save().rip, 1) = 0;
    gif_after(guest, ExitCode::npf);
}
SVM_TEST(event_gif_exit_invalid, "svm.event.gif_0_after_invalid", "GIF is 0 after VMEXIT_INVALID", "15.17") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().asid = 0;
    gif_after(guest, ExitCode::invalid);
}
// Where VMRUN begins with GIF=1, its exit clears GIF all the same.
SVM_TEST(event_gif_1_invalid, "svm.event.gif_1_before_invalid",
         "VMEXIT_INVALID of a VMRUN with GIF=1 clears GIF", "15.17") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().asid = 0;
    stgi();
    svm_enter(guest.vmcb_pa(), &guest.registers, conform::physical(this_host().state));
    expect_equal(guest.control().exit_code, ExitCode::invalid, "EXITCODE");
    expect_equal(gif_is_set(), false, "GIF after the exit");
}
SVM_TEST(event_gif_exit_exception, "svm.event.gif_0_after_exception_exit",
         "GIF is 0 after an intercepted exception", "15.17") {
    L2 guest;
    auto code = [] { asm volatile("ud2"); };
    guest.start(code);
    guest.intercept_exception(6);
    gif_after(guest, exception_exit(6));
}
SVM_TEST(event_gif_exit_shutdown, "svm.event.gif_0_after_shutdown_exit", "GIF is 0 after a SHUTDOWN exit",
         "15.17") {
    L2 guest;
    auto code = [] { asm volatile("ud2"); };
    guest.start(code);
    guest.save().idtr.limit = 0;
    gif_after(guest, ExitCode::shutdown);
}

// NMIs and L2.
namespace {
template<bool intercept, bool paging, bool guest_if>
void pending_nmi() {
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
    guest.save().rflags = rflags_fixed | (guest_if ? rflags_if : 0);
    guest.intercept(Intercept::nmi, intercept);
    clgi();
    nmi_self();
    if (intercept) {
        guest.run_to(ExitCode::nmi, "a pending NMI");
        expect_equal(guest.save().rip, rip, "RIP: no instruction of L2 has run");
        expect_equal(ran, 0U, "L2 has not run");
    } else {
        guest.run_to_end("L2 runs");
        expect_equal(guest.context().last.rip, rip, "RIP on the stack");
    }
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    settle();
    expect_equal(guest.context().exceptions[2], intercept ? 0U : 1U, "NMIs that L2 has seen");
    expect_equal(nmis(), intercept ? 1U : 0U, "NMIs that L1 has seen");
}
} // namespace
SVM_CASE(event_nmi_intercepted, "svm.event.nmi_intercepted",
         "A pending NMI leaves by NMI before L2's first instruction, and L1 takes it once at STGI", "15.13.2",
         (&pending_nmi<true, false, false>))
SVM_CASE(event_nmi_intercepted_if_1, "svm.event.nmi_intercepted_if_1", "The same with L2's IF=1", "15.13.2",
         (&pending_nmi<true, false, true>))
SVM_CASE(event_nmi_intercepted_npt, "svm.event.nmi_intercepted_npt", "The same with nested paging", "15.13.2",
         (&pending_nmi<true, true, false>), .needs = "npt")
SVM_CASE(event_nmi_delivered, "svm.event.nmi_not_intercepted",
         "A pending NMI that is not intercepted reaches L2 before its first instruction", "15.13.2",
         (&pending_nmi<false, false, false>))
SVM_CASE(event_nmi_delivered_if_1, "svm.event.nmi_not_intercepted_if_1", "The same with L2's IF=1", "15.13.2",
         (&pending_nmi<false, false, true>))
SVM_CASE(event_nmi_delivered_npt, "svm.event.nmi_not_intercepted_npt", "The same on fresh nested page tables",
         "15.13.2", (&pending_nmi<false, true, false>), .needs = "npt")

SVM_TEST(event_nmi_before_intr, "svm.event.nmi_before_interrupt",
         "With both pending, the NMI leaves first, the interrupt by the next VMRUN", "8.5") {
    count_interrupts(vector);
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    guest.intercept(Intercept::nmi);
    guest::disable_interrupts(); // L1 takes neither before the second VMRUN but the NMI
    interrupt_self(vector);
    clgi();
    nmi_self();
    guest.run_to(ExitCode::nmi, "the NMI");
    settle();
    expect_equal(nmis(), 1U, "NMIs that L1 has seen");
    guest.run_to(ExitCode::intr, "the interrupt");
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(vector), 1U, "interrupts that L1 has seen");
    guest.run_to_end();
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
}

// An NMI blocks NMIs until IRET (8.1.6 and 8.5.2); L0 watches for that IRET behind L2's back.
namespace {
struct Depth {
    std::uint32_t now, most, sent;
};
Depth depth; // of this machine's one vCPU

// Sends one more NMI from the handler of the first.
void nest_nmi() {
    if (++depth.now > depth.most)
        depth.most = depth.now;
    if (depth.sent++ == 0) {
        nmi_self();
        settle();
    }
    guest::add(guest::this_vcpu().nmis, std::uint64_t{1});
    --depth.now;
}
std::uint32_t own_apic_id;
bool nest_nmi_in_l2(guest::ExceptionFrame&) {
    if (++depth.now > depth.most)
        depth.most = depth.now;
    if (depth.sent++ == 0) {
        send_event_from_l2(own_apic_id, guest::apic::Delivery::nmi);
        settle();
    }
    --depth.now;
    return true;
}
void expect_blocked_in_l1() {
    depth = {};
    const auto before = nmis();
    guest::set_nmi_handler(&nest_nmi);
    nmi_self();
    settle();
    expect_equal(depth.most, 1U, "NMIs of L1 within each other");
    expect_equal(nmis() - before, 2U, "NMIs that L1 has seen");
}
} // namespace
SVM_TEST(event_nmi_blocks_l1, "svm.event.nmi_blocked_in_l1", "An NMI in L1 blocks the next until its IRET",
         "8.5.2") {
    expect_blocked_in_l1();
}
SVM_TEST(event_nmi_blocks_after_inject, "svm.event.nmi_blocked_in_l1_after_inject",
         "An NMI in L1 blocks the next also after L1 has injected one into L2", "8.5.2") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().event_inj = event(EventType::nmi, 2);
    guest.run_to_end();
    expect_equal(guest.context().exceptions[2], 1U, "NMIs that L2 has seen");
    expect_blocked_in_l1();
}
SVM_TEST(event_nmi_blocks_after_refused, "svm.event.nmi_blocked_in_l1_after_refused_inject",
         "An NMI in L1 blocks the next also after VMRUN refused a VMCB that injects one", "8.5.2") {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    guest.control().event_inj = event(EventType::nmi, 2);
    guest.control().n_cr3 = ~std::uint64_t{0};
    guest.control().asid = 0;
    guest.run_to(ExitCode::invalid, "ASID 0");
    expect_blocked_in_l1();
}
SVM_TEST(event_nmi_blocks_after_npf, "svm.event.nmi_blocked_in_l1_after_failed_inject",
         "An NMI in L1 blocks the next also after the injection of one ended in a nested page fault", "8.5.2",
         .needs = "npt") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    auto code = [] {};
    guest.start(code);
    tables.entry(conform::physical(guest.context().idt), 1) = 0;
    guest.control().event_inj = event(EventType::nmi, 2);
    guest.run_to(ExitCode::npf, "the read of the gate");
    expect_blocked_in_l1();
}
namespace {
template<bool paging>
void nmi_blocks_l2() {
    L2 guest;
    if (paging) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    own_apic_id = guest::this_vcpu().apic_id;
    auto code = [] {
        send_event_from_l2(own_apic_id, guest::apic::Delivery::nmi);
        settle();
    };
    guest.start(code);
    guest.context().hook = &nest_nmi_in_l2;
    guest.run_to_end();
    expect_equal(depth.most, 1U, "NMIs of L2 within each other");
    expect_equal(guest.context().exceptions[2], 2U, "NMIs that L2 has seen");
    expect_equal(nmis(), 0U, "NMIs that L1 has seen");
}
} // namespace
SVM_CASE(event_nmi_blocks_l2, "svm.event.nmi_blocked_in_l2",
         "A physical NMI in L2 blocks the next until L2's IRET", "8.5.2", &nmi_blocks_l2<false>)
SVM_CASE(event_nmi_blocks_l2_npt, "svm.event.nmi_blocked_in_l2_npt",
         "A physical NMI in L2 blocks the next until L2's IRET, with nested paging", "8.5.2",
         &nmi_blocks_l2<true>, .needs = "npt")
SVM_TEST(event_nmi_100, "svm.event.nmi_100_delivered",
         "A hundred NMIs that L2 sends itself reach its handler once each", "15.13.2") {
    L2 guest;
    const auto self = guest::this_vcpu().apic_id;
    const auto& seen = guest.context().exceptions[2];
    auto code = [&] {
        for (unsigned i = 1; i <= 100; ++i) {
            send_event_from_l2(self, guest::apic::Delivery::nmi);
            while (guest::load(seen) < i)
                guest::pause();
        }
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(guest.context().delivered, 100U, "events that L2 has seen");
    expect_equal(nmis(), 0U, "NMIs that L1 has seen");
}
SVM_TEST(event_nmi_100_exits, "svm.event.nmi_100_exits",
         "A hundred NMIs that L2 sends itself are a hundred NMI exits and reach L1 once each", "15.13.2") {
    L2 guest;
    guest.intercept(Intercept::nmi);
    const auto self = guest::this_vcpu().apic_id;
    auto code = [&] {
        for (;;)
            send_event_from_l2(self, guest::apic::Delivery::nmi);
    };
    guest.start(code);
    for (unsigned i = 1; i <= 100; ++i)
        if (!guest.run_to(ExitCode::nmi, conform::Text{"NMI ", i}) ||
            !expect_equal(nmis(), i, "NMIs that L1 has seen"))
            return;
}
// L1's own blocking is not lifted by an IRET of the L2 that it runs from its NMI handler: 15.13.2 gives no
// virtual NMI mask, so that what holds is one mask; only that L2 runs and L1 goes on is judged here.
namespace {
std::uint32_t l2_in_handler;
void run_l2_in_nmi() {
    L2 guest;
    auto code = [] {};
    guest.start(code);
    if (guest.run_to_end())
        l2_in_handler = 1;
    guest::add(guest::this_vcpu().nmis, std::uint64_t{1});
}
} // namespace
SVM_TEST(event_l2_in_nmi_handler, "svm.event.vmrun_in_nmi_handler", "L2 runs from L1's NMI handler",
         "15.13.2") {
    guest::set_nmi_handler(&run_l2_in_nmi);
    nmi_self();
    settle();
    expect_equal(l2_in_handler, 1U, "L2 has run in the handler");
    expect_equal(nmis(), 1U, "NMIs that L1 has seen");
    guest::set_nmi_handler(nullptr);
    nmi_self();
    settle();
    expect_equal(nmis(), 2U, "NMIs that L1 has seen after another");
}

} // namespace nestbed::svm
