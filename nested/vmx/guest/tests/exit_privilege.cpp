// What comes first: the exit, or the exception that the instruction has coming anyhow (SDM volume 3,
// "Relative Priority of Faults and VM Exits"); MOV DR; and what an exit says of the instruction beside its
// reason.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

constexpr std::uint8_t invalid_opcode = 6;
constexpr std::uint8_t general_protection = 13;

// Every control that could make the instruction leave is set, as far as it may be.
void intercept_all() {
    constexpr auto every = primary::hlt_exiting | primary::invlpg_exiting | primary::mwait_exiting |
                           primary::rdpmc_exiting | primary::rdtsc_exiting | primary::cr3_load_exiting |
                           primary::cr3_store_exiting | primary::cr8_load_exiting |
                           primary::cr8_store_exiting | primary::monitor_exiting | primary::pause_exiting;
    write(Field::primary_controls,
          allowed_primary().adjust(static_cast<std::uint32_t>(read(Field::primary_controls) | every)) &
              ~primary::use_msr_bitmaps);
    write(Field::secondary_controls,
          allowed_secondary().adjust(static_cast<std::uint32_t>(read(Field::secondary_controls)) |
                                     secondary::wbinvd_exiting | secondary::descriptor_table_exiting));
    write(Field::cr0_guest_host_mask, ~std::uint64_t{0});
    write(Field::cr4_guest_host_mask, ~std::uint64_t{0});
}

// In ring 3 the instruction is an exception of L2's; RIP stays at it.
void faults_in_ring_3(const Snippet& snippet, std::uint8_t vector) {
    L2 guest;
    intercept_all();
    place(guest, snippet);
    move_to_ring_3(guest);
    guest.registers.rcx = msr::star;
    guest.registers.rsi = conform::physical(conform::allocate_pages(1));
    guest.intercept_exception(vector);
    expect_exception(guest, snippet, vector, 0);
    // And where L1 does not intercept the exception L2 has it.
    guest.intercept_exception(vector, false);
    handle_by_skipping(guest, snippet);
    guest.run_to(ExitReason::vmcall, "L2 goes on behind its handler");
    expect_equal(guest.context().exceptions[vector], 1U, "what L2 has seen");
}

} // namespace

