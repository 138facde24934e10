// Intercepts of control and debug registers: each bit by itself, reads and writes apart, and what the
// instruction does where it is not intercepted.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/snippet.hpp"

namespace nestbed::svm {

using conform::expect_equal;
using conform::physical;

namespace {

constexpr std::uint32_t read_bit(unsigned n) {
    return 1U << n;
}
constexpr std::uint32_t write_bit(unsigned n) {
    return 1U << (16 + n);
}

struct Access {
    const char* name;
    bool debug; // DRn, else CRn
    bool write;
    unsigned n;
    ExitCode exit;
    Snippet code64, code32;
};

std::uint32_t& word_of(L2& guest, const Access& access) {
    return access.debug ? guest.control().intercept_dr : guest.control().intercept_cr;
}
constexpr std::uint32_t bit_of(const Access& access) {
    return access.write ? write_bit(access.n) : read_bit(access.n);
}

std::uint64_t read_cr8() {
    std::uint64_t value = 0;
    asm volatile("movq %%cr8, %0" : "=r"(value));
    return value;
}
void write_cr8(std::uint64_t value) {
    asm volatile("movq %0, %%cr8" : : "r"(value));
}
template<unsigned N>
std::uint64_t debug_register() {
    std::uint64_t value = 0;
    asm volatile("movq %%db%c1, %0" : "=r"(value) : "i"(N));
    return value;
}
template<unsigned N>
void set_debug_register(std::uint64_t value) {
    asm volatile("movq %0, %%db%c1" : : "r"(value), "i"(N));
}

// DR0 to DR3 and CR8 are L1's own (15.5.1: VMRUN switches none of them).
void prepare(L2& guest, const Access& access) {
    set_debug_register<0>(0x1110'0000);
    set_debug_register<1>(0x2220'0000);
    set_debug_register<2>(0x3330'0000);
    set_debug_register<3>(0x4440'0000);
    guest.save().cr2 = 0x2222'3333;
    guest.save().dr6 = 0xffff'4ff3;
    guest.save().dr7 = 0x0033'0400; // conditions without an enable bit
    write_cr8(0);
    guest.registers.rbx = 0; // a value that any of them takes, where the write is not to happen
    if (access.write)
        guest.registers.rbx = access.debug    ? (access.n == 7   ? 0x400
                                                 : access.n == 6 ? 0xffff'0ff0
                                                                 : 0x5550'0000)
                              : access.n == 0 ? guest.save().cr0 | 1U << 3 // TS
                              : access.n == 3 ? guest.save().cr3 | 1U << 3 // PWT
                              : access.n == 4 ? guest.save().cr4 | 1U << 3 // DE
                              : access.n == 8 ? 6
                                              : 0x7777'8888;
}

std::uint64_t l2_value(L2& guest, const Access& access) {
    if (access.debug)
        switch (access.n) {
        case 0:
            return debug_register<0>();
        case 1:
            return debug_register<1>();
        case 2:
            return debug_register<2>();
        case 3:
            return debug_register<3>();
        case 6:
            return guest.save().dr6;
        default:
            return guest.save().dr7;
        }
    switch (access.n) {
    case 0:
        return guest.save().cr0;
    case 2:
        return guest.save().cr2;
    case 3:
        return guest.save().cr3;
    case 4:
        return guest.save().cr4;
    default:
        return read_cr8();
    }
}

// Only this bit of the vector is set.
template<const Access& access, Mode mode>
void exits() {
    L2 guest;
    const auto& code = bits_of(mode) == 64 ? access.code64 : access.code32;
    place(guest, code, mode);
    prepare(guest, access);
    const auto before = state_of(guest);
    const auto was = l2_value(guest, access);
    word_of(guest, access) = bit_of(access);
    if (!guest.run_to(access.exit, access.name))
        return;
    expect_untouched(guest, before, access.name);
    expect_next_rip(guest, reinterpret_cast<std::uint64_t>(code.after), access.name);
    expect_equal(l2_value(guest, access), was, "the register: as it was");
}

// Every other bit of both vectors is set.
template<const Access& access, Mode mode>
void executes() {
    L2 guest;
    const auto& code = bits_of(mode) == 64 ? access.code64 : access.code32;
    place(guest, code, mode);
    prepare(guest, access);
    const auto before = state_of(guest);
    const auto was = l2_value(guest, access);
    guest.control().intercept_cr = 0xffff'ffff;
    guest.control().intercept_dr = 0xffff'ffff;
    word_of(guest, access) &= ~bit_of(access);
    if (!run_past(guest, code, mode, access.name))
        return;
    if (access.write) {
        expect_equal(l2_value(guest, access), before.registers.rbx, "the register after L2's write");
        expect_equal(guest.registers.rbx, before.registers.rbx, "RBX, which the write does not change");
    } else {
        expect_equal(guest.registers.rbx, was, "RBX after the read");
    }
}

// Table 15-7: the privilege check comes first.
template<const Access& access>
void gp_in_ring3() {
    L2 guest;
    place(guest, access.code64, Mode::long64_ring3);
    prepare(guest, access);
    const auto before = state_of(guest);
    word_of(guest, access) = bit_of(access);
    if (run_to_exception(guest, access.code64, Mode::long64_ring3, 13, 0, access.name))
        expect_untouched(guest, before, access.name);
}

} // namespace

// NOLINTBEGIN: names are made of the register's
#define ACCESS(id, is_debug, is_write, number, first_exit, text64, text32)                                   \
    L2_SNIPPET(id##_64, 64, text64);                                                                         \
    L2_SNIPPET(id##_32, 32, text32);                                                                         \
    static constexpr Access id##_access{                                                                     \
        #id,                                                                                                 \
        is_debug,                                                                                            \
        is_write,                                                                                            \
        number,                                                                                              \
        static_cast<ExitCode>(static_cast<std::uint64_t>(ExitCode::first_exit) + number),                    \
        id##_64,                                                                                             \
        id##_32};                                                                                            \
    SVM_CASE(id##_exits, "svm.intercept." #id "_exits",                                                      \
             #id ": its intercept bit alone makes it leave L2, and nothing is done", "15.8",                 \
             (&exits<id##_access, Mode::long64>));                                                           \
    SVM_CASE(id##_executes, "svm.intercept." #id "_executes",                                                \
             #id " runs in L2 where every bit but its own is set", "15.8",                                   \
             (&executes<id##_access, Mode::long64>));                                                        \
    SVM_CASE(id##_ring3_gp, "svm.intercept." #id "_ring3_gp",                                                \
             #id " in ring 3 raises #GP before its intercept acts", "15.9, table 15-7",                      \
             (&gp_in_ring3<id##_access>))
#define ACCESS_32(id)                                                                                        \
    SVM_CASE(id##_exits_protected, "svm.intercept." #id "_exits_protected",                                  \
             #id " in protected mode: its intercept bit alone makes it leave L2", "15.8",                    \
             (&exits<id##_access, Mode::protected32>))
#define EXECUTES_32(id)                                                                                      \
    SVM_CASE(id##_executes_protected, "svm.intercept." #id "_executes_protected",                            \
             #id " in protected mode runs where every bit but its own is set", "15.8",                       \
             (&executes<id##_access, Mode::protected32>))
#define READ_CR(n)                                                                                           \
    ACCESS(read_cr##n, false, false, n, read_cr0, "movq %cr" #n ", %rbx", "movl %cr" #n ", %ebx")
#define WRITE_CR(n) ACCESS(write_cr##n, false, true, n, write_cr0, "movq %rbx, %cr" #n, "movl %ebx, %cr" #n)
#define READ_DR(n)                                                                                           \
    ACCESS(read_dr##n, true, false, n, read_dr0, "movq %db" #n ", %rbx", "movl %db" #n ", %ebx")
#define WRITE_DR(n) ACCESS(write_dr##n, true, true, n, write_dr0, "movq %rbx, %db" #n, "movl %ebx, %db" #n)
// NOLINTEND

READ_CR(0);
READ_CR(2);
READ_CR(3);
READ_CR(4);
WRITE_CR(0);
WRITE_CR(2);
WRITE_CR(3);
WRITE_CR(4);
ACCESS_32(read_cr0);
ACCESS_32(read_cr3);
ACCESS_32(read_cr4);
ACCESS_32(write_cr0);
ACCESS_32(write_cr2);
ACCESS_32(write_cr3);
ACCESS_32(write_cr4);
EXECUTES_32(read_cr0);
EXECUTES_32(read_cr4);
EXECUTES_32(write_cr0);
EXECUTES_32(write_cr4);
// CR8 has no 32-bit form; the NOP is never run.
ACCESS(read_cr8, false, false, 8, read_cr0, "movq %cr8, %rbx", "nop");
ACCESS(write_cr8, false, true, 8, write_cr0, "movq %rbx, %cr8", "nop");

READ_DR(0);
READ_DR(1);
READ_DR(2);
READ_DR(3);
READ_DR(6);
READ_DR(7);
WRITE_DR(0);
WRITE_DR(1);
WRITE_DR(2);
WRITE_DR(3);
WRITE_DR(6);
WRITE_DR(7);
ACCESS_32(read_dr7);
ACCESS_32(write_dr7);
ACCESS_32(write_dr0);
EXECUTES_32(read_dr6);
EXECUTES_32(write_dr7);

// CLTS, LMSW and SMSW are moves to and from CR0 for these intercepts (table 15-7).
namespace {
struct StatusWord {
    const char* name;
    Snippet code;
    std::uint32_t bit;
    ExitCode exit;
};
template<const StatusWord& instruction>
void status_word_exits() {
    L2 guest;
    place(guest, instruction.code, Mode::long64);
    guest.save().rax = 0xb; // PE, MP, TS for LMSW
    guest.save().cr0 |= instruction.exit == ExitCode::write_cr0 ? 1U << 3 : 0;
    const auto before = state_of(guest);
    guest.control().intercept_cr = instruction.bit;
    if (!guest.run_to(instruction.exit, instruction.name))
        return;
    expect_untouched(guest, before, instruction.name);
    expect_next_rip(guest, reinterpret_cast<std::uint64_t>(instruction.code.after), instruction.name);
}
} // namespace
L2_SNIPPET(clts, 64, "clts");
L2_SNIPPET(lmsw, 64, "lmsw %ax");
L2_SNIPPET(smsw, 64, "smsw %eax");
static constexpr StatusWord clts_word{"CLTS", clts, write_bit(0), ExitCode::write_cr0};
static constexpr StatusWord lmsw_word{"LMSW", lmsw, write_bit(0), ExitCode::write_cr0};
static constexpr StatusWord smsw_word{"SMSW", smsw, read_bit(0), ExitCode::read_cr0};
SVM_CASE(clts_exits, "svm.intercept.clts_exits", "CLTS leaves L2 by the CR0 write intercept", "15.8.1",
         (&status_word_exits<clts_word>));
SVM_CASE(lmsw_exits, "svm.intercept.lmsw_exits", "LMSW leaves L2 by the CR0 write intercept", "15.8.1",
         (&status_word_exits<lmsw_word>));
SVM_CASE(smsw_exits, "svm.intercept.smsw_exits", "SMSW leaves L2 by the CR0 read intercept", "15.8.1",
         (&status_word_exits<smsw_word>));

SVM_TEST(clts_executes, "svm.intercept.clts_executes", "CLTS that is not intercepted clears CR0.TS of L2",
         "15.8.1") {
    L2 guest;
    place(guest, clts, Mode::long64);
    const auto was = guest.save().cr0;
    guest.save().cr0 |= 1U << 3;
    guest.control().intercept_cr = ~write_bit(0);
    run_past(guest, clts, Mode::long64, "CLTS");
    expect_equal(guest.save().cr0, was, "CR0 after CLTS");
    expect_equal(guest::control_register<0>() >> 3 & 1, 0U, "CR0.TS of L1");
}
SVM_TEST(lmsw_executes, "svm.intercept.lmsw_executes",
         "LMSW that is not intercepted sets MP, EM and TS, and cannot clear PE", "15.8.1") {
    L2 guest;
    place(guest, lmsw, Mode::long64);
    const auto was = guest.save().cr0;
    guest.save().rax = 0xfff8; // TS; the bits above 3 are ignored
    guest.control().intercept_cr = ~write_bit(0);
    run_past(guest, lmsw, Mode::long64, "LMSW");
    expect_equal(guest.save().cr0, (was & ~std::uint64_t{0xe}) | 8, "CR0 after LMSW");
}
SVM_TEST(smsw_executes, "svm.intercept.smsw_executes", "SMSW that is not intercepted reads L2's CR0",
         "15.8.1") {
    L2 guest;
    place(guest, smsw, Mode::long64);
    guest.save().cr0 |= 1U << 3;
    guest.control().intercept_cr = ~read_bit(0);
    run_past(guest, smsw, Mode::long64, "SMSW");
    expect_equal(guest.save().rax & 0xffff'ffff, guest.save().cr0, "EAX after SMSW");
}
// With CR0.CD set in L2 the hypervisor below may have to look after L2's CR0 itself.
SVM_TEST(smsw_executes_cd, "svm.intercept.smsw_executes_cd", "SMSW shows CR0 with CD set in L2", "15.8.1") {
    L2 guest;
    place(guest, smsw, Mode::long64);
    guest.save().cr0 |= 1U << 30;
    run_past(guest, smsw, Mode::long64, "SMSW");
    expect_equal(guest.save().rax & 0xffff'ffff, guest.save().cr0, "EAX after SMSW");
}
L2_SNIPPET(read_cr0_r13, 64, "movq %cr0, %r13");
SVM_TEST(read_cr0_cd, "svm.intercept.read_cr0_cd", "MOV from CR0 shows CD set in L2", "15.8.1") {
    L2 guest;
    place(guest, read_cr0_r13, Mode::long64);
    guest.save().cr0 |= 1U << 30;
    run_past(guest, read_cr0_r13, Mode::long64, "MOV from CR0");
    expect_equal(guest.registers.r13, guest.save().cr0, "R13 after the read");
    expect_equal(guest.save().cr0 >> 30 & 1, 1U, "CR0.CD after the exit");
}
SVM_TEST(clts_executes_cd, "svm.intercept.clts_executes_cd", "CLTS clears TS alone with CR0.CD set in L2",
         "15.8.1") {
    L2 guest;
    place(guest, clts, Mode::long64);
    const auto was = guest.save().cr0 | 1U << 30;
    guest.save().cr0 = was | 1U << 3;
    run_past(guest, clts, Mode::long64, "CLTS");
    expect_equal(guest.save().cr0, was, "CR0 after CLTS");
}

// An unimplemented register is a #UD, intercepted or not (table 15-7: exceptions but those of memory first).
L2_SNIPPET(write_cr5, 64, ".byte 0x0f, 0x22, 0xe8");
SVM_TEST(write_cr5_ud, "svm.intercept.write_cr5_ud", "MOV to CR5 raises #UD before its intercept acts",
         "15.9, table 15-7") {
    L2 guest;
    place(guest, write_cr5, Mode::long64);
    guest.control().intercept_cr = write_bit(5);
    run_to_exception(guest, write_cr5, Mode::long64, 6, 0, "MOV to CR5");
}

// Outside 64-bit mode a move has 32 bits, whatever the upper half of the register holds (volume 3, MOV CRn
// and MOV DRn).
namespace {
void expect_truncated(const Snippet& code, const char* name, std::uint64_t (*result)(L2&),
                      std::uint64_t value) {
    L2 guest;
    place(guest, code, Mode::protected32);
    guest.registers.rbx = value | std::uint64_t{0xdead'beef} << 32;
    run_past(guest, code, Mode::protected32, name);
    expect_equal(result(guest), value, name);
}
} // namespace
SVM_TEST(truncated_dr0, "svm.intercept.write_dr0_truncated",
         "a 32-bit MOV to DR0 takes 32 bits of its register", "15.8.2 and volume 3, MOV DRn") {
    expect_truncated(
        write_dr0_32, "DR0", [](L2&) { return debug_register<0>(); }, 0x0045'6000);
}
SVM_TEST(truncated_dr7, "svm.intercept.write_dr7_truncated",
         "a 32-bit MOV to DR7 takes 32 bits of its register", "15.8.2 and volume 3, MOV DRn") {
    expect_truncated(
        write_dr7_32, "DR7", [](L2& guest) { return guest.save().dr7; }, 0x0033'0400);
}
SVM_TEST(truncated_cr3, "svm.intercept.write_cr3_truncated",
         "a 32-bit MOV to CR3 takes 32 bits of its register", "15.8.1 and volume 3, MOV CRn") {
    expect_truncated(
        write_cr3_32, "CR3", [](L2& guest) { return guest.save().cr3; }, 0x0123'4000);
}
SVM_TEST(truncated_cr4, "svm.intercept.write_cr4_truncated",
         "a 32-bit MOV to CR4 takes 32 bits of its register", "15.8.1 and volume 3, MOV CRn") {
    expect_truncated(
        write_cr4_32, "CR4", [](L2& guest) { return guest.save().cr4; }, 1U << 3);
}
SVM_TEST(truncated_cr0, "svm.intercept.write_cr0_truncated",
         "a 32-bit MOV to CR0 takes 32 bits of its register", "15.8.1 and volume 3, MOV CRn") {
    expect_truncated(
        write_cr0_32, "CR0", [](L2& guest) { return guest.save().cr0; }, 0x4000'0031); // CD
}

// DR7.GD: a move to or from a debug register is a #DB that L1 can intercept; DR6.BD says why.
L2_SNIPPET(read_dr3_gd, 64, "movq %db3, %rbx");
SVM_TEST(general_detect, "svm.intercept.dr_general_detect",
         "with DR7.GD set a debug register access is a #DB that leaves L2 with DR6.BD", "15.12.2") {
    L2 guest;
    place(guest, read_dr3_gd, Mode::long64);
    guest.save().dr7 = 0x2400;
    run_to_exception(guest, read_dr3_gd, Mode::long64, 1, 0, "DR7.GD");
    expect_equal(guest.save().dr6 >> 13 & 1, 1U, "DR6.BD");
}

} // namespace nestbed::svm
