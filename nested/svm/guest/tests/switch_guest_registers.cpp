// RFLAGS, RIP, RSP, RAX, the control and debug registers: as VMRUN loads them for L2, as L2's own
// instructions see them, and as the exit writes them back (APM volume 2, 15.5.1 and 15.6).
#include "core/guest/guard.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

using conform::Text;

// Everything that ring 0 can read of itself. RFLAGS first, before anything changes them.
L2_CODE(l2_switch_look, 64,
        "pushfq; popq %rbx\n"
        "movq %cr0, %r8; movq %cr2, %r9; movq %cr3, %r10; movq %cr4, %r11\n"
        "movq %dr6, %r12; movq %dr7, %r13; movq %rsp, %r14; movq %rax, %r15\n"
        "vmmcall");
L2_CODE(l2_switch_popf, 64, "pushq %rdi; popfq; vmmcall");
L2_CODE(l2_switch_exit, 64, "vmmcall");
L2_CODE(l2_switch_rax, 64, "movq %rax, %rbx; movq %rsp, %rcx; vmmcall");
L2_CODE(l2_switch_set_rax, 64, "movq %rdi, %rax; vmmcall");

namespace {

constexpr std::uint64_t fixed = 2; // RFLAGS bit 1
constexpr std::uint64_t rflags_rf = 1U << 16;

template<std::uint64_t Bits>
void rflags_in() {
    L2 guest;
    start_blob(guest, l2_switch_look);
    guest.save().rflags = fixed | Bits;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    // PUSHF clears RF in the image that it pushes, and RF itself ends with the instruction (APM volume 3,
    // PUSHF; volume 2, 3.1.6).
    expect_equal(guest.registers.rbx, fixed | (Bits & ~rflags_rf), "RFLAGS as L2 sees them");
    expect_equal(guest.save().rflags, fixed | (Bits & ~rflags_rf), "VMCB.RFLAGS after the exit");
}
std::uint64_t own_rflags() {
    std::uint64_t value = 0;
    asm volatile("pushfq; popq %0" : "=r"(value));
    return value;
}
template<std::uint64_t Bits>
void rflags_out() {
    constexpr std::uint64_t system_flags = 0x003f'7700;
    L2 guest;
    start_blob(guest, l2_switch_popf, fixed | Bits);
    const auto mine = own_rflags() & system_flags;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    const auto after = own_rflags() & system_flags;
    expect_equal(guest.save().rflags, fixed | Bits, "VMCB.RFLAGS after L2's POPF");
    expect_equal(after, mine, "L1's own system flags after the exit");
}

} // namespace

#define RFLAGS_CASE(flag, bits)                                                                              \
    SVM_CASE(switch_guest_rflags_in_##flag, "svm.switch.guest_rflags_in_" #flag,                             \
             "VMRUN loads RFLAGS with these bits, and the exit writes them back", "15.5.1",                  \
             &rflags_in<bits>)                                                                               \
    SVM_CASE(switch_guest_rflags_out_##flag, "svm.switch.guest_rflags_out_" #flag,                           \
             "What L2 pops into RFLAGS is in the VMCB after the exit", "15.6", &rflags_out<bits>)
RFLAGS_CASE(none, 0)
RFLAGS_CASE(cf, 1U << 0)
RFLAGS_CASE(pf, 1U << 2)
RFLAGS_CASE(af, 1U << 4)
RFLAGS_CASE(zf, 1U << 6)
RFLAGS_CASE(sf, 1U << 7)
RFLAGS_CASE(if, 1U << 9)
RFLAGS_CASE(df, 1U << 10)
RFLAGS_CASE(of, 1U << 11)
RFLAGS_CASE(iopl_1, 1U << 12)
RFLAGS_CASE(iopl_2, 2U << 12)
RFLAGS_CASE(iopl_3, 3U << 12)
RFLAGS_CASE(nt, 1U << 14)
RFLAGS_CASE(ac, 1U << 18)
RFLAGS_CASE(id, 1U << 21)
RFLAGS_CASE(all, 0x0024'7ed5)
#undef RFLAGS_CASE
SVM_CASE(switch_guest_rflags_in_rf, "svm.switch.guest_rflags_in_rf",
         "RF is loaded by VMRUN and ends with L2's first instruction", "15.5.1", &rflags_in<rflags_rf>)
SVM_CASE(switch_guest_rflags_in_vif, "svm.switch.guest_rflags_in_vif", "VIF goes in and out", "15.5.1",
         &rflags_in<(1U << 19)>)
SVM_CASE(switch_guest_rflags_in_vip, "svm.switch.guest_rflags_in_vip", "VIP goes in and out", "15.5.1",
         &rflags_in<(1U << 20)>)

SVM_TEST(switch_guest_rflags_fixed_bit, "svm.switch.guest_rflags_fixed_bit",
         "RFLAGS bit 1 is set in L2 whatever the VMCB says", "15.5.1") {
    L2 guest;
    start_blob(guest, l2_switch_look);
    guest.save().rflags = 0;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.rbx, fixed, "RFLAGS as L2 sees them");
}