// NOLINTBEGIN
#define RING_3_FAULTS(name, text)                                                                            \
    L2_SNIPPET(ring_3_##name, text);                                                                         \
    VMX_TEST(exit_ring_3_##name, "vmx.exit.ring_3_" #name,                                                   \
             text " in ring 3 is #GP, whatever is intercepted",                                              \
             "Relative Priority of Faults and VM Exits") {                                                   \
        faults_in_ring_3(ring_3_##name, general_protection);                                                 \
    }
// NOLINTEND
RING_3_FAULTS(hlt, "hlt")
RING_3_FAULTS(invd, "invd")
RING_3_FAULTS(wbinvd, "wbinvd")
RING_3_FAULTS(invlpg, "invlpg (%rsi)")
RING_3_FAULTS(rdmsr, "rdmsr")
RING_3_FAULTS(wrmsr, "wrmsr")
RING_3_FAULTS(clts, "clts")
RING_3_FAULTS(lmsw, "lmsw %ax")
RING_3_FAULTS(read_cr0, "mov %cr0, %rax")
RING_3_FAULTS(write_cr0, "mov %rax, %cr0")
RING_3_FAULTS(read_cr3, "mov %cr3, %rax")
RING_3_FAULTS(write_cr3, "mov %rax, %cr3")
RING_3_FAULTS(write_cr4, "mov %rax, %cr4")
RING_3_FAULTS(read_cr8, "mov %cr8, %rax")
RING_3_FAULTS(write_cr8, "mov %rax, %cr8")
RING_3_FAULTS(lgdt, "lgdt (%rsi)")
RING_3_FAULTS(lidt, "lidt (%rsi)")
RING_3_FAULTS(lldt, "lldt %ax")
RING_3_FAULTS(ltr, "ltr %ax")

// VMX instructions look at non-root operation before they look at the privilege level (their operation in
// "VMX Instruction Reference"); CPUID and VMCALL know no privilege.
namespace {
void leaves_in_ring_3(const Snippet& snippet, ExitReason reason, std::uint32_t control = 0) {
    L2 guest;
    set(Field::primary_controls, control);
    place(guest, snippet);
    move_to_ring_3(guest);
    guest.registers.rsi = conform::physical(conform::allocate_pages(1));
    expect_operand(guest, snippet, {reason, 0, 0});
    expect_equal(read(Field::guest_ss_access_rights) >> 5 & 3, 3U, "DPL of SS: the privilege level of L2");
    expect_equal(read(Field::guest_cs_selector), nestbed::wire::user_code_selector, "CS");
}
} // namespace
// NOLINTBEGIN
#define RING_3_LEAVES(name, text, ...)                                                                       \
    L2_SNIPPET(ring_3_##name, text);                                                                         \
    VMX_TEST(exit_ring_3_##name, "vmx.exit.ring_3_" #name, text " in ring 3 leaves L2 all the same",         \
             "Relative Priority of Faults and VM Exits") {                                                   \
        leaves_in_ring_3(ring_3_##name, __VA_ARGS__);                                                        \
    }
// NOLINTEND
RING_3_LEAVES(cpuid, "cpuid", ExitReason::cpuid)
RING_3_LEAVES(vmcall, "vmcall", ExitReason::vmcall)
RING_3_LEAVES(vmclear, "vmclear (%rsi)", ExitReason::vmclear)
RING_3_LEAVES(vmptrld, "vmptrld (%rsi)", ExitReason::vmptrld)
RING_3_LEAVES(vmlaunch, "vmlaunch", ExitReason::vmlaunch)
RING_3_LEAVES(vmread, "vmread %rax, %rbx", ExitReason::vmread)
RING_3_LEAVES(vmwrite, "vmwrite %rax, %rbx", ExitReason::vmwrite)
RING_3_LEAVES(vmxoff, "vmxoff", ExitReason::vmxoff)
RING_3_LEAVES(invept, "invept (%rsi), %rax", ExitReason::invept)
RING_3_LEAVES(rdtsc, "rdtsc", ExitReason::rdtsc, primary::rdtsc_exiting)
RING_3_LEAVES(pause, "pause", ExitReason::pause, primary::pause_exiting)

// With CR4.TSD and without CR4.PCE ring 3 has no right to these.
namespace {
L2_SNIPPET(ring_3_rdtsc_tsd, "rdtsc");
L2_SNIPPET(ring_3_rdpmc_pce, "rdpmc");
} // namespace
VMX_TEST(exit_ring_3_tsd, "vmx.exit.ring_3_rdtsc_tsd", "RDTSC in ring 3 with CR4.TSD is #GP before the exit",
         "Relative Priority of Faults and VM Exits") {
    L2 guest;
    set(Field::primary_controls, primary::rdtsc_exiting);
    set(Field::guest_cr4, 4);
    place(guest, ring_3_rdtsc_tsd);
    move_to_ring_3(guest);
    guest.intercept_exception(general_protection);
    expect_exception(guest, ring_3_rdtsc_tsd, general_protection, 0);
}
VMX_TEST(exit_ring_3_pce, "vmx.exit.ring_3_rdpmc_pce",
         "RDPMC in ring 3 without CR4.PCE is #GP before the exit",
         "Relative Priority of Faults and VM Exits") {
    L2 guest;
    set(Field::primary_controls, primary::rdpmc_exiting);
    clear(Field::guest_cr4, 1U << 8);
    place(guest, ring_3_rdpmc_pce);
    move_to_ring_3(guest);
    guest.intercept_exception(general_protection);
    expect_exception(guest, ring_3_rdpmc_pce, general_protection, 0);
}

// MONITOR, MWAIT: #UD where CPUID has them not (for L2 that is L1's CPUID), else by their controls.
namespace {
L2_SNIPPET(exit_monitor, "monitor");
L2_SNIPPET(exit_mwait, "mwait");
void by_monitor_control(const Snippet& snippet, std::uint32_t control, ExitReason reason) {
    if ((guest::cpuid(1, 0).ecx & 8) == 0)
        return not_applicable("CPUID has no MONITOR");
    L2 guest;
    place(guest, snippet);
    guest.registers.rax = conform::physical(conform::allocate_pages(1));
    guest.registers.rcx = 0;
    guest.registers.rdx = 0;
    set(Field::primary_controls, control);
    // MWAIT's qualification says whether the monitor is armed.
    if (expect_operand(guest, snippet, {reason, 0, 0}))
        expect_equal(read(Field::exit_qualification) & ~std::uint64_t{1}, 0U, "exit qualification");
}
} // namespace
VMX_TEST(exit_monitor_set, "vmx.exit.monitor", "MONITOR leaves L2 with MONITOR exiting",
         "Instructions That Cause VM Exits Conditionally") {
    by_monitor_control(exit_monitor, primary::monitor_exiting, ExitReason::monitor);
}
VMX_TEST(exit_mwait_set, "vmx.exit.mwait", "MWAIT leaves L2 with MWAIT exiting",
         "Instructions That Cause VM Exits Conditionally") {
    by_monitor_control(exit_mwait, primary::mwait_exiting, ExitReason::mwait);
}
namespace {
L2_SNIPPET(exit_xsetbv, "xsetbv");
L2_SNIPPET(exit_getsec, "getsec");
constexpr std::uint64_t cr4_osxsave = 1U << 18;
constexpr std::uint64_t cr4_smxe = 1U << 14;
} // namespace
VMX_TEST(exit_xsetbv_always, "vmx.exit.xsetbv", "XSETBV always leaves L2, and without CR4.OSXSAVE it is #UD",
         "Instructions That Cause VM Exits Unconditionally") {
    if ((guest::cpuid(1, 0).ecx >> 26 & 1) == 0)
        return not_applicable("CPUID has no XSAVE");
    L2 guest;
    place(guest, exit_xsetbv);
    set(Field::guest_cr4, cr4_osxsave);
    guest.registers.rcx = 0;
    guest.registers.rax = 1;
    guest.registers.rdx = 0;
    expect_operand(guest, exit_xsetbv, {ExitReason::xsetbv, 0, 0});
    clear(Field::guest_cr4, cr4_osxsave);
    guest.intercept_exception(invalid_opcode);
    expect_exception(guest, exit_xsetbv, invalid_opcode, 0);
}
VMX_TEST(exit_getsec_smxe, "vmx.exit.getsec", "GETSEC is #UD without CR4.SMXE, and else always leaves L2",
         "Instructions That Cause VM Exits Unconditionally") {
    L2 guest;
    place(guest, exit_getsec);
    guest.registers.rax = 0;
    guest.registers.rbx = 0;
    clear(Field::guest_cr4, cr4_smxe);
    guest.intercept_exception(invalid_opcode);
    expect_exception(guest, exit_getsec, invalid_opcode, 0);
    if ((guest::rdmsr(msr::vmx_cr4_fixed1) & cr4_smxe) == 0)
        return;
    set(Field::guest_cr4, cr4_smxe);
    expect_operand(guest, exit_getsec, {ExitReason::getsec, 0, 0});
}

// MOV DR leaves before #GP of the privilege level and before #UD of DR4 and DR5 with CR4.DE, unlike all
// others. NOLINTBEGIN
#define MOV_DR(dr, gpr, number)                                                                              \
    namespace {                                                                                              \
    L2_SNIPPET(write_dr##dr, "mov %" #gpr ", %db" #dr);                                                      \
    L2_SNIPPET(read_dr##dr, "mov %db" #dr ", %" #gpr);                                                       \
    }                                                                                                        \
    VMX_TEST(exit_mov_dr##dr, "vmx.exit.mov_dr" #dr,                                                         \
             "MOV between DR" #dr " and " #gpr " leaves with both numbers and the direction",                \
             "Basic VM-Exit Information") {                                                                  \
        L2 guest;                                                                                            \
        set(Field::primary_controls, primary::mov_dr_exiting);                                               \
        place(guest, write_dr##dr);                                                                          \
        expect_exit(guest, write_dr##dr, ExitReason::mov_dr, (number) << 8 | (dr));                          \
        place(guest, read_dr##dr);                                                                           \
        expect_exit(guest, read_dr##dr, ExitReason::mov_dr, (number) << 8 | 0x10 | (dr));                    \
    }
// NOLINTEND
MOV_DR(0, rax, 0)
MOV_DR(1, rcx, 1)
MOV_DR(2, rdx, 2)
MOV_DR(3, rsi, 6)
MOV_DR(4, r8, 8)
MOV_DR(5, r11, 11)
MOV_DR(6, rdi, 7)
MOV_DR(7, r15, 15)
VMX_TEST(exit_mov_dr_ring_3, "vmx.exit.mov_dr_ring_3",
         "MOV DR in ring 3 leaves with MOV-DR exiting, else is #GP",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    place(guest, read_dr7);
    move_to_ring_3(guest);
    guest.intercept_exception(general_protection);
    set(Field::primary_controls, primary::mov_dr_exiting);
    expect_exit(guest, read_dr7, ExitReason::mov_dr, 0xf17);
    clear(Field::primary_controls, primary::mov_dr_exiting);
    expect_exception(guest, read_dr7, general_protection, 0);
}
VMX_TEST(exit_mov_dr_de, "vmx.exit.mov_dr_de", "MOV DR4 with CR4.DE leaves with MOV-DR exiting, else is #UD",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    place(guest, read_dr4);
    set(Field::guest_cr4, 8);
    guest.intercept_exception(invalid_opcode);
    set(Field::primary_controls, primary::mov_dr_exiting);
    expect_exit(guest, read_dr4, ExitReason::mov_dr, 0x814);
    clear(Field::primary_controls, primary::mov_dr_exiting);
    expect_exception(guest, read_dr4, invalid_opcode, 0);
}
VMX_TEST(exit_mov_dr_gd, "vmx.exit.mov_dr_gd",
         "MOV DR with DR7.GD leaves with MOV-DR exiting, else is a #DB that says BD",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    place(guest, read_dr0);
    if (!allowed_entry().may_set(vm_entry::load_debug_controls) ||
        !allowed_exit().may_set(vm_exit::save_debug_controls))
        return not_applicable("KVM does not offer the debug controls");
    set(Field::entry_controls, vm_entry::load_debug_controls);
    set(Field::exit_controls, vm_exit::save_debug_controls);
    write(Field::guest_dr7, 0x2400);
    guest.intercept_exception(1);
    set(Field::primary_controls, primary::mov_dr_exiting);
    expect_exit(guest, read_dr0, ExitReason::mov_dr, 0x10);
    clear(Field::primary_controls, primary::mov_dr_exiting);
    if (!expect_exception(guest, read_dr0, 1, 0))
        return;
    expect_equal(read(Field::exit_qualification), 0x2000U, "exit qualification: BD");
    expect_equal(read(Field::guest_dr7), 0x2400U, "DR7: GD stays where the #DB leaves L2");
}
VMX_TEST(exit_mov_dr_values, "vmx.exit.mov_dr_values",
         "DR0 to DR3 and DR6 that L2 writes are L1's too, DR7 is not", "Guest-State Area") {
    L2 guest;
    set(Field::entry_controls, vm_entry::load_debug_controls);
    set(Field::exit_controls, vm_exit::save_debug_controls);
    auto code = [] {
        asm volatile("mov %0, %%dr0" : : "r"(std::uint64_t{0x1111'0000}));
        asm volatile("mov %0, %%dr1" : : "r"(std::uint64_t{0x2222'0000}));
        asm volatile("mov %0, %%dr2" : : "r"(std::uint64_t{0x3333'0000}));
        asm volatile("mov %0, %%dr3" : : "r"(std::uint64_t{0x4444'0000}));
        asm volatile("mov %0, %%dr6" : : "r"(std::uint64_t{0xffff'4ff5}));
        asm volatile("mov %0, %%dr7" : : "r"(std::uint64_t{0x0000'0410}));
    };
    guest.start(code);
    guest.run_to_end();
    std::uint64_t seen[6]{};
    asm volatile("mov %%dr0, %0" : "=r"(seen[0]));
    asm volatile("mov %%dr1, %0" : "=r"(seen[1]));
    asm volatile("mov %%dr2, %0" : "=r"(seen[2]));
    asm volatile("mov %%dr3, %0" : "=r"(seen[3]));
    asm volatile("mov %%dr6, %0" : "=r"(seen[4]));
    asm volatile("mov %%dr7, %0" : "=r"(seen[5]));
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(seen[i], 0x1111'0000U * (i + 1), Text{"DR", i, ", which no entry or exit switches"});
    expect_equal(seen[4], 0xffff'4ff5U, "DR6, which no entry or exit switches");
    expect_equal(seen[5], 0x400U, "DR7 of L1: an exit loads 0x400");
    expect_equal(read(Field::guest_dr7), 0x410U, "guest DR7");
}

// Prefixes count in the length.
// NOLINTBEGIN
#define WITH_PREFIX(name, text, reason, prepare)                                                             \
    L2_SNIPPET(prefix_##name, text);                                                                         \
    VMX_TEST(exit_prefix_##name, "vmx.exit.prefix_" #name,                                                   \
             text " leaves L2 with the length of all its bytes",                                             \
             "Information for VM Exits Due to Instruction Execution") {                                      \
        L2 guest;                                                                                            \
        place(guest, prefix_##name);                                                                         \
        guest.registers.rsi = 0x40'0000;                                                                     \
        prepare;                                                                                             \
        expect_operand(guest, prefix_##name, {ExitReason::reason, 0, 0});                                    \
    }
// NOLINTEND
WITH_PREFIX(cpuid_segments, ".byte 0x2e, 0x3e, 0x26, 0x64; cpuid", cpuid, )
WITH_PREFIX(cpuid_rex, ".byte 0x48; cpuid", cpuid, )
WITH_PREFIX(cpuid_longest, ".fill 13, 1, 0x66; cpuid", cpuid, )
WITH_PREFIX(vmclear_rex, ".byte 0x66, 0x64, 0x48, 0x0f, 0xc7, 0x36", vmclear, )
WITH_PREFIX(hlt_longest, ".fill 14, 1, 0x3e; hlt", hlt, set(Field::primary_controls, primary::hlt_exiting))
WITH_PREFIX(invlpg_rex, ".byte 0x49; invlpg 0(%rsi)", invlpg,
            set(Field::primary_controls, primary::invlpg_exiting))
WITH_PREFIX(rdtsc_operand, ".byte 0x66, 0x67; rdtsc", rdtsc,
            set(Field::primary_controls, primary::rdtsc_exiting))
WITH_PREFIX(mov_cr_rex, ".byte 0x66, 0x48; mov %cr3, %rax", control_register_access,
            set(Field::primary_controls, primary::cr3_store_exiting))

// INVLPG: the linear address, with the base of its segment, whether canonical or not.
// NOLINTBEGIN
#define INVLPG(name, text, address)                                                                          \
    L2_SNIPPET(invlpg_##name, text);                                                                         \
    VMX_TEST(exit_invlpg_##name, "vmx.exit.invlpg_" #name,                                                   \
             text " has its linear address in the qualification", "Basic VM-Exit Information") {             \
        L2 guest;                                                                                            \
        place(guest, invlpg_##name);                                                                         \
        guest.registers.rax = 0xffff'8000'1234'5678;                                                         \
        guest.registers.rcx = 0x10;                                                                          \
        write(Field::guest_fs_base, 0x7f00'0000'0000);                                                       \
        set(Field::primary_controls, primary::invlpg_exiting);                                               \
        expect_exit(guest, invlpg_##name, ExitReason::invlpg, address);                                      \
    }
// NOLINTEND
INVLPG(high, "invlpg (%rax)", 0xffff'8000'1234'5678)
INVLPG(index, "invlpg 8(%rax,%rcx,8)", 0xffff'8000'1234'5700)
INVLPG(fs, "invlpg %fs:(%rcx)", 0x7f00'0000'0010)
INVLPG(address_32, "addr32 invlpg (%eax)", 0x1234'5678)
INVLPG(rip, "invlpg -0x20(%rip)", invlpg_rip.end() - 0x20)
VMX_TEST(exit_invlpg_executes, "vmx.exit.invlpg_not_intercepted", "INVLPG without INVLPG exiting runs",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    place(guest, invlpg_high);
    guest.registers.rax = 0xffff'8000'1234'5678;
    clear(Field::primary_controls, primary::invlpg_exiting);
    expect_executes(guest, invlpg_high);
}

// What holds interrupts back for one instruction is part of the guest's state (SDM, "Guest Non-Register
// State"): it is there at the exit of that instruction and gone at the next.
namespace {
L2_SNIPPET_FROM(behind_mov_ss, "movw %ss, %ax; movw %ax, %ss", "cpuid");
L2_SNIPPET_FROM(behind_sti, "sti", "cpuid");
L2_SNIPPET_FROM(behind_sti_set, "sti; nop; sti", "cpuid");
L2_SNIPPET_FROM(behind_nop, "movw %ss, %ax; movw %ax, %ss; nop", "cpuid");
void blocking(const Snippet& from, const Snippet& code, std::uint64_t expected) {
    L2 guest;
    place(guest, from);
    guest::disable_interrupts();
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    expect_equal(read(Field::guest_interruptibility_state), expected, "guest interruptibility state");
    expect_equal(read(Field::guest_rip), code.address(), "guest RIP");
    guest.skip();
    write(Field::guest_interruptibility_state, 0); // over the instruction: as the hypervisor's emulation does
    guest.run_to(ExitReason::vmcall, "the VMCALL behind");
    expect_equal(read(Field::guest_interruptibility_state), 0U, "guest interruptibility state, later");
    guest::enable_interrupts();
}
} // namespace
VMX_TEST(exit_blocking_mov_ss, "vmx.exit.blocking_by_mov_ss",
         "Blocking by MOV SS is saved by the exit behind it", "Saving Non-Register State") {
    blocking(behind_mov_ss_from, behind_mov_ss, 2);
}
VMX_TEST(exit_blocking_sti, "vmx.exit.blocking_by_sti", "Blocking by STI is saved by the exit behind it",
         "Saving Non-Register State") {
    blocking(behind_sti_from, behind_sti, 1);
}
VMX_TEST(exit_blocking_sti_set, "vmx.exit.blocking_by_sti_if_set", "STI with IF set already blocks nothing",
         "Saving Non-Register State") {
    blocking(behind_sti_set_from, behind_sti_set, 0);
}
VMX_TEST(exit_blocking_over, "vmx.exit.blocking_over", "Blocking by MOV SS is over one instruction later",
         "Saving Non-Register State") {
    blocking(behind_nop_from, behind_nop, 0);
}

} // namespace nestbed::vmx
