// The machine is taken away while L2 runs: the host has to put everything back that nested state holds. And
// VMXOFF with VMCSs about, triple faults, and INIT of one's own (SDM volume 3, "VMXOFF", "Other Causes of VM
// Exits", "Restrictions on VMX Operation").
#include "core/guest/apic.hpp"
#include "core/guest/guard.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;

namespace {

// L2 spins with RFLAGS.IF set: Bochs leaves it for no interrupt of the host otherwise.
L2_SNIPPET(teardown_halt, "1: hlt; jmp 1b");
L2_SNIPPET(teardown_loop, "1: pause; jmp 1b");
L2_SNIPPET(teardown_rdmsr, "1: rdmsr; jmp 1b");
L2_SNIPPET(teardown_cpuid, "1: cpuid; jmp 1b");

template<bool paging>
bool paging_for(L2& guest) {
    if (!paging)
        return true;
    if (!has_ept()) {
        not_applicable("KVM does not offer EPT");
        return false;
    }
    const ExtendedPageTables tables;
    tables.use_in(guest);
    return true;
}

template<bool paging>
void stopped_in(const Snippet& code) {
    L2 guest;
    if (!paging_for<paging>(guest))
        return;
    place(guest, code);
    guest.registers.rcx = 0x10; // the time stamp, which L0 reads for L2
    if (&code == &teardown_loop)
        set(Field::guest_rflags, rflags_if);
    clear(Field::primary_controls, primary::hlt_exiting);
    conform::announce();
    for (;;)
        guest.enter();
}
template<bool paging>
void in_loop() {
    stopped_in<paging>(teardown_loop);
}
template<bool paging>
void in_halt() {
    stopped_in<paging>(teardown_halt);
}
// L0 is busy with L2's instructions nearly all the time.
template<bool paging>
void in_exits() {
    stopped_in<paging>(teardown_rdmsr);
}
// Entry and exit, over and over.
template<bool paging>
void between_entries() {
    stopped_in<paging>(teardown_cpuid);
}
// L2 waits for a SIPI that nobody sends.
void in_wait_for_sipi() {
    if ((miscellaneous() >> 8 & 1) == 0)
        return not_applicable("KVM does not offer the wait-for-SIPI state");
    L2 guest;
    place(guest, teardown_loop);
    write(Field::guest_activity_state, 3);
    conform::announce();
    for (;;)
        guest.enter();
}
// An interrupt waits for ever, of L2's own, with IF clear.
void with_pending() {
    L2 guest;
    clear(Field::pin_based_controls, pin_based::external_interrupt_exiting);
    place(guest, teardown_rdmsr);
    guest.registers.rcx = 0x10;
    guest::disable_interrupts();
    send_event(guest::this_vcpu().vcpu, guest::apic::Delivery::fixed, 0x55);
    conform::announce();
    for (;;)
        guest.enter();
}
// Many VMCSs, each launched, none of them cleared.
void with_many() {
    for (int i = 0; i < 20; ++i) {
        L2 guest;
        place(guest, teardown_cpuid);
        guest.enter();
    }
    conform::announce();
    guest::halt_for_ever();
}
void in_root_halted() {
    L2 guest;
    place(guest, teardown_cpuid);
    guest.enter();
    conform::announce();
    guest::halt_for_ever();
}
void with_init_pending() {
    L2 guest;
    place(guest, teardown_loop);
    send_event(guest::this_vcpu().vcpu, guest::apic::Delivery::init);
    conform::announce();
    for (;;)
        guest::pause();
}

} // namespace

// NOLINTBEGIN
#define TEARDOWN(name, function, text)                                                                       \
    VMX_CASE(teardown_##name, "vmx.teardown." #name, "The machine ends while " text, "VM Entries",           \
             &function<false>, .ending = nested::wire::Ending::stopped)                                      \
    VMX_CASE(teardown_##name##_ept, "vmx.teardown." #name "_ept",                                            \
             "The machine ends while " text ", with EPT", "VM Entries", &function<true>, .needs = "ept",     \
             .ending = nested::wire::Ending::stopped)                                                        \
    VMX_CASE(teardown_##name##_4, "vmx.teardown." #name "_4", "The machine ends while on four vCPUs " text,  \
             "VM Entries", &function<false>, .vcpus = 4, .ending = nested::wire::Ending::stopped)            \
    VMX_CASE(teardown_##name##_ept_4, "vmx.teardown." #name "_ept_4",                                        \
             "The machine ends while on four vCPUs " text ", with EPT", "VM Entries", &function<true>,       \
             .needs = "ept", .vcpus = 4, .ending = nested::wire::Ending::stopped)
#define TEARDOWN_ONE(name, function, text)                                                                   \
    VMX_CASE(teardown_##name, "vmx.teardown." #name, "The machine ends while " text, "VM Entries",           \
             &function, .ending = nested::wire::Ending::stopped)