SVM_TEST(switch_guest_rflags_tf, "svm.switch.guest_rflags_tf",
         "TF set in the VMCB makes L2 trap after its first instruction", "15.5.1") {
    L2 guest;
    guest.intercept_exception(1);
    start_blob(guest, l2_switch_look);
    guest.save().rflags = fixed | 1U << 8;
    guest.run_to(exception_exit(1), "#DB after one instruction");
    expect_equal(guest.save().rip, address_of(l2_switch_look) + 1, "VMCB.RIP, after PUSHF");
    expect_equal(guest.save().rflags & 1U << 8, 1U << 8, "TF in the VMCB");
}

namespace {
template<std::uint64_t Value>
void rax_in_out() {
    L2 guest;
    start_blob(guest, l2_switch_rax);
    guest.save().rax = Value;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.rbx, Value, "RAX as L2 sees it");
    expect_equal(guest.save().rax, Value, "VMCB.RAX after the exit");
    start_blob(guest, l2_switch_set_rax, ~Value);
    guest.run_to(ExitCode::vmmcall, "L2 leaves again");
    expect_equal(guest.save().rax, ~Value, "VMCB.RAX as L2 set it");
}
template<std::uint64_t Value>
void rsp_in_out() {
    L2 guest;
    start_blob(guest, l2_switch_rax);
    guest.save().rsp = Value;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.rcx, Value, "RSP as L2 sees it");
    expect_equal(guest.save().rsp, Value, "VMCB.RSP after the exit");
}
} // namespace
#define VALUE_CASES(name, value)                                                                             \
    SVM_CASE(switch_guest_rax_##name, "svm.switch.guest_rax_" #name, "RAX goes in and out with all 64 bits", \
             "15.5.1", &rax_in_out<value>)                                                                   \
    SVM_CASE(switch_guest_rsp_##name, "svm.switch.guest_rsp_" #name, "RSP goes in and out with all 64 bits", \
             "15.5.1", &rsp_in_out<value>)
VALUE_CASES(zero, 0)
VALUE_CASES(ones, ~std::uint64_t{0})
VALUE_CASES(bit_31, 0x8000'0000U)
VALUE_CASES(bit_32, 0x1'0000'0000U)
VALUE_CASES(bit_63, 0x8000'0000'0000'0000U)
VALUE_CASES(pattern, 0x0123'4567'89ab'cdefU)
#undef VALUE_CASES

SVM_TEST(switch_guest_general_registers, "svm.switch.guest_general_registers",
         "VMRUN and the exit leave the other fourteen general registers alone", "15.5.1") {
    L2 guest;
    start_blob(guest, l2_switch_exit);
    auto* const words = reinterpret_cast<std::uint64_t*>(&guest.registers);
    for (unsigned i = 0; i < 14; ++i)
        words[i] = 0x1111'2222'3333'0000U + i;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    for (unsigned i = 0; i < 14; ++i)
        expect_equal(words[i], 0x1111'2222'3333'0000U + i, Text{"register ", i, " of RBX, RCX, ... R15"});
}

// RIP.

SVM_TEST(switch_guest_rip_at_exit, "svm.switch.guest_rip_at_exit",
         "VMCB.RIP after an intercepted instruction is that instruction's", "15.6") {
    L2 guest;
    start_blob(guest, l2_switch_rax);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().rip, address_of(l2_switch_rax) + 6, "VMCB.RIP");
}

L2_CODE(l2_switch_cpuid_exit, 64, "cpuid; vmmcall");

SVM_TEST(switch_guest_rip_page_end, "svm.switch.guest_rip_page_end",
         "CPUID that lies across two pages, not intercepted by L1, goes on right behind it", "15.6") {
    auto* const pages = static_cast<std::uint8_t*>(conform::allocate_pages(2));
    auto* const code = pages + 4095;
    for (unsigned i = 0; i < 5; ++i)
        code[i] = static_cast<std::uint8_t>(l2_switch_cpuid_exit[i]);
    L2 guest;
    start_blob(guest, reinterpret_cast<const char*>(code));
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().rip, conform::physical(code) + 2, "VMCB.RIP");
}

SVM_TEST(switch_guest_rip_intercepted_page_end, "svm.switch.guest_rip_intercepted_page_end",
         "VMMCALL that lies across two pages leaves with its first byte's address", "15.6") {
    auto* const pages = static_cast<std::uint8_t*>(conform::allocate_pages(2));
    auto* const code = pages + 4094;
    for (unsigned i = 0; i < 3; ++i)
        code[i] = static_cast<std::uint8_t>(l2_switch_exit[i]);
    L2 guest;
    start_blob(guest, reinterpret_cast<const char*>(code));
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().rip, conform::physical(code), "VMCB.RIP");
}

namespace {
constexpr std::uint64_t high_half = 0xffff'ff80'0000'0000;
void run_high(L2& guest, NestedPageTables& tables, const char* code) {
    tables.entry(high_half, 4) = tables.entry(0, 4);
    guest.save().cr3 = tables.root();
    start_blob(guest, code);
    guest.save().rip += high_half;
    guest.save().rsp += high_half;
}
} // namespace

SVM_TEST(switch_guest_rip_high_half, "svm.switch.guest_rip_high_half",
         "RIP and RSP in the upper half of the address space go in and out", "15.5.1") {
    L2 guest;
    NestedPageTables tables; // a processor's own page tables have the same format
    run_high(guest, tables, l2_switch_look);
    const auto rsp = guest.save().rsp;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.r14, rsp, "RSP as L2 sees it");
    expect_equal(guest.save().rsp, rsp, "VMCB.RSP");
    expect(guest.save().rip > high_half, "VMCB.RIP is in the upper half");
    expect_equal(guest.registers.r10, tables.root(), "CR3 as L2 sees it");
    expect_equal(guest.save().cr3, tables.root(), "VMCB.CR3");
}

