// The machine is taken away while L2 runs: the host has to put everything back that nested state holds. What
// is judged is that it can, and that the other vCPUs were well until then (APM volume 2, 15.5).
#include "core/guest/guard.hpp"
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

L2_CODE(l2_teardown_halt, 64, "1: cli; hlt; jmp 1b");
L2_CODE(l2_teardown_loop, 64, "1: pause; jmp 1b");
L2_CODE(l2_teardown_loop_16, 16, "1: jmp 1b");
L2_CODE(l2_teardown_cpuid, 64, "1: cpuid; jmp 1b");

void paging_for(L2& guest, bool paging) {
    if (!paging)
        return;
    const NestedPageTables tables;
    tables.use_in(guest);
}

template<bool paging>
void stopped_in(const char* code, std::uint64_t injected = 0) {
    L2 guest;
    paging_for(guest, paging);
    start_blob(guest, code);
    guest.control().event_inj = injected;
    guest.context().hook = [](guest::ExceptionFrame&) { return true; };
    conform::announce();
    for (;;)
        guest.run();
}
template<bool paging>
void in_loop() {
    stopped_in<paging>(l2_teardown_loop);
}
template<bool paging>
void in_halt() {
    stopped_in<paging>(l2_teardown_halt);
}
// L0 is busy with L2's CPUID nearly all the time.
template<bool paging>
void in_exits() {
    stopped_in<paging>(l2_teardown_cpuid);
}
// An interrupt is pending for ever: V_IRQ with IF=0, and a physical one that L2 holds back.
template<bool paging>
void with_pending() {
    L2 guest;
    paging_for(guest, paging);
    guest.intercept(Intercept::intr, false);
    start_blob(guest, l2_teardown_loop);
    guest.control().int_ctl = int_ctl::v_irq | 9U << int_ctl::v_intr_prio_shift;
    guest.control().int_vector = 0x99;
    clgi();
    interrupt_self(0x55);
    conform::announce();
    guest.run();
}
// L2 faults on the page that L1 gives and takes, each VMRUN with an event that cannot be delivered.
void with_failed_injection() {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    start_blob(guest, l2_teardown_loop);
    tables.entry(conform::physical(guest.context().idt), 1) = 0;
    conform::announce();
    for (;;) {
        guest.control().event_inj = event(EventType::nmi, 2);
        guest.enter();
    }
}
void in_real_mode() {
    L2 guest;
    set_real_mode(guest.save(), address_of(l2_teardown_loop_16),
                  conform::physical(conform::allocate_pages(2)));
    conform::announce();
    guest.run();
}
// VMRUN and exit, over and over.
void between_runs() {
    L2 guest;
    guest.intercept(Intercept::cpuid);
    start_blob(guest, l2_teardown_cpuid);
    conform::announce();
    for (;;)
        guest.enter();
}
// The last is in L1 with GIF=0, and something waits for it.
void with_gif_0() {
    L2 guest;
    guest.intercept(Intercept::cpuid);
    start_blob(guest, l2_teardown_cpuid);
    guest.enter();
    clgi();
    interrupt_self(0x55);
    nmi_self();
    conform::announce();
    for (;;)
        guest::pause();
}
void with_gif_0_halted() {
    clgi();
    nmi_self();
    conform::announce();
    for (;;)
        asm volatile("hlt");
}

} // namespace

#define TEARDOWN(name, function, text)                                                                       \
    SVM_CASE(teardown_##name, "svm.teardown." #name, "The machine ends while " text, "15.5",                 \
             &function<false>, .ending = nested::wire::Ending::stopped)                                      \
    SVM_CASE(teardown_##name##_npt, "svm.teardown." #name "_npt",                                            \
             "The machine ends while " text ", with nested paging", "15.5", &function<true>, .needs = "npt", \
             .ending = nested::wire::Ending::stopped)                                                        \
    SVM_CASE(teardown_##name##_4, "svm.teardown." #name "_4", "The machine ends while on four vCPUs " text,  \
             "15.5", &function<false>, .vcpus = 4, .ending = nested::wire::Ending::stopped)                  \
    SVM_CASE(teardown_##name##_npt_4, "svm.teardown." #name "_npt_4",                                        \
             "The machine ends while on four vCPUs " text ", with nested paging", "15.5", &function<true>,   \
             .needs = "npt", .vcpus = 4, .ending = nested::wire::Ending::stopped)
TEARDOWN(loop, in_loop, "L2 loops")
TEARDOWN(halt, in_halt, "L2 halts with IF=0")
TEARDOWN(exits, in_exits, "L0 carries out L2's instructions")
TEARDOWN(pending, with_pending, "interrupts are pending for L2")