// NOLINTEND
TEARDOWN(loop, in_loop, "L2 loops")
TEARDOWN(halt, in_halt, "L2 is in HLT with IF clear")
TEARDOWN(exits, in_exits, "L0 carries out L2's instructions")
TEARDOWN(entries, between_entries, "L2 is entered and left")
TEARDOWN_ONE(wait_for_sipi, in_wait_for_sipi, "L2 waits for a SIPI")
TEARDOWN_ONE(pending, with_pending, "an interrupt of L2's waits for IF")
TEARDOWN_ONE(many, with_many, "20 VMCSs are active")
TEARDOWN_ONE(root, in_root_halted, "L1 is halted in VMX root operation")
TEARDOWN_ONE(init_pending, with_init_pending, "an INIT waits in VMX root operation")
VMX_TEST(teardown_one_in_l2, "vmx.teardown.others_idle",
         "The machine ends while one of four vCPUs runs L2 and the others halt", "VM Entries", .vcpus = 4,
         .ending = nested::wire::Ending::stopped) {
    if (guest::this_vcpu().vcpu == 2)
        return in_loop<false>();
    conform::announce();
    guest::halt_for_ever();
}

// A triple fault of L1's own is the machine's end, in VMX operation too.
namespace {
void shut_down() {
    struct [[gnu::packed]] {
        std::uint16_t limit = 0;
        std::uint64_t base = 0;
    } const no_table;
    conform::announce();
    asm volatile("lidt %0; ud2" : : "m"(no_table));
}
} // namespace
VMX_TEST(teardown_triple_fault, "vmx.teardown.l1_triple_fault",
         "A triple fault of L1 in VMX root operation shuts the machine down", "Restrictions on VMX Operation",
         .ending = nested::wire::Ending::shutdown) {
    L2 guest;
    place(guest, teardown_cpuid);
    guest.enter();
    shut_down();
}
VMX_TEST(teardown_triple_fault_off, "vmx.teardown.l1_triple_fault_after_vmxoff",
         "A triple fault of L1 after VMXOFF shuts the machine down", "VMXOFF",
         .ending = nested::wire::Ending::shutdown) {
    L2 guest;
    place(guest, teardown_cpuid);
    guest.enter();
    vmxoff();
    shut_down();
}

// One of L2's is an exit.
namespace {
L2_SNIPPET(teardown_ud, "ud2");
template<bool paging>
void triple_fault() {
    L2 guest;
    if (!paging_for<paging>(guest))
        return;
    for (unsigned round = 0; round < 3; ++round) {
        place(guest, teardown_ud);
        write(Field::guest_idtr_limit, 0);
        if (!guest.run_to(ExitReason::triple_fault, "the triple fault"))
            return;
        expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
        expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "interruption information, valid");
        expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
        expect_equal(read(Field::guest_rip), teardown_ud.address(), "guest RIP");
        expect_equal(read(Field::guest_activity_state), 0U, "activity state");
    }
    write(Field::guest_idtr_limit, 0xfff);
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    guest.start(code);
    guest.run_to_end("L2 runs afterwards");
    expect_equal(seen, 1U, "what L2 wrote");
}
} // namespace
VMX_CASE(teardown_l2_triple, "vmx.teardown.l2_triple_fault",
         "A triple fault of L2 is exit 2, three times over", "Other Causes of VM Exits", &triple_fault<false>)
VMX_CASE(teardown_l2_triple_ept, "vmx.teardown.l2_triple_fault_ept",
         "A triple fault of L2 is exit 2, three times over, with EPT", "Other Causes of VM Exits",
         &triple_fault<true>, .needs = "ept")

