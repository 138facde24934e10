// What a VM entry that fails leaves behind, early and late (SDM volume 3, "VM-Entry Failures During or After
// Loading Guest State").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/msr_lists.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::Text;

namespace {

#define FAILURE "VM-Entry Failures During or After Loading Guest State"

constexpr std::uint64_t some = 0xffff'8123'4567'89ab;
constexpr std::uint64_t other = 0x7fff'fedc'ba98;

} // namespace

VMX_TEST(list_entry_fails_state, "vmx.switch.entry_load_fails_state",
         "A VM entry that fails at its MSR list loads the host state and saves nothing", FAILURE) {
    L2 guest;
    auto code = [] { guest::cpuid(0, 0); };
    guest.start(code);
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    auto* const list = use_msr_list(MsrList::entry_load, 1);
    list[0] = {msr::fs_base, 0, 0};
    auto* const store = use_msr_list(MsrList::exit_store, 1);
    store[0] = {msr::lstar, 0, 0x1234'5678};
    auto* const load = use_msr_list(MsrList::exit_load, 1);
    load[0] = {msr::kernel_gs_base, 0, some};
    guest::wrmsr(msr::kernel_gs_base, other);
    write(Field::host_ia32_sysenter_eip, other);
    write(Field::guest_rflags, 0x202);
    write(Field::guest_rip, 0x1000);
    write(Field::guest_ia32_sysenter_eip, 0x2000);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x44));
    write(Field::guest_interruptibility_state, 0);
    const auto length = read(Field::exit_instruction_length);
    const auto information = read(Field::exit_interruption_information);
    const auto vectoring = read(Field::idt_vectoring_information);
    const auto entry = guest.try_run();
    expect_equal(entry.reason, 0x8000'0022U, "exit reason");
    expect_equal(read(Field::exit_qualification), 1U, "exit qualification");
    // Of the host.
    expect_equal(guest::rdmsr(msr::kernel_gs_base), some, "the VM-exit MSR-load list is loaded");
    expect_equal(guest::rdmsr(msr::sysenter_eip), other, "IA32_SYSENTER_EIP of the host state");
    // Not of an exit.
    expect_equal(store[0].value, 0x1234'5678U, "the VM-exit MSR-store list is not written");
    expect_equal(read(Field::guest_rip), 0x1000U, "guest RIP");
    expect_equal(read(Field::guest_rflags), 0x202U, "guest RFLAGS");
    expect_equal(read(Field::guest_ia32_sysenter_eip), 0x2000U, "guest IA32_SYSENTER_EIP");
    expect_equal(read(Field::entry_interruption_information), event(EventType::external_interrupt, 0x44),
                 "VM-entry interruption information, still valid");
    expect_equal(read(Field::exit_instruction_length), length, "VM-exit instruction length");
    expect_equal(read(Field::exit_interruption_information), information, "VM-exit interruption information");
    expect_equal(read(Field::idt_vectoring_information), vectoring, "IDT-vectoring information");
}

namespace {

void failed_entry_state(Field field, std::uint64_t bad) {
    L2 guest;
    auto code = [] { guest::cpuid(0, 0); };
    guest.start(code);
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    auto* const entry_list = use_msr_list(MsrList::entry_load, 1);
    entry_list[0] = {msr::lstar, 0, 0x4321};
    auto* const store = use_msr_list(MsrList::exit_store, 1);
    store[0] = {msr::lstar, 0, 0x1234'5678};
    auto* const load = use_msr_list(MsrList::exit_load, 1);
    load[0] = {msr::kernel_gs_base, 0, some};
    guest::wrmsr(msr::kernel_gs_base, other);
    guest::wrmsr(msr::lstar, 0x8765);
    const auto good = read(field);
    write(field, bad);
    write(Field::entry_interruption_information, event(EventType::hardware_exception, 6));
    const auto length = read(Field::exit_instruction_length);
    const auto rip = read(Field::guest_rip);
    const auto entry = guest.try_run();
    expect_equal(entry.reason, 0x8000'0021U, "exit reason");
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
    expect_equal(guest::rdmsr(msr::kernel_gs_base), some, "the VM-exit MSR-load list is loaded");
    expect_equal(guest::rdmsr(msr::lstar), 0x8765U, "the VM-entry MSR-load list is not");
    expect_equal(store[0].value, 0x1234'5678U, "the VM-exit MSR-store list is not written");
    expect_equal(read(Field::guest_rip), rip, "guest RIP");
    expect_equal(read(field), bad, "the field that is wrong");
    expect_equal(read(Field::entry_interruption_information), event(EventType::hardware_exception, 6),
                 "VM-entry interruption information, still valid");
    expect_equal(read(Field::exit_instruction_length), length, "VM-exit instruction length");
    // VMRESUME, as before: the VMCS is launched.
    write(field, good);
    write(Field::entry_interruption_information, 0);
    guest.skip();
    guest.run_to_end("L2 goes on by VMRESUME");
}

} // namespace

VMX_TEST(
    failed_entry_cr4, "vmx.switch.failed_entry_cr4",
    "A VM entry that fails at CR4 loads the VM-exit MSR-load list, not that of the entry, and saves nothing",
    FAILURE) {
    failed_entry_state(Field::guest_cr4, 0x20); // VMXE must be 1
}
VMX_TEST(failed_entry_rflags, "vmx.switch.failed_entry_rflags",
         "A VM entry that fails at RFLAGS loads the VM-exit MSR-load list, not that of the entry, and saves "
         "nothing",
         FAILURE) {
    failed_entry_state(Field::guest_rflags, 0x200); // bit 1 must be 1
}

VMX_TEST(failed_valid_state, "vmx.switch.vmfail_state",
         "VMLAUNCH that fails with an invalid control or host field changes no state of L1's", "VM Entries") {
    for (const bool host : {false, true}) {
        L2 guest;
        auto code = [] {};
        guest.start(code);
        auto* const load = use_msr_list(MsrList::exit_load, 1);
        load[0] = {msr::kernel_gs_base, 0, some};
        auto* const entry_load = use_msr_list(MsrList::entry_load, 1);
        entry_load[0] = {msr::kernel_gs_base, 0, some + 1};
        guest::wrmsr(msr::kernel_gs_base, other);
        const auto cr0 = guest::control_register<0>();
        const auto cr3 = guest::control_register<3>();
        const auto cr4 = guest::control_register<4>();
        const auto fs = guest::rdmsr(msr::fs_base);
        const auto eip = guest::rdmsr(msr::sysenter_eip);
        std::uint64_t dr7 = 0;
        asm volatile("movq %0, %%dr7" : : "r"(std::uint64_t{0x600}));
        write(Field::host_fs_base, some);
        write(Field::host_ia32_sysenter_eip, some);
        write(Field::host_cr0, cr0 ^ 1U << 18);
        if (host)
            write(Field::host_cs_selector, 3);
        else
            write(Field::cr3_target_count, 0xffff);
        const auto entry = guest.try_run();
        asm volatile("movq %%dr7, %0" : "=r"(dr7));
        expect_equal(entry.outcome, Outcome::fail_valid, "VMLAUNCH fails");
        expect_equal(entry.error, host ? 8U : 7U, "VM-instruction error");
        expect_equal(guest::control_register<0>(), cr0, "CR0");
        expect_equal(guest::control_register<3>(), cr3, "CR3");
        expect_equal(guest::control_register<4>(), cr4, "CR4");
        expect_equal(guest::rdmsr(msr::fs_base), fs, "FS base");
        expect_equal(guest::rdmsr(msr::sysenter_eip), eip, "IA32_SYSENTER_EIP");
        expect_equal(guest::rdmsr(msr::kernel_gs_base), other, "IA32_KERNEL_GS_BASE");
        expect_equal(dr7, 0x600U, "DR7");
        asm volatile("movq %0, %%dr7" : : "r"(std::uint64_t{0x400}));
    }
}

} // namespace nestbed::vmx
