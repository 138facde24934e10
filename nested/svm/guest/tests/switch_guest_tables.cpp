// Debug registers, descriptor tables and privilege level across VMRUN and exit (APM volume 2, 15.5.1).
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

L2_CODE(l2_tables_dr, 64, "movq %dr6, %rbx; movq %dr7, %rcx; movq %dr0, %r8; movq %dr1, %r9; vmmcall");
L2_CODE(l2_tables_set_dr6, 64, "movq %rdi, %dr6; movq %dr6, %rbx; vmmcall");
L2_CODE(l2_tables_set_dr7, 64, "movq %rdi, %dr7; movq %dr7, %rbx; vmmcall");
L2_CODE(
    l2_tables_set_dr, 64,
    "movq %rdi, %dr0; incq %rdi; movq %rdi, %dr1; incq %rdi; movq %rdi, %dr2; incq %rdi; movq %rdi, %dr3\n"
    "vmmcall");
L2_CODE(l2_tables_exit, 64, "vmmcall");

namespace {

constexpr std::uint64_t dr6_fixed = 0xffff'0ff0;
constexpr std::uint64_t dr7_fixed = 0x400;

template<std::uint64_t Bits>
void dr6_in_out() {
    L2 guest;
    start_blob(guest, l2_tables_dr);
    guest.save().dr6 = dr6_fixed | Bits;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, dr6_fixed | Bits, "DR6 as L2 sees it");
    expect_equal(guest.save().dr6, dr6_fixed | Bits, "VMCB.DR6 after the exit");
}
template<std::uint64_t Bits>
void dr6_changed() {
    L2 guest;
    start_blob(guest, l2_tables_set_dr6, dr6_fixed | Bits);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, dr6_fixed | Bits, "DR6 as L2 reads it back");
    expect_equal(guest.save().dr6, dr6_fixed | Bits, "VMCB.DR6 after L2's MOV to DR6");
}
template<std::uint64_t Bits>
void dr7_in_out() {
    L2 guest;
    start_blob(guest, l2_tables_dr);
    guest.save().dr7 = dr7_fixed | Bits;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rcx, dr7_fixed | Bits, "DR7 as L2 sees it");
    expect_equal(guest.save().dr7, dr7_fixed | Bits, "VMCB.DR7 after the exit");
    expect_equal(read_dr7(), dr7_fixed, "L1's DR7 after the exit: all breakpoints off");
}
// L2 that never touches a debug register: what was loaded must come back too.
template<std::uint64_t Bits>
void dr7_untouched() {
    L2 guest;
    start_blob(guest, l2_tables_exit);
    guest.save().dr7 = dr7_fixed | Bits;
    guest.save().dr6 = dr6_fixed | (Bits & 0xf);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().dr7, dr7_fixed | Bits, "VMCB.DR7 after the exit");
    expect_equal(guest.save().dr6, dr6_fixed | (Bits & 0xf), "VMCB.DR6 after the exit");
    expect_equal(read_dr7(), dr7_fixed, "L1's DR7 after the exit: all breakpoints off");
}
template<std::uint64_t Bits>
void dr7_changed() {
    L2 guest;
    start_blob(guest, l2_tables_set_dr7, dr7_fixed | Bits);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, dr7_fixed | Bits, "DR7 as L2 reads it back");
    expect_equal(guest.save().dr7, dr7_fixed | Bits, "VMCB.DR7 after L2's MOV to DR7");
    expect_equal(read_dr7(), dr7_fixed, "L1's DR7 after the exit: all breakpoints off");
}

} // namespace

#define DR6_CASE(name, bits)                                                                                 \
    SVM_CASE(switch_guest_dr6_in_##name, "svm.switch.guest_dr6_in_" #name, "DR6 goes in and out", "15.5.1",  \
             &dr6_in_out<bits>)                                                                              \
    SVM_CASE(switch_guest_dr6_out_##name, "svm.switch.guest_dr6_out_" #name,                                 \
             "DR6 that L2 writes is in the VMCB after the exit", "15.6", &dr6_changed<bits>)
