// DR7 and IA32_DEBUGCTL of the guest-state area, with and without the controls that load and save them (SDM
// volume 3, "Loading Guest State", "Saving Guest State").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;

#define LOADING "Loading Guest Control Registers, Debug Registers, and MSRs"
#define SAVING "Saving Control Registers, Debug Registers, and MSRs"

namespace {

constexpr std::uint64_t some_dr7 = 0x455; // L0, L1, L2, L3 and fixed bit 10, on addresses that L2 never has

std::uint64_t dr7() {
    std::uint64_t value = 0;
    asm volatile("movq %%dr7, %0" : "=r"(value));
    return value;
}
void set_dr7(std::uint64_t value) {
    asm volatile("movq %0, %%dr7" : : "r"(value));
}
void set_far_breakpoints() {
    const std::uint64_t far = 0xffff'8000'0000'0000;
    asm volatile("movq %0, %%dr0; movq %0, %%dr1; movq %0, %%dr2; movq %0, %%dr3" : : "r"(far));
}

} // namespace

VMX_TEST(switch_dr7_load, "vmx.switch.dr7_load",
         "\"Load debug controls\" gives L2 the DR7 of the guest state", LOADING) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        for (;;) {
            seen = dr7();
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    set_far_breakpoints();
    set(Field::entry_controls, vm_entry::load_debug_controls);
    for (const auto value : {some_dr7, std::uint64_t{0x400}, std::uint64_t{0xdd0'0401}}) {
        write(Field::guest_dr7, value);
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        expect_equal(seen, value, "DR7 in L2");
        expect_equal(dr7(), 0x400U, "DR7 in L1 after the exit");
        guest.skip();
    }
}
VMX_TEST(switch_dr7_no_load, "vmx.switch.dr7_no_load",
         "Without \"load debug controls\" L2 has L1's DR7, whatever the guest state says", LOADING) {
    L2 guest;
    if (!allowed_entry().may_clear(vm_entry::load_debug_controls))
        return not_applicable("debug controls are always loaded");
    std::uint64_t seen = 0;
    auto code = [&] { seen = dr7(); };
    guest.start(code);
    set_far_breakpoints();
    clear(Field::entry_controls, vm_entry::load_debug_controls);
    write(Field::guest_dr7, 0x400 | 1U << 4);
    set_dr7(some_dr7);
    guest.run_to_end();
    expect_equal(seen, some_dr7, "DR7 in L2");
    expect_equal(dr7(), 0x400U, "DR7 in L1 after the exit");
}
VMX_TEST(switch_dr7_save, "vmx.switch.dr7_save", "\"Save debug controls\" saves the DR7 that L2 wrote",
         SAVING) {
    L2 guest;
    auto code = [] { set_dr7(some_dr7); };
    guest.start(code);
    set_far_breakpoints();
    set(Field::exit_controls, vm_exit::save_debug_controls);
    guest.run_to_end();
    expect_equal(read(Field::guest_dr7), some_dr7, "guest DR7");
    expect_equal(dr7(), 0x400U, "DR7 in L1 after the exit");
}
VMX_TEST(switch_dr7_no_save, "vmx.switch.dr7_no_save",
         "Without \"save debug controls\" the guest state keeps the DR7 that L1 wrote", SAVING) {
    L2 guest;
    if (!allowed_exit().may_clear(vm_exit::save_debug_controls))
        return not_applicable("debug controls are always saved");
    auto code = [] { set_dr7(some_dr7); };
    guest.start(code);
    set_far_breakpoints();
    clear(Field::exit_controls, vm_exit::save_debug_controls);
    write(Field::guest_dr7, 0x404);
    guest.run_to_end();
    expect_equal(read(Field::guest_dr7), 0x404U, "guest DR7");
    expect_equal(dr7(), 0x400U, "DR7 in L1 after the exit");
}
VMX_TEST(switch_dr7_in_force, "vmx.switch.dr7_in_force",
         "A data breakpoint of the guest's DR7 hits in L2, and none in L1 after the exit", LOADING) {
    L2 guest;
    std::uint64_t hits = 0;
    auto& word = guest.context().value[3];
    auto code = [&] { guest::store(word, std::uint64_t{1}); };
    guest.start(code);
    guest.context().resume |= 1U << 1;
    asm volatile("movq %0, %%dr0" : : "r"(&word));
    set(Field::entry_controls, vm_entry::load_debug_controls);
    write(Field::guest_dr7, 0x400 | 1U | 0x9U << 16); // writes, 8 bytes (LEN 10) with R/W0 01
    guest.run_to_end();
    expect_equal(guest.context().exceptions[1], 1U, "#DB that L2 has seen");
    hits = guest.context().exceptions[1];
    const auto fault = guest::catch_fault([&] { guest::store(word, std::uint64_t{2}); });
    expect_equal(fault.raised, false, "#DB in L1 after the exit");
    expect_equal(hits, guest.context().exceptions[1], "hits");
    std::uint64_t dr6 = 0;
    asm volatile("movq %%dr6, %0" : "=r"(dr6));
    expect_equal(dr6 & 0xf, 1U, "DR6, which is not switched: B0");
}

namespace {

// Bits of IA32_DEBUGCTL that L1 can set; 0 where there are none.
std::uint64_t debugctl_bit() {
    for (const std::uint64_t bit : {std::uint64_t{2}, std::uint64_t{1}}) { // BTF, LBR
        std::uint64_t seen = 0;
        const auto fault = guest::catch_fault([&] {
            guest::wrmsr(msr::debugctl, bit);
            seen = guest::rdmsr(msr::debugctl);
            guest::wrmsr(msr::debugctl, 0);
        });
        if (!fault.raised && seen == bit)
            return bit;
    }
    not_applicable("IA32_DEBUGCTL takes neither BTF nor LBR");
    return 0;
}

} // namespace

VMX_TEST(switch_debugctl, "vmx.switch.debugctl",
         "IA32_DEBUGCTL is loaded and saved with the debug controls, and 0 in L1 after the exit", LOADING) {
    const auto bit = debugctl_bit();
    if (bit == 0)
        return;
    L2 guest;
    std::uint64_t seen = ~std::uint64_t{0};
    auto code = [&] {
        seen = guest::rdmsr(msr::debugctl);
        guest::wrmsr(msr::debugctl, 0);
        guest::cpuid(0, 0);
        seen = guest::rdmsr(msr::debugctl);
        guest::wrmsr(msr::debugctl, bit);
    };
    guest.start(code);
    set(Field::entry_controls, vm_entry::load_debug_controls);
    set(Field::exit_controls, vm_exit::save_debug_controls);
    write(Field::guest_ia32_debugctl, bit);
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    expect_equal(seen, bit, "IA32_DEBUGCTL in L2");
    expect_equal(read(Field::guest_ia32_debugctl), 0U, "guest IA32_DEBUGCTL");
    guest.skip();
    guest.run_to_end();
    expect_equal(seen, 0U, "IA32_DEBUGCTL in L2 at the second entry");
    expect_equal(read(Field::guest_ia32_debugctl), bit, "guest IA32_DEBUGCTL");
    expect_equal(guest::rdmsr(msr::debugctl), 0U, "IA32_DEBUGCTL in L1");
}
VMX_TEST(switch_debugctl_no_load, "vmx.switch.debugctl_no_load",
         "Without the debug controls L2 has L1's IA32_DEBUGCTL, and the guest state keeps its own", LOADING) {
    const auto bit = debugctl_bit();
    if (bit == 0)
        return;
    if (!allowed_entry().may_clear(vm_entry::load_debug_controls) ||
        !allowed_exit().may_clear(vm_exit::save_debug_controls))
        return not_applicable("debug controls are always loaded and saved");
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::debugctl); };
    guest.start(code);
    clear(Field::entry_controls, vm_entry::load_debug_controls);
    clear(Field::exit_controls, vm_exit::save_debug_controls);
    guest::wrmsr(msr::debugctl, bit);
    guest.run_to_end();
    expect_equal(seen, bit, "IA32_DEBUGCTL in L2");
    expect_equal(read(Field::guest_ia32_debugctl), 0U, "guest IA32_DEBUGCTL");
    expect_equal(guest::rdmsr(msr::debugctl), 0U, "IA32_DEBUGCTL in L1");
}

} // namespace nestbed::vmx