// VMXOFF and back.
namespace {
void run_one(L2& guest, const char* what) {
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    guest.start(code);
    guest.run_to_end(what);
    expect_equal(seen, 1U, "what L2 wrote");
}
void off_and_on() {
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    expect_equal(vmxon(conform::physical(vmxon_region())), Outcome::succeed, "VMXON");
}
} // namespace
VMX_TEST(teardown_off, "vmx.teardown.vmxoff_and_back", "A VMCS that was cleared runs after VMXOFF and VMXON",
         "VMXOFF") {
    L2 guest;
    run_one(guest, "L2 runs beforehand");
    expect_equal(vmclear(guest.vmcs_pa()), Outcome::succeed, "VMCLEAR");
    off_and_on();
    guest.clear();
    run_one(guest, "L2 runs again");
}
VMX_TEST(teardown_off_many, "vmx.teardown.vmxoff_50_times",
         "L2 runs each of 50 times that VMX operation was left", "VMXOFF") {
    L2 guest;
    for (int i = 0; i < 50; ++i) {
        run_one(guest, "L2 runs");
        expect_equal(vmclear(guest.vmcs_pa()), Outcome::succeed, "VMCLEAR");
        off_and_on();
        guest.clear();
    }
}
VMX_TEST(teardown_off_ept, "vmx.teardown.vmxoff_ept", "The same EPT tables work after VMXOFF and VMXON",
         "VMXOFF", .needs = "ept") {
    L2 guest;
    if (!paging_for<true>(guest))
        return;
    for (int i = 0; i < 10; ++i) {
        run_one(guest, "L2 runs");
        expect_equal(vmclear(guest.vmcs_pa()), Outcome::succeed, "VMCLEAR");
        off_and_on();
        guest.clear();
    }
}
VMX_TEST(teardown_off_registers, "vmx.teardown.vmxoff_registers",
         "VMXOFF lets CR4.VMXE and CR0.NE be cleared again, and L1's registers are its own", "VMXOFF") {
    L2 guest;
    run_one(guest, "L2 runs");
    const auto cr0 = guest::control_register<0>();
    const auto cr3 = guest::control_register<3>();
    const auto cr4 = guest::control_register<4>();
    const auto efer = guest::rdmsr(0xc000'0080);
    expect_equal(vmclear(guest.vmcs_pa()), Outcome::succeed, "VMCLEAR");
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    expect_equal(guest::control_register<0>(), cr0, "CR0");
    expect_equal(guest::control_register<3>(), cr3, "CR3");
    expect_equal(guest::control_register<4>(), cr4, "CR4");
    expect_equal(guest::rdmsr(0xc000'0080), efer, "EFER");
    const auto fault = guest::catch_fault([&] {
        write_cr4(cr4 & ~(std::uint64_t{1} << 13));
        write_cr0(cr0 & ~(std::uint64_t{1} << 5));
    });
    expect(!fault.raised, "neither MOV faults");
    expect_equal(guest::control_register<4>() >> 13 & 1, 0U, "CR4.VMXE");
    expect_equal(guest::control_register<0>() >> 5 & 1, 0U, "CR0.NE");
}
VMX_TEST(teardown_off_interrupts, "vmx.teardown.vmxoff_interrupts",
         "Interrupts and NMIs come as ever after VMXOFF", "VMXOFF") {
    count_interrupts(0x41);
    L2 guest;
    run_one(guest, "L2 runs beforehand");
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    const auto own = guest::this_vcpu().vcpu;
    send_event(own, guest::apic::Delivery::fixed, 0x41);
    send_event(own, guest::apic::Delivery::nmi);
    for (int i = 0; i < 2000; ++i)
        guest::pause();
    expect_equal(interrupts_taken_by(own, 0x41), 1U, "interrupts that L1 has seen");
    expect_equal(guest::load(guest::this_vcpu().nmis), 1U, "NMIs that L1 has seen");
}
VMX_TEST(teardown_off_dirty, "vmx.teardown.vmxoff_without_vmclear",
         "VMXOFF with a launched VMCS that nobody cleared lets another run after VMXON", "VMXOFF") {
    L2 first;
    run_one(first, "L2 runs");
    off_and_on();
    L2 second;
    run_one(second, "another L2 runs");
}
// INIT to oneself, on the one vCPU that there is.
VMX_TEST(teardown_init_self, "vmx.teardown.init_in_root", "INIT is blocked in VMX root operation: L1 runs on",
         "Restrictions on VMX Operation") {
    count_interrupts(0x41);
    const auto own = guest::this_vcpu().vcpu;
    send_event(own, guest::apic::Delivery::init);
    wait_ms(5);
    send_event(own, guest::apic::Delivery::fixed, 0x41);
    for (int i = 0; i < 2000; ++i)
        guest::pause();
    expect_equal(interrupts_taken_by(own, 0x41), 1U, "interrupts that L1 has seen");
    expect_equal(guest::control_register<4>() >> 13 & 1, 1U, "CR4.VMXE");
}
VMX_TEST(teardown_init_entry, "vmx.teardown.init_pending_at_entry",
         "An INIT of one's own leaves L2 by exit 3 before its first instruction, and is gone",
         "Other Causes of VM Exits") {
    L2 guest;
    std::uint64_t ran = 0;
    auto code = [&] { ran = 1; };
    guest.start(code);
    const auto rip = read(Field::guest_rip);
    send_event(guest::this_vcpu().vcpu, guest::apic::Delivery::init);
    if (!guest.run_to(ExitReason::init_signal, "INIT"))
        return;
    expect_equal(read(Field::guest_rip), rip, "guest RIP");
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
    expect_equal(read(Field::exit_interruption_information) >> 31, 0U, "interruption information, valid");
    expect_equal(guest::load(ran), 0U, "instructions of L2 that ran");
    guest.run_to_end("the next entry runs L2");
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    wait_ms(5);
    expect(true, "L1 runs on after VMXOFF");
}
VMX_TEST(teardown_init_l2, "vmx.teardown.init_sent_by_l2",
         "An INIT that L2 sends its own vCPU leaves L2 by exit 3", "Other Causes of VM Exits") {
    L2 guest;
    const auto id = guest::this_vcpu().apic_id;
    std::uint64_t ran = 0;
    auto code = [&] {
        send_event_from_l2(id, guest::apic::Delivery::init);
        ran = 1;
        for (;;)
            guest::pause();
    };
    guest.start(code);
    set(Field::guest_rflags, rflags_if);
    guest.run_to(ExitReason::init_signal, "INIT");
    expect(guest::load(ran) <= 1, "L2 was behind the WRMSR or at it");
}

} // namespace nestbed::vmx
