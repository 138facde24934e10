// The host takes a vCPU's state away and gives it back (KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE) in VMX
// root operation and while L2 runs. No instruction of L1 or L2 may show that it has done so.
#include "nested/vmx/guest/tests/state.hpp"
#include "core/guest/guard.hpp"
#include "nested/guest/memory.hpp"
#include "nested/guest/reload.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/snippet.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::has_reload;
using conform::Hex;
using conform::reload;
using conform::Text;

namespace {

constexpr std::uint64_t no_vmcs = ~std::uint64_t{0};

L2_SNIPPET(reload_in_l2, RELOAD_INSTRUCTION);

} // namespace

VMX_TEST(state_l2, "vmx.state.l2_registers",
         "L2 has all its registers after its vCPU's state was taken and given back", "Loading Guest State") {
    if (!has_reload())
        return;
    L2 guest;
    const HostState host;
    place(guest, reload_in_l2);
    guest.registers.rdx = nestbed::wire::reload_port;
    write(Field::guest_rflags, 2 | 0x8d5);
    write(Field::guest_ia32_sysenter_esp, 0x5a5a'1000);
    const auto registers = guest.registers;
    if (!expect_executes(guest, reload_in_l2))
        return;
    std::uint64_t before[guest_state_fields];
    for (std::size_t i = 0; i < guest_state_fields; ++i)
        before[i] = read(guest_state[i]);
    write(Field::guest_rip, reload_in_l2.address());
    if (!expect_executes(guest, reload_in_l2))
        return;
    for (std::size_t i = 0; i < guest_state_fields; ++i)
        expect_equal(read(guest_state[i]), before[i],
                     Text{"field ", Hex{static_cast<std::uint64_t>(guest_state[i])}});
    expect_equal(read(Field::guest_rflags), 2U | 0x8d5, "guest RFLAGS");
    expect_equal(read(Field::guest_ia32_sysenter_esp), 0x5a5a'1000U, "guest IA32_SYSENTER_ESP");
    const auto* const was = &registers.rax;
    const auto* const is = &guest.registers.rax;
    for (unsigned i = 0; i < 15; ++i)
        expect_equal(is[i], was[i],
                     Text{"general register ", i, " (RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8...)"});
    expect_host(host);
}

VMX_TEST(state_many, "vmx.state.many",
         "L2 runs on though its vCPU's state is taken and given back fifty times", "VM Entries") {
    if (!has_reload())
        return;
    L2 guest;
    std::uint64_t rounds = 0;
    auto code = [&] {
        for (int i = 0; i < 50; ++i) {
            reload();
            ++rounds;
        }
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(rounds, 50U, "rounds of L2's");
}

VMX_TEST(
    state_exits, "vmx.state.controls",
    "What exits still does, and what does not still does not, after the vCPU's state was taken and given "
    "back",
    "VM-Execution Control Fields") {
    if (!has_reload())
        return;
    L2 guest;
    if (!use_primary(primary::use_msr_bitmaps | primary::use_io_bitmaps | primary::hlt_exiting))
        return;
    guest.intercept_exception(6);
    constexpr std::uint16_t exit_port = nestbed::wire::exit_port;
    guest.io_bitmaps()[exit_port / 8] |= 1U << exit_port % 8;
    // Reads of C0000000H and above are the second quarter of the bitmap.
    guest.msr_bitmap()[0x400 + (msr::star - 0xc000'0000) / 8] |= 1U << msr::star % 8;
    auto code = [] {
        reload();
        guest::cpuid(0, 0);
        reload();
        guest::rdmsr(msr::star);
        reload();
        guest::rdmsr(msr::lstar);
        guest::out32(exit_port, 0);
        reload();
        asm volatile("hlt");
        reload();
        asm volatile("ud2");
    };
    guest.start(code);
    if (!exit_after(guest, ExitReason::cpuid, "CPUID") ||
        !exit_after(guest, ExitReason::rdmsr, "RDMSR of STAR") ||
        !guest.run_to(ExitReason::io_instruction, "OUT"))
        return;
    expect_equal(read(Field::exit_qualification) >> 16, exit_port, "exit qualification: the port");
    guest.skip();
    if (!exit_after(guest, ExitReason::hlt, "HLT"))
        return;
    if (guest.run_to(ExitReason::exception_or_nmi, "UD2"))
        expect_equal(read(Field::exit_interruption_information) & 0xff, 6U, "vector");
}

VMX_TEST(state_masks, "vmx.state.masks_and_shadows",
         "CR0 and CR4 read as their shadows after the vCPU's state was taken and given back",
         "Guest/Host Masks and Read Shadows for CR0 and CR4") {
    if (!has_reload())
        return;
    L2 guest;
    constexpr std::uint64_t ts = 1U << 3;
    constexpr std::uint64_t de = 1U << 3;
    constexpr std::uint64_t vmxe = 1U << 13;
    write(Field::cr0_guest_host_mask, ts);
    write(Field::cr0_read_shadow, ts);
    write(Field::cr4_guest_host_mask, de | vmxe);
    write(Field::cr4_read_shadow, de);
    std::uint64_t cr0[2]{};
    std::uint64_t cr4[2]{};
    auto code = [&] {
        cr0[0] = guest::control_register<0>();
        cr4[0] = guest::control_register<4>();
        reload();
        cr0[1] = guest::control_register<0>();
        cr4[1] = guest::control_register<4>();
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(cr0[1] & ts, ts, "CR0.TS as L2 reads it");
    expect_equal(cr4[1] & (de | vmxe), de, "CR4.DE and CR4.VMXE as L2 reads them");
    expect_equal(cr0[1], cr0[0], "CR0 as L2 reads it");
    expect_equal(cr4[1], cr4[0], "CR4 as L2 reads it");
}

VMX_TEST(state_msrs, "vmx.state.msrs", "MSRs of L2's last when the vCPU's state is taken and given back",
         "Saving MSRs") {
    if (!has_reload())
        return;
    L2 guest;
    static constexpr std::uint32_t indexes[]{msr::star,          msr::lstar,        msr::sfmask,
                                             msr::sysenter_cs,   msr::sysenter_esp, msr::sysenter_eip,
                                             msr::kernel_gs_base};
    constexpr std::size_t count = sizeof indexes / sizeof indexes[0];
    std::uint64_t seen[count]{};
    auto code = [&] {
        for (std::size_t i = 0; i < count; ++i)
            guest::wrmsr(indexes[i], 0x1000 * (i + 1));
        reload();
        for (std::size_t i = 0; i < count; ++i)
            seen[i] = guest::rdmsr(indexes[i]);
    };
    const HostState host;
    guest.start(code);
    guest.run_to_end();
    for (std::size_t i = 0; i < count; ++i)
        expect_equal(seen[i], 0x1000 * (i + 1), Text{"MSR ", Hex{indexes[i]}, " in L2"});
    expect_host(host);
}

VMX_TEST(state_tsc, "vmx.state.tsc_offset",
         "The TSC offset lasts when the vCPU's state is taken and given back",
         "Time-Stamp Counter Offset and Multiplier") {
    if (!has_reload())
        return;
    constexpr std::uint64_t offset = std::uint64_t{1} << 50;
    // What a slow machine takes for all of it.
    constexpr std::uint64_t long_time = std::uint64_t{1} << 44;
    L2 guest;
    if (!use_primary(primary::use_tsc_offsetting))
        return;
    write(Field::tsc_offset, offset);
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    auto code = [&] {
        before = guest::rdtsc();
        reload();
        after = guest::rdtsc();
    };
    const auto start = guest::rdtsc();
    guest.start(code);
    guest.run_to_end();
    const auto end = guest::rdtsc();
    expect(before - offset - start < long_time, "L2's TSC before it: L1's and the offset");
    expect(after - before < long_time, "L2's TSC runs on");
    expect(end - start < long_time, "L1's TSC runs on");
    expect(end + offset - after < long_time, "L1's TSC behind L2's by the offset");
}

VMX_TEST(state_timer, "vmx.state.preemption_timer",
         "The preemption timer goes on where it was after the vCPU's state was taken and given back",
         "VMX-Preemption Timer") {
    if (!has_reload())
        return;
    L2 guest;
    if (!use_pin_based(pin_based::activate_vmx_preemption_timer))
        return;
    // 50 ms of TSC; it counts down once in 2^n of them.
    const auto rate = miscellaneous() & 0x1f;
    const auto ticks = guest::header().tsc_khz * 50;
    write(Field::preemption_timer_value, ticks >> rate);
    // With interrupts on: Bochs does not leave a guest for a host's interrupt otherwise.
    auto code = [] {
        guest::enable_interrupts();
        reload();
        for (;;)
            guest::pause();
    };
    guest.start(code);
    const auto begin = guest::rdtsc();
    if (guest.run_to(ExitReason::preemption_timer_expired, "the timer"))
        expect(guest::rdtsc() - begin >= ticks / 2, "it has not expired before its time");
}

VMX_TEST(state_mtf, "vmx.state.monitor_trap_flag",
         "A monitor-trap-flag exit that is due comes after the vCPU's state was taken and given back",
         "Monitor Trap Flag") {
    if (!has_reload())
        return;
    L2 guest;
    if (!use_primary(primary::monitor_trap_flag))
        return;
    place(guest, reload_in_l2);
    guest.registers.rdx = nestbed::wire::reload_port;
    if (guest.run_to(ExitReason::monitor_trap_flag, "the OUT in L2"))
        expect_equal(read(Field::guest_rip), reload_in_l2.end(), "guest RIP: past the OUT");
}

VMX_TEST(state_two, "vmx.state.two_guests",
         "Two L2 guests in turn, each with its own state that is taken and given back", "VM Entries") {
    if (!has_reload())
        return;
    L2 one;
    L2 two;
    std::uint64_t seen[2]{};
    L2* const guests[]{&one, &two};
    struct Job {
        std::uint64_t own;
        std::uint64_t* seen;
    };
    Job jobs[]{{0x1000, &seen[0]}, {0x2000, &seen[1]}};
    for (unsigned i = 0; i < 2; ++i) {
        guests[i]->load();
        guests[i]->start_at(
            [](void* argument) {
                auto& job = *static_cast<Job*>(argument);
                guest::wrmsr(msr::sysenter_esp, job.own);
                for (;;) {
                    reload();
                    guest::cpuid(0, 0);
                    guest::store(*job.seen, guest::rdmsr(msr::sysenter_esp));
                }
            },
            &jobs[i]);
    }
    for (int round = 0; round < 6; ++round) {
        auto& guest = *guests[round % 2];
        guest.load();
        if (!exit_after(guest, ExitReason::cpuid, "CPUID"))
            return;
    }
    expect_equal(seen[0], 0x1000U, "IA32_SYSENTER_ESP of the first");
    expect_equal(seen[1], 0x2000U, "IA32_SYSENTER_ESP of the second");
}

VMX_TEST(state_before, "vmx.state.before_vmxon",
         "VMXON works after the vCPU's state was taken and given back", "Enabling and Entering VMX Operation",
         .enable = false) {
    if (!has_reload())
        return;
    prepare();
    reload();
    enable();
    std::uint64_t pointer = 0;
    expect_equal(vmptrst(pointer), Outcome::succeed, "VMPTRST");
    expect_equal(pointer, no_vmcs, "the current VMCS");
}

VMX_TEST(state_root, "vmx.state.no_current_vmcs",
         "VMX operation without a current VMCS lasts when the vCPU's state is taken and given back",
         "Software Use of Virtual-Machine Control Structures") {
    if (!has_reload())
        return;
    reload();
    std::uint64_t pointer = 0;
    expect_equal(vmptrst(pointer), Outcome::succeed, "VMPTRST");
    expect_equal(pointer, no_vmcs, "the current VMCS");
    // In VMX operation, where it fails: no current VMCS, so VMfailInvalid.
    expect_equal(vmxon(conform::physical(vmxon_region())), Outcome::fail_invalid, "VMXON");
    L2 guest;
    auto code = [] { reload(); };
    guest.start(code);
    guest.run_to_end();
}

VMX_TEST(state_current, "vmx.state.current_vmcs",
         "The current VMCS and its fields last when the vCPU's state is taken and given back",
         "Software Use of Virtual-Machine Control Structures") {
    if (!has_reload())
        return;
    L2 guest;
    constexpr Field probes[]{Field::guest_es_selector,   Field::exception_bitmap, Field::tsc_offset,
                             Field::guest_rip,           Field::host_rip,         Field::host_cs_selector,
                             Field::guest_ia32_debugctl, Field::cr3_target_count};
    std::uint64_t before[sizeof probes / sizeof probes[0]];
    write(Field::guest_rip, 0x1234'5678'9abc);
    write(Field::exception_bitmap, 0x8765'4321);
    for (unsigned i = 0; i < sizeof probes / sizeof probes[0]; ++i)
        before[i] = read(probes[i]);
    reload();
    std::uint64_t pointer = 0;
    expect_equal(vmptrst(pointer), Outcome::succeed, "VMPTRST");
    expect_equal(pointer, guest.vmcs_pa(), "the current VMCS");
    for (unsigned i = 0; i < sizeof probes / sizeof probes[0]; ++i)
        expect_equal(read(probes[i]), before[i], Text{"field ", Hex{static_cast<std::uint64_t>(probes[i])}});
    expect_equal(read(Field::guest_rip), 0x1234'5678'9abcU, "guest RIP");
    expect_equal(read(Field::exception_bitmap), 0x8765'4321U, "exception bitmap");
    // And an error is this VMCS's still: it has not been launched.
    expect_equal(vmresume(), Outcome::fail_valid, "VMRESUME of a VMCS that is clear");
    expect_equal(read(Field::instruction_error), 5U, "VM-instruction error");
    reload();
    expect_equal(read(Field::instruction_error), 5U, "VM-instruction error afterwards");
}

VMX_TEST(state_launched, "vmx.state.launched",
         "The launch state lasts when the vCPU's state is taken and given back between VM exit and VM entry",
         "Software Use of Virtual-Machine Control Structures") {
    if (!has_reload())
        return;
    L2 guest;
    const HostState host;
    std::uint64_t rounds = 0;
    auto code = [&] {
        for (;;) {
            ++rounds;
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    for (std::uint64_t i = 1; i <= 10; ++i) {
        if (!exit_after(guest, ExitReason::cpuid, "CPUID")) // from the second on by VMRESUME
            return;
        expect_equal(rounds, i, "rounds of L2's");
        reload();
        expect_equal(read(Field::exit_reason), static_cast<std::uint64_t>(ExitReason::cpuid), "exit reason");
        expect_host(host);
    }
    expect_equal(vmlaunch(), Outcome::fail_valid, "VMLAUNCH of a VMCS that is launched");
    expect_equal(read(Field::instruction_error), 4U, "VM-instruction error");
}

VMX_TEST(state_off, "vmx.state.after_vmxoff", "VMXOFF lasts when the vCPU's state is taken and given back",
         "VMXOFF - Leave VMX Operation") {
    if (!has_reload())
        return;
    {
        L2 guest;
        auto code = [] {};
        guest.start(code);
        guest.run_to_end();
        vmclear(guest.vmcs_pa());
    }
    expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
    reload();
    const auto fault = guest::catch_fault([] { vmxoff(); });
    expect(fault.is(6), "VMXOFF outside VMX operation is #UD");
    expect_equal(vmxon(conform::physical(vmxon_region())), Outcome::succeed, "VMXON");
}

} // namespace nestbed::vmx
