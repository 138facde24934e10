// INIT and SIPI sent to a vCPU that is in L2 or has GIF=0 (APM volume 2, 15.13.4, 15.17, 15.28).
//
// vCPU 1 is reset in these tests. The runtime's trampoline then brings it back to the same job, for its
// second life; what it left in static storage tells it so.
#include "core/guest/guard.hpp"
#include "nested/guest/barrier.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/l1.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {

constexpr std::uint32_t target = 1;

std::uint32_t lives;     // of the target
std::uint32_t in_place;  // the target is where INIT is to meet it
std::uint32_t heartbeat; // counts while the target runs
std::uint32_t seen_exit; // the target's L1 has INIT's exit
std::uint32_t go_on;     // the target may set GIF
std::uint32_t back;      // the target's second life has passed

// The host may be slow to run the target: what must happen is waited for, without end but the deadline.
void wait_for_beat() {
    const auto before = guest::load(heartbeat);
    conform::spin_until([&] { return guest::load(heartbeat) != before; });
}
void wait_for_silence() {
    for (auto before = guest::load(heartbeat);;) {
        wait_ms(20);
        const auto now = guest::load(heartbeat);
        if (now == before)
            return;
        before = now;
    }
}

// The vCPU's TSS is busy since its first life, which LTR refuses (APM volume 3, LTR).
void send_startup() {
    auto* const gdt =
        guest::pointer_to<std::uint8_t>(guest::mailbox_of(target).self + nestbed::wire::percpu_gdt);
    gdt[nestbed::wire::task_selector + 5] = 0x89;
    send_event(target, guest::apic::Delivery::startup, nestbed::wire::sipi_vector);
}

void expect_comes_back() {
    expect_equal(guest::load(back), 0U, "the target waits for SIPI after INIT");
    // Ignored while INIT has not yet arrived.
    while (guest::load(lives) < 2) {
        send_startup();
        wait_ms(50);
    }
    conform::spin_until([] { return guest::load(back) != 0; });
    expect_equal(guest::load(lives), 2U, "lives of the target");
}

// What INIT has left: no SVM, and all that is needed to have it again.
void second_life() {
    expect_equal(guest::rdmsr(msr::efer) & msr::efer_bit::svme, 0U, "EFER.SVME after INIT");
    const auto fault = guest::catch_fault([] { vmsave(conform::physical(this_host().state)); });
    expect(fault.is(6), "VMSAVE is #UD after INIT, with EFER.SVME=0");
    enable();
    expect_equal(gif_is_set(), true, "GIF after INIT");
    L2 next;
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    next.start(code);
    next.run_to_end("L2 runs after INIT");
    expect_equal(seen, 1U, "what L2 wrote");
    expect_equal(next.context().delivered, 0U, "events that L2 has seen");
    guest::store(back, 1U);
}

bool is_second_life() {
    return guest::add(lives, 1U) > 0;
}

enum class L2Does { spins, halts };

template<bool intercept, L2Does does, bool paging>
void init_in_l2() {
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        wait_ms(20);
        send_event(target, guest::apic::Delivery::init);
        if (intercept) {
            conform::spin_until([] { return guest::load(seen_exit) != 0; });
            wait_for_beat(); // L1 of the target goes on with GIF=0 after INIT's exit
            guest::store(go_on, 1U);
        }
        wait_ms(20);
        wait_for_silence();
        expect_comes_back();
        return;
    }
    if (is_second_life())
        return second_life();
    enable();
    L2 guest;
    if (paging) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    guest.intercept(Intercept::init, intercept);
    auto code = [] {
        guest::store(in_place, 1U);
        for (;;) {
            if (does == L2Does::halts)
                asm volatile("hlt");
            else
                guest::add(heartbeat, 1U);
        }
    };
    guest.start(code);
    clgi();
    svm_enter(guest.vmcb_pa(), &guest.registers, conform::physical(this_host().state));
    expect_equal(guest.control().exit_code, intercept ? ExitCode::init : ExitCode::invalid, "EXITCODE");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    guest::store(seen_exit, 1U);
    while (guest::load(go_on) == 0)
        guest::add(heartbeat, 1U);
    stgi(); // INIT is still pending
    for (;;)
        guest::add(heartbeat, 1U);
}

} // namespace