SVM_CASE(teardown_failed_injection, "svm.teardown.failed_injection",
         "The machine ends while injections end in nested page faults", "15.20", &with_failed_injection,
         .needs = "npt", .ending = nested::wire::Ending::stopped)
SVM_CASE(teardown_real_mode, "svm.teardown.real_mode", "The machine ends while L2 loops in real mode", "15.5",
         &in_real_mode, .ending = nested::wire::Ending::stopped)
SVM_CASE(teardown_between, "svm.teardown.between_runs", "The machine ends in the middle of VMRUNs and exits",
         "15.5", &between_runs, .ending = nested::wire::Ending::stopped)
SVM_CASE(teardown_between_4, "svm.teardown.between_runs_4",
         "The machine ends in the middle of four vCPUs' VMRUNs and exits", "15.5", &between_runs, .vcpus = 4,
         .ending = nested::wire::Ending::stopped)
SVM_CASE(teardown_gif_0, "svm.teardown.gif_0", "The machine ends while L1 has GIF=0 and events wait", "15.17",
         &with_gif_0, .ending = nested::wire::Ending::stopped)
SVM_CASE(teardown_gif_0_halted, "svm.teardown.gif_0_halted",
         "The machine ends while L1 halts with GIF=0 and an NMI waits", "15.17", &with_gif_0_halted,
         .ending = nested::wire::Ending::stopped)
SVM_TEST(teardown_one_in_l2, "svm.teardown.others_idle",
         "The machine ends while one of four vCPUs runs L2 and the others halt", "15.5", .vcpus = 4,
         .ending = nested::wire::Ending::stopped) {
    if (guest::this_vcpu().vcpu == 2)
        return in_loop<false>();
    conform::announce();
    guest::halt_for_ever();
}

// EFER.SVME, taken away in L1 with VMCBs about, and back (15.4).
namespace {
void without_svme() {
    guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) & ~msr::efer_bit::svme);
}
void run_one(L2& guest, const char* what) {
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    guest.start(code);
    guest.run_to_end(what);
    expect_equal(seen, 1U, "what L2 wrote");
}
} // namespace
SVM_TEST(teardown_svme, "svm.teardown.svme_cleared",
         "Without EFER.SVME, VMRUN is #UD; with it again the same VMCB runs", "15.4") {
    L2 guest;
    run_one(guest, "L2 runs beforehand");
    without_svme();
    expect_equal(guest::rdmsr(msr::efer) & msr::efer_bit::svme, 0U, "EFER.SVME");
    const auto fault = guest::catch_fault([&] { vmrun(guest.vmcb_pa()); });
    expect(fault.is(6), "VMRUN is #UD");
    enable();
    run_one(guest, "L2 runs again");
}
SVM_TEST(teardown_svme_100, "svm.teardown.svme_toggled_100_times",
         "L2 runs each of a hundred times that EFER.SVME was cleared and set", "15.4") {
    L2 guest;
    for (int i = 0; i < 100; ++i) {
        without_svme();
        enable();
        run_one(guest, "L2 runs");
    }
}
SVM_TEST(teardown_svme_npt, "svm.teardown.svme_toggled_npt",
         "L2 runs on the same nested page tables after EFER.SVME was cleared and set", "15.4",
         .needs = "npt") {
    L2 guest;
    paging_for(guest, true);
    for (int i = 0; i < 20; ++i) {
        run_one(guest, "L2 runs");
        without_svme();
        enable();
    }
}
SVM_TEST(teardown_svme_interrupt, "svm.teardown.svme_cleared_interrupts",
         "Interrupts and NMIs come as ever after EFER.SVME was cleared", "15.4") {
    count_interrupts(0x41);
    L2 guest;
    run_one(guest, "L2 runs beforehand");
    without_svme();
    interrupt_self(0x41);
    nmi_self();
    settle();
    expect_equal(interrupts_taken(0x41), 1U, "interrupts that L1 has seen");
    expect_equal(guest::load(guest::this_vcpu().nmis), 1U, "NMIs that L1 has seen");
}
SVM_TEST(teardown_svme_other, "svm.teardown.svme_cleared_on_other_vcpu",
         "EFER.SVME cleared on one vCPU leaves L2 on the other alone", "15.4", .vcpus = 2) {
    static std::uint32_t running;
    static std::uint32_t finished;
    if (guest::this_vcpu().vcpu == 1) {
        L2 guest;
        auto code = [] {
            guest::store(running, 1U);
            while (guest::load(finished) == 0)
                guest::pause();
        };
        guest.start(code);
        guest.run_to_end("L2 runs on");
        return;
    }
    conform::spin_until([] { return guest::load(running) != 0; });
    L2 guest;
    for (int i = 0; i < 50; ++i) {
        run_one(guest, "L2 runs");
        without_svme();
        enable();
    }
    guest::store(finished, 1U);
}

} // namespace nestbed::svm
