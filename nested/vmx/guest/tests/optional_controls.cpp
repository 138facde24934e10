// Controls that not every processor has: what an instruction does with each set and clear, and the #UD where
// the control that enables it is 0 (SDM volume 3, "Changes to Instruction Behavior in VMX Non-Root
// Operation").
#include <utility>

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

L2_SNIPPET(control_rdtscp, "rdtscp");
L2_SNIPPET(control_rdpid, "rdpid %rax");
L2_SNIPPET(control_invpcid, "invpcid (%rsi), %rax");
L2_SNIPPET(control_xsaves, "xsaves (%rsi)");
L2_SNIPPET(control_xrstors, "xrstors (%rsi)");
L2_SNIPPET(control_tpause, "tpause %edi");
L2_SNIPPET(control_umwait, "umwait %edi");
L2_SNIPPET(control_umonitor, "umonitor %rsi");
L2_SNIPPET(control_rdrand, "rdrand %rax");
L2_SNIPPET(control_rdseed, "rdseed %rax");
L2_SNIPPET(control_wbinvd, "wbinvd");
L2_SNIPPET(control_pause, "pause");
L2_SNIPPET(control_encls, "encls");
L2_SNIPPET(control_pconfig, "pconfig");

void set_up(L2& guest, const Snippet& code) {
    place(guest, code);
    guest.registers.rsi = conform::physical(conform::allocate_pages(2));
    guest.registers.rax = 0;
    guest.registers.rdx = 0;
    guest.registers.rdi = 0;
    set(Field::primary_controls, primary::activate_secondary_controls);
}

// With the control 0 the instruction is #UD, even where another control would make it leave.
void disabled(const Snippet& code, std::uint32_t control, std::uint32_t also_primary = 0) {
    const auto allowed = allowed_secondary();
    if (!allowed.may_clear(control))
        return not_applicable("the control cannot be 0");
    L2 guest;
    set_up(guest, code);
    clear(Field::secondary_controls, control);
    guest.intercept_exception(6);
    expect_exception(guest, code, 6, 0);
    set(Field::primary_controls, also_primary);
    expect_exception(guest, code, 6, 0);
    // L2's own where L1 does not want it.
    guest.intercept_exception(6, false);
    handle_by_skipping(guest, code);
    guest.run_to(ExitReason::vmcall, "L2 goes on behind its handler");
    expect_equal(guest.context().exceptions[6], 1U, "#UD that L2 has seen");
}

} // namespace

// NOLINTBEGIN
#define DISABLED(name, code, ...)                                                                            \
    VMX_TEST(optional_##name##_disabled, "vmx.optional." #name "_disabled",                                  \
             #name " is #UD in L2 where the control that enables it is 0",                                   \
             "Changes to Instruction Behavior in VMX Non-Root Operation") {                                  \
        disabled(code, __VA_ARGS__);                                                                         \
    }
// NOLINTEND
DISABLED(rdtscp, control_rdtscp, secondary::enable_rdtscp, primary::rdtsc_exiting)
DISABLED(rdpid, control_rdpid, secondary::enable_rdtscp)
DISABLED(invpcid, control_invpcid, secondary::enable_invpcid, primary::invlpg_exiting)
DISABLED(tpause, control_tpause, secondary::enable_user_wait_and_pause, primary::rdtsc_exiting)
DISABLED(umwait, control_umwait, secondary::enable_user_wait_and_pause, primary::rdtsc_exiting)
DISABLED(umonitor, control_umonitor, secondary::enable_user_wait_and_pause)
DISABLED(pconfig, control_pconfig, secondary::enable_pconfig)
VMX_TEST(optional_xsaves_disabled, "vmx.optional.xsaves_disabled",
         "XSAVES and XRSTORS are #UD in L2 where the control that enables them is 0",
         "Changes to Instruction Behavior in VMX Non-Root Operation") {
    disabled(control_xsaves, secondary::enable_xsaves_xrstors);
    disabled(control_xrstors, secondary::enable_xsaves_xrstors);
}
VMX_TEST(optional_no_secondary, "vmx.optional.no_secondary_controls",
         "Without secondary controls all of them are 0: RDTSCP and INVPCID are #UD in L2",
         "Secondary Processor-Based VM-Execution Controls") {
    if (!allowed_primary().may_clear(primary::activate_secondary_controls))
        return not_applicable("secondary controls are always active");
    for (const auto* const code : {&control_rdtscp, &control_invpcid}) {
        L2 guest;
        set_up(guest, *code);
        set(Field::secondary_controls, secondary::enable_rdtscp | secondary::enable_invpcid);
        clear(Field::primary_controls, primary::activate_secondary_controls);
        guest.intercept_exception(6);
        expect_exception(guest, *code, 6, 0);
    }
}