SVM_TEST(switch_guest_rip_high_half_emulated, "svm.switch.guest_rip_high_half_emulated",
         "After a CPUID that L1 does not intercept RIP stays in the upper half", "15.6") {
    L2 guest;
    NestedPageTables tables;
    run_high(guest, tables, l2_switch_cpuid_exit);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().rip, high_half + address_of(l2_switch_cpuid_exit) + 2, "VMCB.RIP");
}

// Control registers.

namespace {

constexpr std::uint64_t cr0_ts = 1U << 3;
constexpr std::uint64_t cr0_em = 1U << 2;
constexpr std::uint64_t cr0_cd = 1U << 30;
constexpr std::uint64_t cr0_nw = 1U << 29;

template<std::uint64_t Toggle>
void cr0_in_out() {
    const auto mine = guest::control_register<0>();
    L2 guest;
    start_blob(guest, l2_switch_look);
    const auto value = mine ^ Toggle;
    guest.save().cr0 = value;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.r8, value, "CR0 as L2 sees it");
    expect_equal(guest.save().cr0, value, "VMCB.CR0 after the exit");
    expect_equal(guest::control_register<0>(), mine, "L1's own CR0");
}

L2_CODE(l2_switch_set_cr0, 64, "movq %rdi, %cr0; movq %cr0, %rbx; vmmcall");
template<std::uint64_t Toggle>
void cr0_changed() {
    const auto mine = guest::control_register<0>();
    L2 guest;
    start_blob(guest, l2_switch_set_cr0, mine ^ Toggle);
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.rbx, mine ^ Toggle, "CR0 as L2 reads it back");
    expect_equal(guest.save().cr0, mine ^ Toggle, "VMCB.CR0 after L2's MOV to CR0");
    expect_equal(guest::control_register<0>(), mine, "L1's own CR0");
}

} // namespace
#define CR0_CASE(bit, mask)                                                                                  \
    SVM_CASE(switch_guest_cr0_in_##bit, "svm.switch.guest_cr0_in_" #bit,                                     \
             "CR0 other than L1's in this bit is loaded, seen by L2 and written back", "15.5.1",             \
             &cr0_in_out<mask>)                                                                              \
    SVM_CASE(switch_guest_cr0_out_##bit, "svm.switch.guest_cr0_out_" #bit,                                   \
             "L2's MOV to CR0 of this bit is in the VMCB after the exit, and not in L1's CR0", "15.6",       \
             &cr0_changed<mask>)
CR0_CASE(same, 0)
CR0_CASE(mp, 1U << 1)
CR0_CASE(em, cr0_em)
CR0_CASE(ts, cr0_ts)
CR0_CASE(ne, 1U << 5)
CR0_CASE(wp, 1U << 16)
CR0_CASE(am, 1U << 18)
CR0_CASE(cd, cr0_cd)
CR0_CASE(cd_nw, cr0_cd | cr0_nw)
#undef CR0_CASE

