// Exceptions of L2: intercepted, they reach L1 with error code and address and L2 has seen nothing of them;
// not intercepted, L2's own handler gets them.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/guest/snippet.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::physical;

namespace {

constexpr std::uint64_t nowhere = 0x0000'7000'0000'0000; // canonical and mapped by nobody
constexpr std::uint64_t not_canonical = 0x8000'0000'0000'0000;
constexpr std::uint64_t old_cr2 = 0x0dead'000;

struct Exception {
    const char* name;
    std::uint8_t vector;
    bool is_trap; // RIP is past the instruction
    std::uint64_t error_code;
    Mode mode;
    Snippet code;
    void (*prepare)(L2&);
};

std::uint64_t rip_expected(const Exception& test, bool intercepted) {
    // 15.7.1 and volume 2, chapter 8: INT3 and INTO push the address after them, and are intercepted at
    // themselves, as they have not been executed.
    const bool past = test.is_trap && !(intercepted && (test.vector == 3 || test.vector == 4));
    return reinterpret_cast<std::uint64_t>(past ? test.code.after : test.code.at);
}

void set_up(L2& guest, const Exception& test) {
    place(guest, test.code, test.mode);
    guest.save().cr2 = old_cr2;
    test.prepare(guest);
}

template<const Exception& test>
void exits() {
    L2 guest;
    set_up(guest, test);
    auto before = state_of(guest);
    guest.control().intercept_exceptions = 1U << test.vector;
    if (!guest.run_to(exception_exit(test.vector), test.name))
        return;
    if (test.vector == 3 || test.vector == 4 || !test.is_trap) {
        expect_untouched(guest, before, test.name);
    } else {
        expect_equal(guest.save().rip, rip_expected(test, true), "RIP");
        expect_equal(guest.save().cr2, before.save.cr2, "CR2");
    }
    // 15.12: the error code is in EXITINFO1 of those that have one; nothing is said of the others.
    if (test.vector == 8 || (test.vector >= 10 && test.vector <= 14) || test.vector == 17)
        expect_equal(guest.control().exit_info_1, test.error_code, "EXITINFO1: error code");
    if (test.vector != 8) // whose first exception was being delivered
        expect_equal(guest.control().exit_int_info & event_valid, 0U,
                     "EXITINTINFO.V: nothing was being delivered");
    expect_equal(guest.context().delivered, 0U, "events that L2's own handlers saw");
}

// Every other exception is intercepted.
template<const Exception& test>
void delivered() {
    L2 guest;
    set_up(guest, test);
    guest.control().intercept_exceptions = ~(1U << test.vector | 1U << 2);
    const auto was = guest.save();
    const auto frame = run_to_handler(guest, test.vector, test.name);
    expect_equal(frame.rip, rip_expected(test, false), "RIP in the frame");
    expect_equal(frame.error_code, test.error_code, "error code in the frame");
    expect_equal(frame.cs, was.cs.selector, "CS in the frame");
    expect_equal(frame.ss, was.ss.selector, "SS in the frame");
    expect_equal(frame.rsp, was.rsp, "RSP in the frame");
    // RF is set for faults (volume 2, 8.2 and 3.1.6); the arithmetic flags are the instruction's own.
    expect_equal(frame.rflags & 0x7'7700 & ~std::uint64_t{0x1'0000}, was.rflags & 0x7'7700,
                 "system flags in the frame");
    expect_equal(guest.context().delivered, 1U, "events that L2's own handlers saw");
}

} // namespace

// NOLINTBEGIN
#define EXCEPTION(id, vector, is_trap, error_code, bits, mode, text, prepare)                                \
    L2_SNIPPET(id##_code, bits, text);                                                                       \
    static constexpr Exception id##_exception {                                                              \
#id, vector, is_trap, error_code, Mode::mode, id##_code, prepare                                     \
    }