// RDTSCP's other half.
VMX_TEST(optional_rdtscp_aux, "vmx.optional.rdtscp_tsc_aux", "RDTSCP in L2 reads IA32_TSC_AUX, L1's as L2's",
         "Changes to Instruction Behavior in VMX Non-Root Operation") {
    if (!allowed_secondary().may_set(secondary::enable_rdtscp))
        return not_applicable("KVM does not offer RDTSCP to L2");
    L2 guest;
    set_up(guest, control_rdtscp);
    set(Field::secondary_controls, secondary::enable_rdtscp);
    guest::wrmsr(0xc000'0103, 0x1234'5678);
    const auto before = guest::rdtsc();
    expect_executes(guest, control_rdtscp);
    expect_equal(guest.registers.rcx, 0x1234'5678U, "ECX");
    const auto seen = guest.registers.rdx << 32 | guest.registers.rax;
    expect(seen > before && seen < guest::rdtsc(), "the time stamp is of now");
}

// Exiting controls, set and clear.
namespace {
void by_secondary(const Snippet& code, std::uint32_t control, ExitReason reason) {
    if (!allowed_secondary().may_set(control))
        return not_applicable("KVM does not offer the control");
    L2 guest;
    set_up(guest, code);
    set(Field::secondary_controls, control);
    expect_operand(guest, code, {reason, 0, 0});
    clear(Field::secondary_controls, control);
    expect_executes(guest, code);
}
} // namespace
VMX_TEST(optional_rdrand, "vmx.optional.rdrand_exiting",
         "RDRAND leaves L2 with RDRAND exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    if ((guest::cpuid(1, 0).ecx >> 30 & 1) == 0)
        return not_applicable("CPUID has no RDRAND");
    by_secondary(control_rdrand, secondary::rdrand_exiting, ExitReason::rdrand);
}
VMX_TEST(optional_rdseed, "vmx.optional.rdseed_exiting",
         "RDSEED leaves L2 with RDSEED exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    if ((guest::cpuid(7, 0).ebx >> 18 & 1) == 0)
        return not_applicable("CPUID has no RDSEED");
    by_secondary(control_rdseed, secondary::rdseed_exiting, ExitReason::rdseed);
}
VMX_TEST(optional_wbinvd, "vmx.optional.wbinvd_exiting",
         "WBINVD leaves L2 with WBINVD exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_secondary(control_wbinvd, secondary::wbinvd_exiting, ExitReason::wbinvd_or_wbnoinvd);
}

// Descriptor tables: each instruction, set and clear.
// NOLINTBEGIN
#define DESCRIPTOR(name, text, reason)                                                                       \
    L2_SNIPPET(descriptor_##name, text);                                                                     \
    VMX_TEST(optional_descriptor_##name, "vmx.optional.descriptor_" #name,                                   \
             text " leaves L2 with descriptor-table exiting, and only then",                                 \
             "Instructions That Cause VM Exits Conditionally") {                                             \
        by_descriptor(descriptor_##name, ExitReason::reason);                                                \
    }
// NOLINTEND
namespace {
struct [[gnu::packed]] TableRegister {
    std::uint16_t limit;
    std::uint64_t base;
};
void by_descriptor(const Snippet& code, ExitReason reason) {
    if (!allowed_secondary().may_set(secondary::descriptor_table_exiting))
        return not_applicable("KVM does not offer the control");
    L2 guest;
    set_up(guest, code);
    // What LGDT and LIDT find: the tables that L2 has. What LTR finds: L2's task, not busy.
    auto& table = *guest::pointer_to<TableRegister>(guest.registers.rsi);
    table = {sizeof guest.context().gdt - 1, read(Field::guest_gdtr_base)};
    *guest::pointer_to<TableRegister>(guest.registers.rsi + 16) = {sizeof guest.context().idt - 1,
                                                                   read(Field::guest_idtr_base)};
    guest.registers.rbx = nestbed::wire::task_selector;
    set(Field::secondary_controls, secondary::descriptor_table_exiting);
    expect_operand(guest, code, {reason, 0, 0});
    clear(Field::secondary_controls, secondary::descriptor_table_exiting);
    expect_executes(guest, code);
}
} // namespace
DESCRIPTOR(sgdt, "sgdt 32(%rsi)", gdtr_or_idtr_access)
DESCRIPTOR(sidt, "sidt 32(%rsi)", gdtr_or_idtr_access)
DESCRIPTOR(lgdt, "lgdt (%rsi)", gdtr_or_idtr_access)
DESCRIPTOR(lidt, "lidt 16(%rsi)", gdtr_or_idtr_access)
DESCRIPTOR(sldt, "sldt 32(%rsi)", ldtr_or_tr_access)
DESCRIPTOR(str, "str 32(%rsi)", ldtr_or_tr_access)
DESCRIPTOR(lldt, "lldt %dx", ldtr_or_tr_access)
DESCRIPTOR(ltr, "ltr %bx", ldtr_or_tr_access)
VMX_TEST(optional_descriptor_ring_3, "vmx.optional.descriptor_ring_3",
         "SGDT, SIDT, SLDT and STR in ring 3 leave L2 with descriptor-table exiting",
         "Instructions That Cause VM Exits Conditionally") {
    if (!allowed_secondary().may_set(secondary::descriptor_table_exiting))
        return not_applicable("KVM does not offer the control");
    for (const auto& [code, reason] : {std::pair{&descriptor_sgdt, ExitReason::gdtr_or_idtr_access},
                                       {&descriptor_sidt, ExitReason::gdtr_or_idtr_access},
                                       {&descriptor_sldt, ExitReason::ldtr_or_tr_access},
                                       {&descriptor_str, ExitReason::ldtr_or_tr_access}}) {
        L2 guest;
        set_up(guest, *code);
        move_to_ring_3(guest);
        set(Field::secondary_controls, secondary::descriptor_table_exiting);
        expect_operand(guest, *code, {reason, 0, 0});
    }
}
VMX_TEST(optional_descriptor_umip, "vmx.optional.descriptor_umip",
         "With CR4.UMIP SGDT in ring 3 is #GP before the exit", "Relative Priority of Faults and VM Exits") {
    constexpr std::uint64_t umip = 1U << 11;
    if ((guest::rdmsr(msr::vmx_cr4_fixed1) & umip) == 0 || (guest::cpuid(7, 0).ecx & 4) == 0)
        return not_applicable("no UMIP");
    for (const std::uint32_t control : {0U, secondary::descriptor_table_exiting}) {
        L2 guest;
        set_up(guest, descriptor_sgdt);
        move_to_ring_3(guest);
        set(Field::guest_cr4, umip);
        set(Field::secondary_controls, control);
        guest.intercept_exception(13);
        expect_exception(guest, descriptor_sgdt, 13, 0);
    }
}
VMX_TEST(optional_sgdt_value, "vmx.optional.descriptor_values",
         "SGDT, SIDT, STR and SLDT in L2 read L2's tables", "Guest Register State") {
    L2 guest;
    TableRegister gdtr{};
    TableRegister idtr{};
    std::uint16_t task = 0;
    std::uint16_t local = 0xffff;
    auto code = [&] {
        asm volatile("sgdt %0" : "=m"(gdtr));
        asm volatile("sidt %0" : "=m"(idtr));
        asm volatile("str %0" : "=m"(task));
        asm volatile("sldt %0" : "=m"(local));
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(std::uint64_t{gdtr.base}, read(Field::guest_gdtr_base), "GDTR base");
    expect_equal(std::uint16_t{gdtr.limit}, read(Field::guest_gdtr_limit), "GDTR limit");
    expect_equal(std::uint64_t{idtr.base}, read(Field::guest_idtr_base), "IDTR base");
    expect_equal(std::uint16_t{idtr.limit}, read(Field::guest_idtr_limit), "IDTR limit");
    expect_equal(task, read(Field::guest_tr_selector), "TR");
    expect_equal(local, 0U, "LDTR");
}

// INVPCID that does not leave.
VMX_TEST(optional_invpcid_runs, "vmx.optional.invpcid_executes",
         "INVPCID runs in L2 without INVLPG exiting, and a type above 3 is #GP",
         "Changes to Instruction Behavior in VMX Non-Root Operation") {
    if (!allowed_secondary().may_set(secondary::enable_invpcid) || (guest::cpuid(7, 0).ebx >> 10 & 1) == 0)
        return not_applicable("no INVPCID");
    L2 guest;
    guest.intercept_exception(13);
    set(Field::secondary_controls, secondary::enable_invpcid);
    clear(Field::primary_controls, primary::invlpg_exiting);
    for (std::uint64_t type = 0; type < 6; ++type) {
        set_up(guest, control_invpcid);
        guest.registers.rax = type;
        if (type < 4)
            expect_executes(guest, control_invpcid);
        else
            expect_exception(guest, control_invpcid, 13, 0);
    }
}

// PAUSE.
VMX_TEST(optional_pause_ring_3, "vmx.optional.pause_exiting_ring_3",
         "PAUSE exiting counts in every ring, and PAUSE runs without it",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    for (const bool ring_3 : {false, true})
        for (const bool on : {true, false}) {
            set_up(guest, control_pause);
            if (ring_3)
                move_to_ring_3(guest);
            (on ? vmx::set : vmx::clear)(Field::primary_controls, primary::pause_exiting);
            if (on)
                expect_exit(guest, control_pause, ExitReason::pause, 0);
            else
                expect_executes(guest, control_pause);
        }
}
namespace {
L2_SNIPPET(control_pause_loop, "1: pause; jmp 1b");
} // namespace
VMX_TEST(optional_pause_loop, "vmx.optional.pause_loop_exiting",
         "A loop of PAUSE leaves L2 with PAUSE-loop exiting, at the PAUSE",
         "Instructions That Cause VM Exits Conditionally") {
    if (!allowed_secondary().may_set(secondary::pause_loop_exiting))
        return not_applicable("KVM does not offer PAUSE-loop exiting");
    L2 guest;
    set_up(guest, control_pause_loop);
    clear(Field::primary_controls, primary::pause_exiting);
    set(Field::secondary_controls, secondary::pause_loop_exiting);
    write(Field::ple_gap, 0x8000);
    write(Field::ple_window, 0x1000);
    if (!guest.run_to(ExitReason::pause, "the PAUSE loop"))
        return;
    expect_equal(read(Field::guest_rip), control_pause_loop.address(), "guest RIP");
    expect_equal(read(Field::exit_instruction_length), 2U, "VM-exit instruction length");
}

// User wait.
namespace {
void by_tsc(const Snippet& code, ExitReason reason) {
    if (!allowed_secondary().may_set(secondary::enable_user_wait_and_pause) ||
        (guest::cpuid(7, 0).ecx >> 5 & 1) == 0)
        return not_applicable("no user wait");
    L2 guest;
    set_up(guest, code);
    set(Field::secondary_controls, secondary::enable_user_wait_and_pause);
    set(Field::primary_controls, primary::rdtsc_exiting);
    expect_operand(guest, code, {reason, 0, 0, Information{}.and_field(3, 4, 7)}); // the register: EDI
    clear(Field::primary_controls, primary::rdtsc_exiting);
    // EDX:EAX is a deadline of long ago.
    expect_executes(guest, code);
}
} // namespace
VMX_TEST(optional_tpause, "vmx.optional.tpause", "TPAUSE leaves L2 with RDTSC exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_tsc(control_tpause, ExitReason::tpause);
}
VMX_TEST(optional_umwait, "vmx.optional.umwait", "UMWAIT leaves L2 with RDTSC exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_tsc(control_umwait, ExitReason::umwait);
}

// XSAVES by its bitmap: the exit is for bits of EDX:EAX and IA32_XSS that are in it.
VMX_TEST(optional_xsaves_bitmap, "vmx.optional.xsaves_bitmap",
         "XSAVES and XRSTORS stay in L2 where no bit of IA32_XSS is in the XSS-exiting bitmap",
         "Instructions That Cause VM Exits Conditionally") {
    if (!allowed_secondary().may_set(secondary::enable_xsaves_xrstors) || (guest::cpuid(0xd, 1).eax & 8) == 0)
        return not_applicable("no XSAVES");
    constexpr std::uint64_t osxsave = 1U << 18;
    L2 guest;
    set(Field::secondary_controls, secondary::enable_xsaves_xrstors);
    set(Field::guest_cr4, osxsave);
    write(Field::xss_exiting_bitmap, ~std::uint64_t{0});
    for (const auto* const code : {&control_xsaves, &control_xrstors}) {
        set_up(guest, *code);
        guest::wrmsr(0xda0, 0);
        // Nothing is asked for; the header of XRSTORS must be in the compacted format.
        *guest::pointer_to<std::uint64_t>(guest.registers.rsi + 520) = std::uint64_t{1} << 63;
        expect_executes(guest, *code);
    }
}

// SGX.
VMX_TEST(optional_encls, "vmx.optional.encls_exiting",
         "ENCLS leaves L2 by its bit of the ENCLS-exiting bitmap",
         "Instructions That Cause VM Exits Conditionally") {
    if (!allowed_secondary().may_set(secondary::enable_encls_exiting) || (guest::cpuid(7, 0).ebx & 4) == 0)
        return not_applicable("no ENCLS exiting");
    L2 guest;
    set(Field::secondary_controls, secondary::enable_encls_exiting);
    for (const std::uint64_t leaf : {0U, 1U, 62U, 63U, 64U, 0xffffU}) {
        set_up(guest, control_encls);
        guest.registers.rax = leaf;
        write(Field::encls_exiting_bitmap, std::uint64_t{1} << (leaf < 63 ? leaf : 63));
        expect_operand(guest, control_encls, {ExitReason::encls, 0, 0});
    }
}

} // namespace nestbed::vmx