L2_CODE(l2_switch_fpu, 64, "fnop; vmmcall");
L2_CODE(l2_switch_clts, 64, "clts; vmmcall");

SVM_TEST(switch_guest_cr0_ts_effect, "svm.switch.guest_cr0_ts_effect",
         "CR0.TS=1 of L2 makes x87 code raise #NM though L1 has TS=0", "15.5.1") {
    L2 guest;
    guest.intercept_exception(7);
    start_blob(guest, l2_switch_fpu);
    guest.save().cr0 |= cr0_ts;
    guest.run_to(exception_exit(7), "#NM of FNOP");
    expect_equal(guest.save().rip, address_of(l2_switch_fpu), "VMCB.RIP at FNOP");
}
SVM_TEST(switch_guest_cr0_ts_of_l1, "svm.switch.guest_cr0_ts_of_l1",
         "CR0.TS=1 of L1 does not make L2 raise #NM, and is there after the exit", "15.5.1") {
    L2 guest;
    guest.intercept_exception(7);
    start_blob(guest, l2_switch_fpu);
    guest.save().cr0 &= ~(cr0_ts | cr0_em);
    const auto mine = guest::control_register<0>();
    asm volatile("movq %0, %%cr0" : : "r"(mine | cr0_ts));
    const auto code = guest.run();
    const auto after = guest::control_register<0>();
    asm volatile("movq %0, %%cr0" : : "r"(mine));
    expect_equal(code, ExitCode::vmmcall, "EXITCODE: FNOP runs in L2");
    expect_equal(after, mine | cr0_ts, "L1's CR0 after the exit");
}
SVM_TEST(switch_guest_cr0_clts, "svm.switch.guest_cr0_clts", "CLTS of L2 clears TS in the VMCB", "15.6") {
    L2 guest;
    start_blob(guest, l2_switch_clts);
    const auto before = guest.save().cr0 | cr0_ts;
    guest.save().cr0 = before;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().cr0, before & ~cr0_ts, "VMCB.CR0 after CLTS");
}

L2_CODE(l2_switch_lmsw, 64, "smsw %rax; orl $10, %eax; lmsw %ax; vmmcall");
SVM_TEST(switch_guest_cr0_lmsw, "svm.switch.guest_cr0_lmsw", "LMSW of L2 sets MP and TS in the VMCB",
         "15.6") {
    L2 guest;
    start_blob(guest, l2_switch_lmsw);
    const auto before = guest.save().cr0 & ~std::uint64_t{10};
    guest.save().cr0 = before;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().cr0, before | 10, "VMCB.CR0 after LMSW");
}

L2_CODE(l2_switch_write, 64, "movq $0x77, (%rdi); vmmcall");
namespace {
void write_protect(bool on) {
    L2 guest;
    guest.intercept_exception(14);
    NestedPageTables tables;
    auto* const page = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    tables.entry(conform::physical(page), 1) &= ~npt_bit::write;
    guest.save().cr3 = tables.root();
    start_blob(guest, l2_switch_write, conform::physical(page));
    if (on) {
        guest.save().cr0 |= 1U << 16;
        guest.run_to(exception_exit(14), "a write to a read-only page is #PF with CR0.WP=1");
        expect_equal(guest.control().exit_info_1, 3U, "error code in EXITINFO1: present, write");
        expect_equal(guest.control().exit_info_2, conform::physical(page), "the address in EXITINFO2");
        expect_equal(*page, 0U, "what is in the page");
    } else {
        guest.save().cr0 &= ~(std::uint64_t{1} << 16);
        guest.run_to(ExitCode::vmmcall, "ring 0 may write to a read-only page with CR0.WP=0");
        expect_equal(*page, 0x77U, "what is in the page");
    }
}
} // namespace
SVM_TEST(switch_guest_cr0_wp_set, "svm.switch.guest_cr0_wp_set",
         "CR0.WP=1 of L2 keeps its ring 0 from read-only pages", "15.5.1") {
    write_protect(true);
}
SVM_TEST(switch_guest_cr0_wp_clear, "svm.switch.guest_cr0_wp_clear",
         "CR0.WP=0 of L2 lets its ring 0 write to read-only pages, though L1 has WP=1", "15.5.1") {
    write_protect(false);
}

// CR2.