#define SMP_INIT(name, text, ...)                                                                            \
    SVM_CASE(smp_init_##name, "svm.smp.init_" #name, text, "15.13.4", (&init_in_l2<__VA_ARGS__, false>),     \
             .vcpus = 2, .enable = false)                                                                    \
    SVM_CASE(smp_init_##name##_npt, "svm.smp.init_" #name "_npt", text ", with nested paging", "15.13.4",    \
             (&init_in_l2<__VA_ARGS__, true>), .needs = "npt", .vcpus = 2, .enable = false)
SMP_INIT(intercepted, "An intercepted INIT leaves L2, waits for STGI and then resets the vCPU", true,
         L2Does::spins)
SMP_INIT(intercepted_hlt, "An intercepted INIT leaves a halted L2, waits for STGI and then resets the vCPU",
         true, L2Does::halts)
SMP_INIT(not_intercepted, "An INIT that is not intercepted resets the vCPU in L2", false, L2Does::spins)
SMP_INIT(not_intercepted_hlt, "An INIT that is not intercepted resets the vCPU in a halted L2", false,
         L2Does::halts)

SVM_TEST(smp_init_gif, "svm.smp.gif_holds_init", "INIT waits while GIF=0 and resets the vCPU at STGI",
         "15.17", .vcpus = 2, .enable = false) {
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        send_event(target, guest::apic::Delivery::init);
        wait_ms(20);
        wait_for_beat(); // the target goes on with GIF=0
        guest::store(go_on, 1U);
        wait_for_silence();
        return expect_comes_back();
    }
    if (is_second_life())
        return second_life();
    enable();
    clgi();
    guest::store(in_place, 1U);
    while (guest::load(go_on) == 0)
        guest::add(heartbeat, 1U);
    stgi();
    for (;;)
        guest::add(heartbeat, 1U);
}
SVM_TEST(smp_init_before_vmrun, "svm.smp.init_pending_at_vmrun",
         "An INIT that waits for GIF leaves by INIT before L2's first instruction", "15.13.4", .vcpus = 2,
         .enable = false) {
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        send_event(target, guest::apic::Delivery::init);
        guest::store(go_on, 1U);
        conform::spin_until([] { return guest::load(seen_exit) != 0; });
        wait_ms(20);
        return expect_comes_back();
    }
    if (is_second_life())
        return second_life();
    enable();
    L2 guest;
    guest.intercept(Intercept::init);
    auto code = [] {};
    guest.start(code);
    const auto rip = guest.save().rip;
    clgi();
    guest::store(in_place, 1U);
    conform::spin_until([] { return guest::load(go_on) != 0; });
    svm_enter(guest.vmcb_pa(), &guest.registers, conform::physical(this_host().state));
    expect_equal(guest.control().exit_code, ExitCode::init, "EXITCODE");
    expect_equal(guest.save().rip, rip, "RIP");
    guest::store(seen_exit, 1U);
    stgi();
    for (;;)
        guest::pause();
}

SVM_TEST(smp_sipi_ignored, "svm.smp.sipi_in_l2", "A SIPI to a vCPU that runs L2 is ignored", "16.5",
         .vcpus = 2) {
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        send_event(target, guest::apic::Delivery::startup, nestbed::wire::sipi_vector);
        wait_ms(20);
        guest::store(go_on, 1U);
        conform::spin_until([] { return guest::load(back) != 0; });
        expect_equal(guest::load(lives), 1U, "lives of the target");
        return;
    }
    expect(!is_second_life(), "the target was not reset");
    L2 guest;
    guest.intercept(Intercept::init);
    auto code = [] {
        guest::store(in_place, 1U);
        while (guest::load(go_on) == 0)
            guest::add(heartbeat, 1U);
    };
    guest.start(code);
    guest.run_to_end("L2 runs on after the SIPI");
    guest::store(back, 1U);
}

// VM_CR.R_INIT turns INIT into #SX (15.28), with INIT_REDIRECTION as its error code.
SVM_TEST(smp_r_init, "svm.smp.init_redirected", "With VM_CR.R_INIT=1, INIT is #SX with error code 1", "15.28",
         .vcpus = 2) {
    static std::uint32_t judged;
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        send_event(target, guest::apic::Delivery::init);
        conform::spin_until([] { return guest::load(judged) != 0; });
        return;
    }
    guest::wrmsr(msr::vm_cr, guest::rdmsr(msr::vm_cr) | msr::vm_cr_bit::r_init);
    const auto fault = guest::catch_fault([] {
        guest::store(in_place, 1U);
        for (;;)
            guest::pause();
    });
    expect(fault.is(30), "#SX");
    expect_equal(fault.error_code, 1U, "error code");
    guest::store(judged, 1U);
}

} // namespace nestbed::svm
