// INIT and SIPI sent to a vCPU in VMX operation (SDM volume 3, "Other Causes of VM Exits", "Restrictions on
// VMX Operation").
//
// vCPU 1 is reset in some of these. The runtime's trampoline then brings it back to the same job, for its
// second life; what it left in static storage tells it so.
#include "core/guest/guard.hpp"
#include "nested/guest/barrier.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/events.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;

namespace {

using guest::apic::Delivery;

constexpr std::uint32_t target = 1;

std::uint32_t lives;     // of the target
std::uint32_t in_place;  // the target is where the event is to meet it
std::uint32_t heartbeat; // counts while the target's L1 runs
std::uint32_t seen_exit; // the target's L1 has the exit
std::uint32_t go_on;
std::uint32_t back; // the target's part has passed

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
void beat_until_told() {
    while (guest::load(go_on) == 0)
        guest::add(heartbeat, 1U);
}

// The vCPU's TSS is busy since its first life, which LTR refuses.
void send_startup() {
    auto* const gdt =
        guest::pointer_to<std::uint8_t>(guest::mailbox_of(target).self + nestbed::wire::percpu_gdt);
    gdt[nestbed::wire::task_selector + 5] = 0x89;
    send_event(target, Delivery::startup, nestbed::wire::sipi_vector);
}
void expect_comes_back() {
    expect_equal(guest::load(back), 0U, "the target waits for SIPI after INIT");
    while (guest::load(lives) < 2) {
        send_startup();
        wait_ms(50);
    }
    conform::spin_until([] { return guest::load(back) != 0; });
    expect_equal(guest::load(lives), 2U, "lives of the target");
}
bool is_second_life() {
    return guest::add(lives, 1U) > 0;
}
// What INIT has left: no VMX operation, and all that is needed to have it again.
void second_life() {
    expect_equal(guest::control_register<4>() >> 13 & 1, 0U, "CR4.VMXE after INIT");
    const auto fault = guest::catch_fault([] { vmptrld(conform::physical(vmxon_region())); });
    expect(fault.is(6), "VMPTRLD is #UD after INIT");
    prepare();
    expect_equal(vmxon(conform::physical(vmxon_region())), Outcome::succeed, "VMXON after INIT");
    L2 next;
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    next.start(code);
    next.run_to_end("L2 runs after INIT");
    expect_equal(seen, 1U, "what L2 wrote");
    guest::store(back, 1U);
}

// INIT leaves L2 and is gone with that: L1 goes on, also out of VMX operation.
template<bool halted>
void init_exits() {
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        wait_ms(20);
        send_event(target, Delivery::init);
        conform::spin_until([] { return guest::load(seen_exit) != 0; });
        wait_for_beat();
        wait_ms(20);
        wait_for_beat();
        guest::store(go_on, 1U);
        conform::spin_until([] { return guest::load(back) != 0; });
        expect_equal(guest::load(lives), 1U, "lives of the target");
        return;
    }
    expect(!is_second_life(), "the target was not reset");
    L2 guest;
    clear(Field::primary_controls, primary::hlt_exiting);
    auto code = [] {
        guest::store(in_place, 1U);
        for (;;) {
            if (halted)
                asm volatile("hlt");
            else
                guest::pause();
        }
    };
    guest.start(code);
    set(Field::guest_rflags, rflags_if);
    if (guest.run_to(ExitReason::init_signal, "INIT")) {
        expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
        expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "interruption information, valid");
        expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
        expect_equal(read(Field::guest_activity_state), halted ? 1U : 0U, "activity state");
    }
    guest::store(seen_exit, 1U);
    beat_until_told();
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    for (int i = 0; i < 2000; ++i)
        guest::pause();
    expect(true, "L1 runs on after VMXOFF: INIT is gone");
    guest::store(back, 1U);
}

} // namespace

VMX_CASE(smp_init_exits, "vmx.smp.init_exits", "INIT leaves L2 by exit 3 and resets nothing",
         "Other Causes of VM Exits", &init_exits<false>, .vcpus = 2)
VMX_CASE(smp_init_exits_hlt, "vmx.smp.init_exits_hlt", "INIT leaves an L2 in HLT by exit 3, saved in HLT",
         "Other Causes of VM Exits", &init_exits<true>, .vcpus = 2)