DR6_CASE(none, 0)
DR6_CASE(b0, 1)
DR6_CASE(b3, 8)
DR6_CASE(bd, 1U << 13)
DR6_CASE(bs, 1U << 14)
DR6_CASE(bt, 1U << 15)
DR6_CASE(all, 0xe00f)
#undef DR6_CASE
#define DR7_CASE(name, bits)                                                                                 \
    SVM_CASE(switch_guest_dr7_in_##name, "svm.switch.guest_dr7_in_" #name, "DR7 goes in and out", "15.5.1",  \
             &dr7_in_out<bits>)                                                                              \
    SVM_CASE(switch_guest_dr7_untouched_##name, "svm.switch.guest_dr7_untouched_" #name,                     \
             "DR6 and DR7 that L2 never touches are in the VMCB as L1 wrote them", "15.6",                   \
             &dr7_untouched<bits>)                                                                           \
    SVM_CASE(switch_guest_dr7_out_##name, "svm.switch.guest_dr7_out_" #name,                                 \
             "DR7 that L2 writes is in the VMCB after the exit", "15.6", &dr7_changed<bits>)
DR7_CASE(none, 0)
DR7_CASE(l0, 1)
DR7_CASE(g3, 0x80)
DR7_CASE(le_ge, 0x300)
DR7_CASE(types, 0xffff'0000) // lengths and kinds, all breakpoints off
DR7_CASE(all, 0xd5d5'03ff)
#undef DR7_CASE

SVM_TEST(switch_guest_dr7_gd, "svm.switch.guest_dr7_gd",
         "DR7.GD loaded by VMRUN makes L2's next access to a debug register trap", "15.5.1") {
    L2 guest;
    guest.intercept_exception(1);
    start_blob(guest, l2_tables_dr);
    guest.save().dr7 = dr7_fixed | 1U << 13;
    guest.run_to(exception_exit(1), "#DB of MOV from DR6");
    expect_equal(guest.save().rip, address_of(l2_tables_dr), "VMCB.RIP at the access");
}

// DR0 to DR3 are not part of the switch: both levels share them (15.5.1 names only DR6 and DR7).
SVM_TEST(switch_guest_dr0_shared, "svm.switch.guest_dr0_to_l2", "L2 finds DR0 and DR1 as L1 left them",
         "15.5.1") {
    asm volatile("movq %0, %%dr0; movq %1, %%dr1" : : "r"(0x7000'1000UL), "r"(0x7000'2000UL));
    L2 guest;
    start_blob(guest, l2_tables_dr);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.r8, 0x7000'1000U, "DR0 in L2");
    expect_equal(guest.registers.r9, 0x7000'2000U, "DR1 in L2");
}
SVM_TEST(switch_guest_dr_to_l1, "svm.switch.guest_dr0_to_l1", "L1 finds DR0 to DR3 as L2 left them", "15.6") {
    L2 guest;
    start_blob(guest, l2_tables_set_dr, 0x7123'0000);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    std::uint64_t seen[4];
    asm volatile("movq %%dr0, %0; movq %%dr1, %1; movq %%dr2, %2; movq %%dr3, %3"
                 : "=r"(seen[0]), "=r"(seen[1]), "=r"(seen[2]), "=r"(seen[3]));
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(seen[i], 0x7123'0000U + i, conform::Text{"DR", i, " in L1"});
}
SVM_TEST(switch_guest_dr7_l1_breakpoint, "svm.switch.guest_dr7_l1_breakpoint_off_in_l2",
         "A breakpoint that L1 has on does not stop L2, whose DR7 has none", "15.5.1") {
    L2 guest;
    guest.intercept_exception(1);
    start_blob(guest, l2_tables_exit);
    asm volatile("movq %0, %%dr0" : : "r"(address_of(l2_tables_exit)));
    write_dr7(dr7_fixed | 2);
    const auto code = guest.run();
    const auto after = read_dr7();
    write_dr7(dr7_fixed);
    expect_equal(code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(after, dr7_fixed, "L1's DR7 after the exit: all breakpoints off");
}
SVM_TEST(switch_guest_dr7_l2_breakpoint, "svm.switch.guest_dr7_breakpoint",
         "An instruction breakpoint in the VMCB's DR7 stops L2", "15.5.1") {
    L2 guest;
    guest.intercept_exception(1);
    start_blob(guest, l2_tables_exit);
    asm volatile("movq %0, %%dr0" : : "r"(address_of(l2_tables_exit)));
    guest.save().dr7 = dr7_fixed | 2;
    guest.run_to(exception_exit(1), "#DB at the first instruction");
    expect_equal(guest.save().rip, address_of(l2_tables_exit), "VMCB.RIP");
}

// Descriptor tables.

L2_CODE(l2_tables_sgdt, 64,
        "subq $32, %rsp; sgdt (%rsp); sidt 16(%rsp)\n"
        "movzwl (%rsp), %ebx; movq 2(%rsp), %rcx; movzwl 16(%rsp), %edx; movq 18(%rsp), %rsi\n"
        "addq $32, %rsp; vmmcall");
L2_CODE(l2_tables_lgdt, 64, "lgdt (%rdi); lidt 16(%rdi); vmmcall");

namespace {
struct TableRegister {
    std::uint16_t limit;
    std::uint64_t base;
};
TableRegister read_gdtr() {
    struct [[gnu::packed]] {
        std::uint16_t limit;
        std::uint64_t base;
    } value{};
    asm volatile("sgdt %0" : "=m"(value));
    return {value.limit, value.base};
}
TableRegister read_idtr() {
    struct [[gnu::packed]] {
        std::uint16_t limit;
        std::uint64_t base;
    } value{};
    asm volatile("sidt %0" : "=m"(value));
    return {value.limit, value.base};
}

template<std::uint16_t Limit, std::uint64_t Base>
void tables_in_out() {
    const auto gdtr = read_gdtr();
    const auto idtr = read_idtr();
    L2 guest;
    start_blob(guest, l2_tables_sgdt);
    guest.save().gdtr = {0, 0, Limit, Base};
    guest.save().idtr = {0, 0, static_cast<std::uint16_t>(Limit ^ 0xff), Base ^ 0x1000};
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, Limit, "GDTR.limit as L2 sees it");
    expect_equal(guest.registers.rcx, Base, "GDTR.base as L2 sees it");
    expect_equal(guest.registers.rdx, static_cast<std::uint16_t>(Limit ^ 0xff), "IDTR.limit as L2 sees it");
    expect_equal(guest.registers.rsi, Base ^ 0x1000, "IDTR.base as L2 sees it");
    expect_equal(guest.save().gdtr.limit, Limit, "VMCB.GDTR.limit");
    expect_equal(guest.save().gdtr.base, Base, "VMCB.GDTR.base");
    expect_equal(guest.save().idtr.limit, static_cast<std::uint16_t>(Limit ^ 0xff), "VMCB.IDTR.limit");
    expect_equal(guest.save().idtr.base, Base ^ 0x1000, "VMCB.IDTR.base");
    expect_equal(read_gdtr().base, gdtr.base, "L1's GDTR.base");
    expect_equal(read_gdtr().limit, gdtr.limit, "L1's GDTR.limit");
    expect_equal(read_idtr().base, idtr.base, "L1's IDTR.base");
    expect_equal(read_idtr().limit, idtr.limit, "L1's IDTR.limit");
}
template<std::uint16_t Limit, std::uint64_t Base>
void tables_changed() {
    const auto gdtr = read_gdtr();
    const auto idtr = read_idtr();
    L2 guest;
    auto* const operand = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    *reinterpret_cast<std::uint16_t*>(operand) = Limit;
    *reinterpret_cast<std::uint64_t*>(operand + 2) = Base;
    *reinterpret_cast<std::uint16_t*>(operand + 16) = static_cast<std::uint16_t>(Limit ^ 0xff);
    *reinterpret_cast<std::uint64_t*>(operand + 18) = Base ^ 0x1000;
    start_blob(guest, l2_tables_lgdt, conform::physical(operand));
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().gdtr.limit, Limit, "VMCB.GDTR.limit after L2's LGDT");
    expect_equal(guest.save().gdtr.base, Base, "VMCB.GDTR.base after L2's LGDT");
    expect_equal(guest.save().idtr.limit, static_cast<std::uint16_t>(Limit ^ 0xff),
                 "VMCB.IDTR.limit after L2's LIDT");
    expect_equal(guest.save().idtr.base, Base ^ 0x1000, "VMCB.IDTR.base after L2's LIDT");
    expect_equal(read_gdtr().base, gdtr.base, "L1's GDTR.base");
    expect_equal(read_gdtr().limit, gdtr.limit, "L1's GDTR.limit");
    expect_equal(read_idtr().base, idtr.base, "L1's IDTR.base");
    expect_equal(read_idtr().limit, idtr.limit, "L1's IDTR.limit");
}
} // namespace
#define TABLES_CASE(name, limit, base)                                                                       \
    SVM_CASE(switch_guest_tables_in_##name, "svm.switch.guest_tables_in_" #name,                             \
             "GDTR and IDTR go in and out, and L1's come back", "15.5.1", (&tables_in_out<limit, base>))     \
    SVM_CASE(switch_guest_tables_out_##name, "svm.switch.guest_tables_out_" #name,                           \
             "GDTR and IDTR that L2 loads are in the VMCB after the exit, and L1's come back", "15.6",       \
             (&tables_changed<limit, base>))
TABLES_CASE(zero, 0, 0)
TABLES_CASE(low, 0x1234, 0x0765'4321)
TABLES_CASE(above_4g, 0xffff, 0x0123'4567'0000)
TABLES_CASE(high_half, 0x0fff, 0xffff'8765'4321'0fed)
#undef TABLES_CASE

// Privilege level.

namespace {
void enter_ring_3(L2& guest, const char* code) {
    start_blob(guest, code);
    auto& save = guest.save();
    save.cs = {nestbed::wire::user_code_selector, 0xafb, 0xffff'ffff, 0};
    save.ss = {nestbed::wire::user_data_selector, 0xcf3, 0xffff'ffff, 0};
    save.rsp = conform::physical(guest.context().user_stack) + sizeof guest.context().user_stack;
    save.cpl = 3;
}
std::uint16_t own_cs() {
    std::uint16_t value = 0;
    asm volatile("movw %%cs, %0" : "=r"(value));
    return value;
}
} // namespace

L2_CODE(l2_tables_cs_ss, 64, "xorl %ebx, %ebx; xorl %ecx, %ecx; movw %cs, %bx; movw %ss, %cx; vmmcall");
L2_CODE(l2_tables_hlt, 64, "hlt; vmmcall");

SVM_TEST(switch_guest_cpl_3, "svm.switch.guest_cpl_3", "L2 that begins in ring 3 leaves with CPL 3",
         "15.5.1") {
    L2 guest;
    enter_ring_3(guest, l2_tables_cs_ss);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, nestbed::wire::user_code_selector, "CS as L2 sees it");
    expect_equal(guest.registers.rcx, nestbed::wire::user_data_selector, "SS as L2 sees it");
    expect_equal(guest.save().cpl, 3U, "VMCB.CPL");
    expect_equal(guest.save().cs.selector, nestbed::wire::user_code_selector, "VMCB.CS.selector");
    expect_equal(guest.save().cs.attributes & attributes_mask, 0x2fbU, "VMCB.CS.attributes without G");
    expect_equal(guest.save().ss.selector, nestbed::wire::user_data_selector, "VMCB.SS.selector");
    expect_equal(guest.save().ss.attributes & attributes_mask, 0x4f3U, "VMCB.SS.attributes without G");
    expect_equal(own_cs() & 3, 0U, "L1's own CPL after the exit");
}
SVM_TEST(switch_guest_cpl_3_privileged, "svm.switch.guest_cpl_3_privileged", "VMCB.CPL=3 keeps L2 from HLT",
         "15.5.1") {
    L2 guest;
    guest.intercept_exception(13);
    guest.intercept(Intercept::hlt);
    enter_ring_3(guest, l2_tables_hlt);
    guest.run_to(exception_exit(13), "#GP of HLT in ring 3 comes before its intercept");
    expect_equal(guest.save().rip, address_of(l2_tables_hlt), "VMCB.RIP");
    expect_equal(guest.save().cpl, 3U, "VMCB.CPL");
}
SVM_TEST(switch_guest_cpl_0_after_3, "svm.switch.guest_cpl_0_after_3",
         "The same VMCB with CPL 3 and then CPL 0 runs HLT the second time", "15.5.1") {
    L2 guest;
    guest.intercept_exception(13);
    guest.intercept(Intercept::hlt);
    const auto cs = guest.save().cs;
    const auto ss = guest.save().ss;
    enter_ring_3(guest, l2_tables_hlt);
    guest.run_to(exception_exit(13), "#GP of HLT in ring 3");
    start_blob(guest, l2_tables_hlt);
    guest.save().cs = cs;
    guest.save().ss = ss;
    guest.save().cpl = 0;
    guest.run_to(ExitCode::hlt, "HLT in ring 0 is intercepted");
    expect_equal(guest.save().cpl, 0U, "VMCB.CPL");
}
SVM_TEST(switch_guest_cpl_changed, "svm.switch.guest_cpl_changed",
         "CPL, CS and SS in the VMCB follow L2 to ring 3 and back", "15.6") {
    L2 guest;
    auto code = [&] { conform::in_ring_3([] { conform::l2_hypercall(0x33); }); };
    guest.start(code);
    guest.run_to(ExitCode::vmmcall, "ring 3 leaves by VMMCALL");
    expect_equal(guest.save().rax, 0x33U, "RAX");
    expect_equal(guest.save().cpl, 3U, "VMCB.CPL");
    expect_equal(guest.save().cs.selector, nestbed::wire::user_code_selector, "VMCB.CS.selector");
    expect_equal(guest.save().ss.selector, nestbed::wire::user_data_selector, "VMCB.SS.selector");
    guest.skip(3);
    guest.run_to_end("ring 0 of L2 goes on after its ring 3");
    expect_equal(guest.save().cpl, 0U, "VMCB.CPL");
    expect_equal(guest.save().cs.selector, nestbed::wire::kernel_code_selector, "VMCB.CS.selector");
}

L2_CODE(l2_tables_16, 16, "vmmcall");
SVM_TEST(switch_guest_cpl_real_mode, "svm.switch.guest_cpl_real_mode",
         "In real mode L2 runs with CPL 0 whatever the VMCB says", "15.5.1") {
    L2 guest;
    set_real_mode(guest.save(), address_of(l2_tables_16), fresh_stack() - 8192);
    guest.save().cpl = 3;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().cpl, 0U, "VMCB.CPL");
}
namespace {
L2_CODE(l2_tables_v86, 16, "movl $0x8686, %eax; cpuid; nop");
void run_virtual_8086(std::uint8_t cpl) {
    L2 guest;
    guest.intercept(Intercept::cpuid);
    guest.intercept_exception(13);
    const auto base = conform::physical(conform::allocate_pages(1));
    for (unsigned i = 0; i < 16; ++i)
        *guest::pointer_to<char>(base + i) = l2_tables_v86[i];
    // The base is the VMCB's and may be above 1 MiB: nothing loads CS anew.
    auto& save = guest.save();
    set_legacy_paging_mode(save, 0, 0x100);
    save.cs = {static_cast<std::uint16_t>(base >> 4), 0x0f3, 0xffff, base};
    save.ss = save.ds = save.es = save.fs = save.gs = save.cs;
    save.rip = 0;
    save.rflags = 2 | 1U << 17 | 3U << 12;
    save.cpl = cpl;
    guest.run_to(ExitCode::cpuid, "L2 leaves by CPUID");
    expect_equal(save.rax, 0x8686U, "RAX");
    expect_equal(save.rip, 6U, "VMCB.RIP");
    expect_equal(save.rflags & 1U << 17, 1U << 17, "VM in VMCB.RFLAGS");
    expect_equal(save.cpl, 3U, "VMCB.CPL");
}
} // namespace
SVM_TEST(switch_guest_v86, "svm.switch.guest_virtual_8086", "L2 runs in virtual-8086 mode", "15.5.1") {
    run_virtual_8086(3);
}
SVM_TEST(switch_guest_v86_cpl, "svm.switch.guest_virtual_8086_cpl_0",
         "In virtual-8086 mode L2 runs with CPL 3 whatever the VMCB says", "15.5.1") {
    run_virtual_8086(0);
}

} // namespace nestbed::svm