#define EXITS(id)                                                                                            \
    SVM_CASE(id##_exits, "svm.intercept." #id "_exits",                                                      \
             #id " that L1 intercepts leaves L2, which sees nothing of it", "15.12",                         \
             (&exits<id##_exception>))
#define DELIVERED(id)                                                                                        \
    SVM_CASE(id##_delivered, "svm.intercept." #id "_delivered",                                              \
             #id " that L1 does not intercept, though all others, is L2's own", "15.12",                     \
             (&delivered<id##_exception>))
#define BOTH(id)                                                                                             \
    EXITS(id);                                                                                               \
    DELIVERED(id)
// NOLINTEND

namespace {
void as_it_is(L2&) {}
void divide_by_zero(L2& guest) {
    guest.registers.rcx = 0;
}
void point_nowhere(L2& guest) {
    guest.registers.rsi = nowhere;
}
void point_not_canonical(L2& guest) {
    guest.registers.rsi = guest.registers.rbp = not_canonical;
}
// A data segment that is not there, at selector 48h; 30h and 38h are the task's upper half and unused.
constexpr std::uint16_t absent_selector = 0x48;
void absent_segment(L2& guest) {
    auto* const descriptors = reinterpret_cast<std::uint64_t*>(guest.context().gdt);
    descriptors[absent_selector / 8] = 0x00cf'1300'0000'ffff;
    guest.save().rax = absent_selector;
}
void selector_past_the_table(L2& guest) {
    guest.save().rax = 0x1238;
}
void single_step(L2& guest) {
    guest.save().rflags |= 1U << 8;
}
void task_switched(L2& guest) {
    guest.save().cr0 |= 1U << 3;
}
void x87(L2& guest) {
    guest.save().cr0 |= 1U << 5; // NE
}
void sse(L2& guest) {
    guest.save().cr4 |= 3U << 9; // OSFXSR, OSXMMEXCPT
    auto* const operands = static_cast<std::uint32_t*>(conform::allocate_pages(1));
    operands[0] = 0x1f80 & ~(1U << 9); // MXCSR: division by zero is not masked
    operands[4] = 0x3f80'0000;         // 1.0
    guest.registers.rsi = physical(operands);
}
void misaligned(L2& guest) {
    guest.save().cr0 |= 1U << 18;
    guest.save().rflags |= 1U << 18;
    guest.registers.rsi = physical(conform::allocate_pages(1)) + 1;
}
// The gate of vector 0 leads to a code segment past the table, so that a #DE becomes a #GP becomes a #DF.
void bad_gate(L2& guest) {
    divide_by_zero(guest);
    *reinterpret_cast<std::uint16_t*>(guest.context().idt + 2) = 0x1238;
}

} // namespace

EXCEPTION(de, 0, false, 0, 64, long64, "divl %ecx", &divide_by_zero);
BOTH(de);
EXCEPTION(de_ring3, 0, false, 0, 64, long64_ring3, "divl %ecx", &divide_by_zero);
BOTH(de_ring3);
EXCEPTION(db_step, 1, true, 0, 64, long64, "nop", &single_step);
EXITS(db_step);
EXCEPTION(db_step_ring3, 1, true, 0, 64, long64_ring3, "nop", &single_step);
EXITS(db_step_ring3);
EXCEPTION(bp, 3, true, 0, 64, long64, "int3", &as_it_is);
BOTH(bp);
EXCEPTION(bp_ring3, 3, true, 0, 64, long64_ring3, "int3", &as_it_is);
BOTH(bp_ring3);
EXCEPTION(of, 4, true, 0, 32, protected32, "into", [](L2& guest) { guest.save().rflags |= 1U << 11; });
EXITS(of);
EXCEPTION(br, 5, false, 0, 32, protected32, "bound %ebx, (%esi)", [](L2& guest) {
    guest.registers.rsi = physical(conform::allocate_pages(1)); // both bounds are zero
    guest.registers.rbx = 5;
});
EXITS(br);
EXCEPTION(ud, 6, false, 0, 64, long64, "ud2", &as_it_is);
BOTH(ud);
EXCEPTION(ud_ring3, 6, false, 0, 64, long64_ring3, "ud2", &as_it_is);
BOTH(ud_ring3);
EXCEPTION(ud_protected, 6, false, 0, 32, protected32, "ud2", &as_it_is);
EXITS(ud_protected);
EXCEPTION(ud_lock, 6, false, 0, 64, long64, ".byte 0xf0, 0x89, 0xc0", &as_it_is); // LOCK MOV
BOTH(ud_lock);
EXCEPTION(nm, 7, false, 0, 64, long64, "fnop", &task_switched);
BOTH(nm);
EXCEPTION(nm_ring3, 7, false, 0, 64, long64_ring3, "fnop", &task_switched);
BOTH(nm_ring3);
EXCEPTION(df, 8, false, 0, 64, long64, "divl %ecx", &bad_gate);
EXITS(df);
EXCEPTION(np, 11, false, absent_selector, 64, long64, "movw %ax, %es", &absent_segment);
BOTH(np);
EXCEPTION(ss, 12, false, 0, 64, long64, "movq (%rbp), %rbx", &point_not_canonical);
BOTH(ss);
EXCEPTION(ss_selector, 12, false, absent_selector, 64, long64, "movw %ax, %ss", &absent_segment);
BOTH(ss_selector);
EXCEPTION(gp, 13, false, 0, 64, long64, "movq (%rsi), %rbx", &point_not_canonical);
BOTH(gp);
EXCEPTION(gp_selector, 13, false, 0x1238, 64, long64, "movw %ax, %es", &selector_past_the_table);
BOTH(gp_selector);
EXCEPTION(gp_ring3, 13, false, 0, 64, long64_ring3, "cli", &as_it_is);
BOTH(gp_ring3);
EXCEPTION(gp_cr4, 13, false, 0, 64, long64, "movq %rbx, %cr4",
          [](L2& guest) { guest.registers.rbx = guest.save().cr4 | std::uint64_t{1} << 40; });
BOTH(gp_cr4);
EXCEPTION(gp_cr3, 13, false, 0, 64, long64, "movq %rbx, %cr3",
          [](L2& guest) { guest.registers.rbx = guest.save().cr3 | std::uint64_t{1} << 60; });
BOTH(gp_cr3);
EXCEPTION(gp_dr7, 13, false, 0, 64, long64, "movq %rbx, %db7",
          [](L2& guest) { guest.registers.rbx = 0x400 | std::uint64_t{1} << 32; });
BOTH(gp_dr7);
EXCEPTION(gp_lgdt, 13, false, 0, 64, long64, "lgdt (%rsi)", &point_not_canonical);
BOTH(gp_lgdt);
EXCEPTION(gp_int, 13, false, 0xee * 8 + 2, 64, long64, "int $0xee",
          [](L2& guest) { guest.save().idtr.limit = 0xedf; });
BOTH(gp_int);
EXCEPTION(ac, 17, false, 0, 64, long64_ring3, "movl (%rsi), %ebx", &misaligned);
BOTH(ac);

// #MF and #XF want some instructions before the one that raises them.
L2_SNIPPET(mf_code_all, 64,
           "fninit; pushq $0x37b; fldcw (%rsp); popq %rbx; fld1; fldz; fdivrp %st, %st(1)\n"
           ".globl l2_mf_fwait\nl2_mf_fwait: fwait");
extern "C" const char l2_mf_fwait[];
SVM_TEST(mf_exits, "svm.intercept.mf_exits", "#MF that L1 intercepts leaves L2 at the waiting instruction",
         "15.12.16") {
    L2 guest;
    place(guest, mf_code_all, Mode::long64);
    x87(guest);
    guest.control().intercept_exceptions = 1U << 16;
    guest.run_to(exception_exit(16), "#MF");
    expect_equal(guest.save().rip, reinterpret_cast<std::uint64_t>(l2_mf_fwait), "RIP: at FWAIT");
}
SVM_TEST(mf_delivered, "svm.intercept.mf_delivered", "#MF that L1 does not intercept is L2's own",
         "15.12.16") {
    L2 guest;
    place(guest, mf_code_all, Mode::long64);
    x87(guest);
    guest.control().intercept_exceptions = ~(1U << 16 | 1U << 2);
    const auto frame = run_to_handler(guest, 16, "#MF");
    expect_equal(frame.rip, reinterpret_cast<std::uint64_t>(l2_mf_fwait), "RIP in the frame: at FWAIT");
}

L2_SNIPPET(xf_code, 64,
           "ldmxcsr (%rsi); movss 16(%rsi), %xmm0; xorps %xmm1, %xmm1\n"
           ".globl l2_xf_div\nl2_xf_div: divss %xmm1, %xmm0");
extern "C" const char l2_xf_div[];
SVM_TEST(xf_exits, "svm.intercept.xf_exits", "#XF that L1 intercepts leaves L2 at the SSE instruction",
         "15.12.19") {
    L2 guest;
    place(guest, xf_code, Mode::long64);
    sse(guest);
    guest.control().intercept_exceptions = 1U << 19;
    guest.run_to(exception_exit(19), "#XF");
    expect_equal(guest.save().rip, reinterpret_cast<std::uint64_t>(l2_xf_div), "RIP: at DIVSS");
}
SVM_TEST(xf_delivered, "svm.intercept.xf_delivered", "#XF that L1 does not intercept is L2's own",
         "15.12.19") {
    L2 guest;
    place(guest, xf_code, Mode::long64);
    sse(guest);
    guest.control().intercept_exceptions = ~(1U << 19 | 1U << 2);
    const auto frame = run_to_handler(guest, 19, "#XF");
    expect_equal(frame.rip, reinterpret_cast<std::uint64_t>(l2_xf_div), "RIP in the frame: at DIVSS");
}

// #PF: the address is in EXITINFO2, and CR2 stays as it was (15.12.15).
namespace {
L2_SNIPPET(pf_read, 64, "movq (%rsi), %rbx");
L2_SNIPPET(pf_write, 64, "movq %rbx, (%rsi)");
L2_SNIPPET(pf_fetch, 64, "jmp *%rsi");

struct PageFault {
    const char* name;
    Snippet code;
    Mode mode;
    std::uint64_t error_code;
    bool nested_paging;
};
template<const PageFault& test>
void page_fault_exits() {
    L2 guest;
    place(guest, test.code, test.mode);
    point_nowhere(guest);
    guest.save().cr2 = old_cr2;
    if (test.nested_paging)
        NestedPageTables{}.use_in(guest);
    auto before = state_of(guest);
    if ((test.error_code & 0x10) != 0)
        before.save.rip = nowhere;
    guest.intercept_exception(14);
    if (!guest.run_to(exception_exit(14), test.name))
        return;
    expect_equal(guest.control().exit_info_1, test.error_code, "EXITINFO1: error code");
    expect_equal(guest.control().exit_info_2, nowhere, "EXITINFO2: the address");
    expect_untouched(guest, before, test.name);
    expect_equal(guest.context().delivered, 0U, "events that L2's own handlers saw");
}
template<const PageFault& test>
void page_fault_delivered() {
    L2 guest;
    place(guest, test.code, test.mode);
    point_nowhere(guest);
    guest.save().cr2 = old_cr2;
    if (test.nested_paging)
        NestedPageTables{}.use_in(guest);
    guest.control().intercept_exceptions = ~(1U << 14 | 1U << 2);
    const auto frame = run_to_handler(guest, 14, test.name);
    expect_equal(frame.rip,
                 (test.error_code & 0x10) != 0 ? nowhere : reinterpret_cast<std::uint64_t>(test.code.at),
                 "RIP in the frame");
    expect_equal(frame.error_code, test.error_code, "error code in the frame");
    expect_equal(guest.context().last_cr2, nowhere, "CR2 in L2's handler");
    expect_equal(guest.save().cr2, nowhere, "CR2 in the VMCB");
}
} // namespace

// NOLINTBEGIN
#define PAGE_FAULT(id, code, mode, error_code, text)                                                         \
    static constexpr PageFault id##_fault{text, code, Mode::mode, error_code, false};                        \
    static constexpr PageFault id##_npt_fault{text, code, Mode::mode, error_code, true};                     \
    SVM_CASE(id##_exits, "svm.intercept." #id "_exits",                                                      \
             "#PF of " text ": error code in EXITINFO1, address in EXITINFO2, CR2 untouched", "15.12.15",    \
             (&page_fault_exits<id##_fault>));                                                               \
    SVM_CASE(id##_delivered, "svm.intercept." #id "_delivered", "#PF of " text " is L2's own", "15.12.15",   \
             (&page_fault_delivered<id##_fault>));                                                           \
    SVM_CASE(id##_npt_exits, "svm.intercept." #id "_npt_exits",                                              \
             "#PF of " text " on nested paging: error code, address, CR2 untouched", "15.12.15",             \
             (&page_fault_exits<id##_npt_fault>), .needs = "npt");                                           \
    SVM_CASE(id##_npt_delivered, "svm.intercept." #id "_npt_delivered",                                      \
             "#PF of " text " on nested paging is L2's own", "15.12.15",                                     \
             (&page_fault_delivered<id##_npt_fault>), .needs = "npt")
// NOLINTEND
PAGE_FAULT(pf_read, pf_read, long64, 0, "a read");
PAGE_FAULT(pf_write, pf_write, long64, 2, "a write");
PAGE_FAULT(pf_fetch, pf_fetch, long64, 0x10, "a fetch");
PAGE_FAULT(pf_read_ring3, pf_read, long64_ring3, 4, "a read in ring 3");
PAGE_FAULT(pf_write_ring3, pf_write, long64_ring3, 6, "a write in ring 3");
PAGE_FAULT(pf_fetch_ring3, pf_fetch, long64_ring3, 0x14, "a fetch in ring 3");

// Debug exceptions update DR6 before the intercept (15.12.2).
L2_SNIPPET(step_code, 64, "nop");
SVM_TEST(db_step_dr6, "svm.intercept.db_step_dr6", "an intercepted single step leaves L2 with DR6.BS set",
         "15.12.2") {
    L2 guest;
    place(guest, step_code, Mode::long64);
    single_step(guest);
    guest.intercept_exception(1);
    guest.run_to(exception_exit(1), "single step");
    expect_equal(guest.save().dr6, 0xffff'4ff0U, "DR6: BS");
    expect_equal(guest.save().rflags >> 8 & 1, 1U, "RFLAGS.TF is as L2 had it");
}
SVM_TEST(db_step_delivered, "svm.intercept.db_step_delivered",
         "a single step that L1 does not intercept is L2's own, with DR6.BS", "15.12.2") {
    L2 guest;
    place(guest, step_code, Mode::long64);
    single_step(guest);
    const auto frame = run_to_handler(guest, 1, "single step");
    expect_equal(frame.rip, reinterpret_cast<std::uint64_t>(step_code.after), "RIP in the frame");
    expect_equal(frame.rflags >> 8 & 1, 1U, "TF in the frame");
    expect_equal(guest.save().dr6, 0xffff'4ff0U, "DR6: BS");
    expect_equal(guest.save().rflags >> 8 & 1, 0U, "TF in the handler");
}
namespace {
// Breakpoint 0 at `address` for as long as this lives: processors that keep breakpoints beside DR7 must not
// take them along to the next test.
class Breakpoint {
public:
    explicit Breakpoint(std::uint64_t address) { asm volatile("movq %0, %%db0" : : "r"(address)); }
    Breakpoint(const Breakpoint&) = delete;
    Breakpoint& operator=(const Breakpoint&) = delete;
    ~Breakpoint() {
        write_dr7(0x1'0400); // another kind of breakpoint, not enabled: what QEMU has kept of this one goes
        write_dr7(0x400);
    }
};
} // namespace
L2_SNIPPET(watched_write, 64, "movq %rbx, (%rsi)");
SVM_TEST(db_watch, "svm.intercept.db_watch_exits",
         "an intercepted data breakpoint of L2's leaves L2 after the write, with DR6.B0", "15.12.2") {
    L2 guest;
    place(guest, watched_write, Mode::long64);
    auto* const word = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    guest.registers.rsi = physical(word);
    const Breakpoint breakpoint{physical(word)};
    guest.save().dr7 = 0x9'0402; // breakpoint 0, global, writes of 8 bytes
    guest.intercept_exception(1);
    guest.run_to(exception_exit(1), "data breakpoint");
    expect_equal(guest.save().rip, reinterpret_cast<std::uint64_t>(watched_write.after),
                 "RIP: past the write");
    expect_equal(guest.save().dr6, 0xffff'0ff1U, "DR6: B0");
    expect_equal(*word, guest.registers.rbx, "the write has happened");
}
SVM_TEST(db_watch_delivered, "svm.intercept.db_watch_delivered", "a data breakpoint of L2's is L2's own",
         "15.12.2") {
    L2 guest;
    place(guest, watched_write, Mode::long64);
    auto* const word = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    guest.registers.rsi = physical(word);
    const Breakpoint breakpoint{physical(word)};
    guest.save().dr7 = 0x9'0402;
    const auto frame = run_to_handler(guest, 1, "data breakpoint");
    expect_equal(frame.rip, reinterpret_cast<std::uint64_t>(watched_write.after), "RIP in the frame");
    expect_equal(guest.save().dr6, 0xffff'0ff1U, "DR6: B0");
}
SVM_TEST(db_code, "svm.intercept.db_code_exits",
         "an intercepted instruction breakpoint of L2's leaves L2 at the instruction, with DR6.B0",
         "15.12.2") {
    L2 guest;
    place(guest, step_code, Mode::long64);
    const Breakpoint breakpoint{reinterpret_cast<std::uint64_t>(step_code.at)};
    guest.save().dr7 = 0x402;
    guest.intercept_exception(1);
    guest.run_to(exception_exit(1), "instruction breakpoint");
    expect_equal(guest.save().rip, reinterpret_cast<std::uint64_t>(step_code.at), "RIP: at the instruction");
    expect_equal(guest.save().dr6, 0xffff'0ff1U, "DR6: B0");
}
// DR7 belongs to the VMCB: what L1 has enabled does not bite in L2.
SVM_TEST(db_l1, "svm.intercept.db_breakpoint_of_l1", "a breakpoint that L1 has enabled is none of L2's",
         "15.5.1") {
    L2 guest;
    place(guest, step_code, Mode::long64);
    const Breakpoint breakpoint{reinterpret_cast<std::uint64_t>(step_code.at)};
    write_dr7(0x402);
    guest.intercept_exception(1);
    run_past(guest, step_code, Mode::long64, "a breakpoint of L1's");
    expect_equal(read_dr7(), 0x400U, "DR7 of L1 after the exit: as after a reset (15.6)");
}

// An instruction that faults on memory after its own intercept, and the other way round (table 15-7).
L2_SNIPPET(invlpg_not_canonical, 64, "sgdt (%rsi)");
SVM_TEST(intercept_before_memory, "svm.intercept.sgdt_before_memory",
         "the SGDT intercept acts before the operand's page fault", "15.9, table 15-7") {
    L2 guest;
    place(guest, invlpg_not_canonical, Mode::long64);
    point_nowhere(guest);
    const auto before = state_of(guest);
    guest.intercept(Intercept::gdtr_read);
    guest.intercept_exception(14);
    guest.run_to(ExitCode::gdtr_read, "SGDT to memory that is not there");
    expect_untouched(guest, before, "SGDT");
}
L2_SNIPPET(popf_nowhere, 64, "popf");
SVM_TEST(popf_before_memory, "svm.intercept.popf_before_memory",
         "the POPF intercept acts before the stack's page fault", "15.9, table 15-7") {
    L2 guest;
    place(guest, popf_nowhere, Mode::long64);
    guest.save().rsp = nowhere;
    const auto before = state_of(guest);
    guest.intercept(Intercept::popf);
    guest.intercept_exception(14);
    guest.run_to(ExitCode::popf, "POPF from memory that is not there");
    expect_untouched(guest, before, "POPF");
}
L2_SNIPPET(iret_nowhere, 64, "iretq");
SVM_TEST(iret_before_memory, "svm.intercept.iret_before_memory",
         "the IRET intercept acts before the stack's page fault", "15.9, table 15-7") {
    L2 guest;
    place(guest, iret_nowhere, Mode::long64);
    guest.save().rsp = nowhere;
    const auto before = state_of(guest);
    guest.intercept(Intercept::iret);
    guest.intercept_exception(14);
    guest.run_to(ExitCode::iret, "IRET from memory that is not there");
    expect_untouched(guest, before, "IRET");
}

// What L2 raises is not L1's where L1's own handlers would take it, and the intercept of one vector is that
// of no other.
SVM_TEST(shutdown_exits, "svm.intercept.shutdown_exits", "a triple fault of L2's leaves L2 by its intercept",
         "15.14.3") {
    L2 guest;
    place(guest, ud_code, Mode::long64);
    guest.save().idtr.limit = 0;
    guest.run_to(ExitCode::shutdown, "a #UD without an IDT");
}
SVM_TEST(shutdown_exits_protected, "svm.intercept.shutdown_exits_protected",
         "a triple fault in protected mode leaves L2 by its intercept", "15.14.3") {
    L2 guest;
    place(guest, ud_protected_code, Mode::protected32);
    guest.control().intercept_exceptions = 0;
    guest.run_to(ExitCode::shutdown, "a #UD without an IDT");
}

} // namespace nestbed::svm