VMX_TEST(smp_init_root, "vmx.smp.init_blocked_in_root",
         "INIT waits in VMX root operation and resets the vCPU at VMXOFF", "Restrictions on VMX Operation",
         .vcpus = 2, .enable = false) {
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        send_event(target, Delivery::init);
        wait_ms(20);
        wait_for_beat(); // in root operation it goes on
        guest::store(go_on, 1U);
        wait_ms(20);
        wait_for_silence();
        return expect_comes_back();
    }
    if (is_second_life())
        return second_life();
    enable();
    guest::store(in_place, 1U);
    beat_until_told();
    vmxoff();
    for (;;)
        guest::add(heartbeat, 1U);
}
VMX_TEST(smp_init_pending, "vmx.smp.init_pending_at_entry",
         "An INIT that waits in VMX root operation leaves L2 by exit 3 before its first instruction",
         "Other Causes of VM Exits", .vcpus = 2) {
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        send_event(target, Delivery::init);
        wait_ms(20);
        guest::store(go_on, 1U);
        conform::spin_until([] { return guest::load(back) != 0; });
        expect_equal(guest::load(lives), 1U, "lives of the target");
        return;
    }
    expect(!is_second_life(), "the target was not reset");
    L2 guest;
    std::uint64_t ran = 0;
    auto code = [&] { ran = 1; };
    guest.start(code);
    const auto rip = read(Field::guest_rip);
    guest::store(in_place, 1U);
    beat_until_told();
    if (guest.run_to(ExitReason::init_signal, "INIT")) {
        expect_equal(read(Field::guest_rip), rip, "guest RIP");
        expect_equal(guest::load(ran), 0U, "instructions of L2 that ran");
        guest.run_to_end("the next entry runs L2: INIT is gone");
    }
    guest::store(back, 1U);
}
VMX_TEST(smp_sipi_active, "vmx.smp.sipi_ignored", "A SIPI to a vCPU whose L2 is active is ignored",
         "Other Causes of VM Exits", .vcpus = 2) {
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        send_event(target, Delivery::startup, nestbed::wire::sipi_vector);
        wait_ms(20);
        guest::store(go_on, 1U);
        conform::spin_until([] { return guest::load(back) != 0; });
        expect_equal(guest::load(lives), 1U, "lives of the target");
        return;
    }
    expect(!is_second_life(), "the target was not reset");
    L2 guest;
    auto code = [] {
        guest::store(in_place, 1U);
        while (guest::load(go_on) == 0)
            guest::pause();
    };
    guest.start(code);
    set(Field::guest_rflags, rflags_if);
    guest.run_to_end("L2 runs on after the SIPI");
    guest::store(back, 1U);
}

// The wait-for-SIPI state.
namespace {

constexpr std::uint64_t wait_for_sipi = 3;

bool offered() {
    if ((miscellaneous() >> 8 & 1) != 0)
        return true;
    not_applicable("KVM does not offer the wait-for-SIPI state");
    return false;
}

// Before the SIPI comes what must do nothing in that state.
enum class First { nothing, interrupt, nmi };

template<std::uint8_t page, First first>
void sipi_exits() {
    constexpr std::uint8_t vector = 0x93;
    if (!offered())
        return;
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        wait_ms(20);
        if (first == First::interrupt)
            send_event(target, Delivery::fixed, vector);
        if (first == First::nmi)
            send_event(target, Delivery::nmi);
        wait_ms(20);
        expect_equal(guest::load(seen_exit), 0U, "exits before the SIPI");
        // In L2 it may not be at the first.
        while (guest::load(seen_exit) == 0) {
            send_event(target, Delivery::startup, page);
            wait_ms(20);
        }
        conform::spin_until([] { return guest::load(back) != 0; });
        expect_equal(guest::load(lives), 1U, "lives of the target");
        return;
    }
    expect(!is_second_life(), "the target was not reset");
    count_interrupts(vector);
    L2 guest;
    std::uint64_t ran = 0;
    auto code = [&] { ran = 1; };
    guest.start(code);
    const auto rip = read(Field::guest_rip);
    write(Field::guest_activity_state, wait_for_sipi);
    set(Field::pin_based_controls, pin_based::nmi_exiting);
    guest::disable_interrupts();
    guest::store(in_place, 1U);
    const bool left = guest.run_to(ExitReason::startup_ipi, "the SIPI");
    guest::store(seen_exit, 1U);
    if (left) {
        expect_equal(read(Field::exit_qualification), page, "exit qualification: the vector");
        expect_equal(read(Field::guest_rip), rip, "guest RIP");
        expect_equal(read(Field::guest_activity_state), wait_for_sipi, "activity state");
        expect_equal(guest::load(ran), 0U, "instructions of L2 that ran");
    }
    guest::enable_interrupts();
    for (int i = 0; i < 2000; ++i)
        guest::pause();
    expect_equal(interrupts_taken_by(target, vector), first == First::interrupt ? 1U : 0U,
                 "interrupts that L1 has taken after the exit");
    expect_equal(guest::load(guest::this_vcpu().nmis), first == First::nmi ? 1U : 0U,
                 "NMIs that L1 has taken after the exit");
    write(Field::guest_activity_state, 0);
    guest.run_to_end("L2 runs once it is active");
    guest::store(back, 1U);
}

} // namespace
VMX_CASE(smp_sipi, "vmx.smp.sipi_exits", "A SIPI leaves an L2 in wait-for-SIPI by exit 4 with its vector",
         "Other Causes of VM Exits", (&sipi_exits<0x08, First::nothing>), .vcpus = 2)
VMX_CASE(smp_sipi_9f, "vmx.smp.sipi_exits_vector", "The whole vector of a SIPI is in the exit qualification",
         "Basic VM-Exit Information", (&sipi_exits<0x9f, First::nothing>), .vcpus = 2)
VMX_CASE(smp_sipi_interrupt, "vmx.smp.sipi_blocks_interrupts",
         "An interrupt waits while L2 is in wait-for-SIPI, and is L1's after the exit",
         "Other Causes of VM Exits", (&sipi_exits<0x08, First::interrupt>), .vcpus = 2)
VMX_CASE(smp_sipi_nmi, "vmx.smp.sipi_blocks_nmi",
         "An NMI waits while L2 is in wait-for-SIPI, and is L1's after the exit", "Other Causes of VM Exits",
         (&sipi_exits<0x08, First::nmi>), .vcpus = 2)

} // namespace nestbed::vmx