L2_CODE(l2_switch_set_cr2, 64, "movq %cr2, %rbx; movq %rdi, %cr2; vmmcall");
SVM_TEST(switch_guest_cr2, "svm.switch.guest_cr2", "CR2 goes in and out with all 64 bits", "15.5.1") {
    L2 guest;
    start_blob(guest, l2_switch_set_cr2, 0xfedc'ba98'7654'3210);
    guest.save().cr2 = 0x8123'4567'89ab'cdef;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, 0x8123'4567'89ab'cdefU, "CR2 as L2 sees it");
    expect_equal(guest.save().cr2, 0xfedc'ba98'7654'3210U, "VMCB.CR2 as L2 set it");
}
SVM_TEST(switch_guest_cr2_unchanged, "svm.switch.guest_cr2_unchanged",
         "CR2 that L2 never touches is in the VMCB as L1 wrote it", "15.6") {
    L2 guest;
    start_blob(guest, l2_switch_exit);
    guest.save().cr2 = 0xabcd'0123;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().cr2, 0xabcd'0123U, "VMCB.CR2");
}
SVM_TEST(switch_guest_cr2_of_fault, "svm.switch.guest_cr2_of_fault",
         "The address of L2's own page fault is in VMCB.CR2 after a later exit", "15.6") {
    L2 guest;
    const auto address = std::uint64_t{0x7fff'1234'5678};
    guest.save().cr2 = 0x1111;
    auto code = [&] { guest::catch_fault([&] { *guest::pointer_to<volatile std::uint64_t>(address) = 1; }); };
    guest.start(code);
    guest.run_to_end();
    expect_equal(guest.save().cr2, address, "VMCB.CR2");
}
SVM_TEST(switch_guest_cr2_two_guests, "svm.switch.guest_cr2_two_guests",
         "Two guests that take turns keep a CR2 each", "15.5.1") {
    L2 first;
    L2 second;
    first.save().cr2 = 0x1000'0001;
    second.save().cr2 = 0x2000'0002;
    for (int i = 0; i < 3; ++i) {
        start_blob(first, l2_switch_look);
        start_blob(second, l2_switch_look);
        first.run_to(ExitCode::vmmcall, "the first leaves by VMMCALL");
        second.run_to(ExitCode::vmmcall, "the second leaves by VMMCALL");
        expect_equal(first.registers.r9, 0x1000'0001U, "CR2 as the first sees it");
        expect_equal(second.registers.r9, 0x2000'0002U, "CR2 as the second sees it");
    }
}

// CR3.

L2_CODE(l2_switch_set_cr3, 64, "movq %rdi, %cr3; movq %cr3, %rbx; vmmcall");
namespace {
template<std::uint64_t Bits>
void cr3_in_out() {
    const auto mine = guest::control_register<3>();
    L2 guest;
    NestedPageTables tables;
    const auto value = tables.root() | Bits;
    start_blob(guest, l2_switch_look);
    guest.save().cr3 = value;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.r10, value, "CR3 as L2 sees it");
    expect_equal(guest.save().cr3, value, "VMCB.CR3");
    NestedPageTables others;
    start_blob(guest, l2_switch_set_cr3, others.root() | Bits);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, others.root() | Bits, "CR3 as L2 reads it back");
    expect_equal(guest.save().cr3, others.root() | Bits, "VMCB.CR3 after L2's MOV to CR3");
    expect_equal(guest::control_register<3>(), mine, "L1's own CR3");
}
template<std::uint64_t Bits>
void cr3_in_out_npt() {
    const auto mine = guest::control_register<3>();
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    NestedPageTables tables;
    start_blob(guest, l2_switch_set_cr3, tables.root() | Bits);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, tables.root() | Bits, "CR3 as L2 reads it back");
    expect_equal(guest.save().cr3, tables.root() | Bits, "VMCB.CR3 after L2's MOV to CR3");
    expect_equal(guest.control().n_cr3, nested.root(), "VMCB.N_CR3");
    expect_equal(guest::control_register<3>(), mine, "L1's own CR3");
}
} // namespace
SVM_CASE(switch_guest_cr3, "svm.switch.guest_cr3", "CR3 goes in and out", "15.5.1", &cr3_in_out<0>)
SVM_CASE(switch_guest_cr3_pwt_pcd, "svm.switch.guest_cr3_pwt_pcd", "CR3 goes in and out with PWT and PCD",
         "15.5.1", &cr3_in_out<0x18>)
SVM_CASE(switch_guest_cr3_npt, "svm.switch.guest_cr3_npt", "CR3 changed by L2 under nested paging comes back",
         "15.6", &cr3_in_out_npt<0>, .needs = "npt")
SVM_CASE(switch_guest_cr3_npt_pwt_pcd, "svm.switch.guest_cr3_npt_pwt_pcd",
         "CR3 changed by L2 under nested paging comes back with PWT and PCD", "15.6", &cr3_in_out_npt<0x18>,
         .needs = "npt")

} // namespace nestbed::svm
