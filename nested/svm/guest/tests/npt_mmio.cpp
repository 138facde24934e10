// L2 at physical addresses where L1 has no memory: L0 carries out L2's instruction. Reads find all ones there
// and writes are lost; registers, flags and memory must be as after the instruction itself.
#include "core/guest/apic.hpp"
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/window.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

L2_CODE(l2_mmio_32, 32,
        "movl (%esi), %eax; movl %eax, (%edi); movl %ebx, (%esi); movl (%esi), %ebx; vmmcall");
L2_CODE(l2_mmio_16, 16,
        "movl (%si), %eax; movl %eax, %es:(%di); movl %ebx, (%si); movl (%si), %ebx; vmmcall");
L2_CODE(l2_mmio_movs_32, 32, "cld; movsl; movsl; vmmcall");

namespace {

constexpr std::uint64_t hole = 0xd000'0000; // above memory, below the APIC
constexpr std::uint64_t ones = ~std::uint64_t{0};
constexpr std::uint64_t marker = 0x0123'4567'89ab'cdef;
constexpr std::uint64_t zf = 1U << 6;
constexpr std::uint64_t cf = 1U << 0;
constexpr std::uint64_t sf = 1U << 7;

std::uint64_t page_with(std::uint64_t value) {
    const auto page = conform::physical(conform::allocate_pages(1));
    for (std::uint64_t at = 0; at < 4096; at += 8)
        *guest::pointer_to<std::uint64_t>(page + at) = value;
    return page;
}
std::uint64_t word_at(std::uint64_t address) {
    return *guest::pointer_to<volatile std::uint64_t>(address);
}

// RAX, RCX, RDX, RSI and RDI before and after one instruction, and the arithmetic flags after it.
struct State {
    std::uint64_t rax, rcx, rdx, rsi, rdi, flags;
};
// At (RSI) or (RDI) is the hole.
#define INSTRUCTION(text)                                                                                    \
    [](State& s) {                                                                                           \
        asm volatile("cld; cmpl $1, %%edx; " text "; pushfq; popq %5"                                        \
                     : "+a"(s.rax), "+c"(s.rcx), "+d"(s.rdx), "+S"(s.rsi), "+D"(s.rdi), "=&r"(s.flags)       \
                     :                                                                                       \
                     : "memory", "cc");                                                                      \
    }

struct Expected {
    std::uint64_t rax, rcx, rdx;
    std::uint64_t rsi_moved, rdi_moved;
    std::uint64_t flags_mask, flags;
};

constexpr std::uint64_t rax_before = marker;
constexpr std::uint64_t rcx_before = 0x5555'aaaa'3333'cc03;
constexpr std::uint64_t rdx_before = 0xfedc'ba98'7654'3210;

void run_instruction(void (*instruction)(State&), const Expected& expected, std::uint64_t at, unsigned ring,
                     L2& guest) {
    State state{rax_before, rcx_before, rdx_before, at, at, 0};
    auto code = [&] {
        if (ring == 0)
            instruction(state);
        else
            conform::in_ring_3([&] { instruction(state); });
    };
    guest.start(code);
    if (!guest.run_to_end())
        return;
    const Text where{"in ring ", ring};
    expect_equal(state.rax, expected.rax, Text{"RAX ", where});
    expect_equal(state.rcx, expected.rcx, Text{"RCX ", where});
    expect_equal(state.rdx, expected.rdx, Text{"RDX ", where});
    expect_equal(state.rsi, at + expected.rsi_moved, Text{"RSI ", where});
    expect_equal(state.rdi, at + expected.rdi_moved, Text{"RDI ", where});
    expect_equal(state.flags & expected.flags_mask, expected.flags, Text{"RFLAGS ", where});
}

void mmio(void (*instruction)(State&), const Expected& expected) {
    for (const auto ring : every_ring) {
        L2 guest;
        NestedPageTables nested;
        nested.use_in(guest);
        run_instruction(instruction, expected, hole + 0x40, ring, guest);
    }
}

} // namespace

// Expected: RAX, RCX, RDX, how far RSI and RDI move, a mask of flags and the flags.
#define MMIO(identifier, name, title, text, ...)                                                             \
    SVM_TEST(mmio_##identifier, "svm.npt.mmio_" name, title, "15.25.5", .needs = "npt") {                    \
        mmio(INSTRUCTION(text), Expected{__VA_ARGS__});                                                      \
    }

MMIO(mov8, "mov_read_8", "MOV of a byte reads ones and keeps the rest of RAX", "movb (%%rsi), %%al",
     marker | 0xff, rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(mov16, "mov_read_16", "MOV of two bytes reads ones and keeps the rest of RAX", "movw (%%rsi), %%ax",
     marker | 0xffff, rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(mov32, "mov_read_32", "MOV of four bytes reads ones and clears the upper half", "movl (%%rsi), %%eax",
     0xffff'ffff, rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(mov64, "mov_read_64", "MOV of eight bytes reads ones", "movq (%%rsi), %%rax", ones, rcx_before,
     rdx_before, 0, 0, 0, 0)
MMIO(movh, "mov_read_high", "MOV to AH reads ones and keeps the rest", "movb (%%rsi), %%ah", marker | 0xff00,
     rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(unaligned, "mov_read_unaligned", "An unaligned MOV reads ones", "movq 3(%%rsi), %%rax", ones, rcx_before,
     rdx_before, 0, 0, 0, 0)
MMIO(movw8, "mov_write_8", "MOV writes a byte", "movb %%al, (%%rdi)", rax_before, rcx_before, rdx_before, 0,
     0, 0, 0)
MMIO(movw64, "mov_write_64", "MOV writes eight bytes", "movq %%rax, (%%rdi)", rax_before, rcx_before,
     rdx_before, 0, 0, 0, 0)
MMIO(movi, "mov_write_immediate", "MOV writes an immediate", "movl $0x12345678, (%%rdi)", rax_before,
     rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(movzx, "movzx", "MOVZX of ones", "movzbl (%%rsi), %%eax", 0xff, rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(movsx, "movsx", "MOVSX of ones", "movsbq (%%rsi), %%rax", ones, rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(lods, "lods", "LODS reads ones and moves RSI", "lodsl", 0xffff'ffff, rcx_before, rdx_before, 4, 0, 0, 0)
MMIO(stos, "stos", "STOS writes and moves RDI", "stosw", rax_before, rcx_before, rdx_before, 0, 2, 0, 0)
MMIO(rep_stos, "rep_stos", "REP STOS counts RCX down and moves RDI", "movl $5, %%ecx; rep stosq", rax_before,
     0, rdx_before, 0, 40, 0, 0)
MMIO(rep_lods, "rep_lods", "REP LODS counts RCX down and moves RSI", "movl $3, %%ecx; rep lodsb",
     marker | 0xff, 0, rdx_before, 3, 0, 0, 0)
MMIO(stos_down, "stos_backwards", "STOS with DF=1 moves RDI down", "std; stosl; cld", rax_before, rcx_before,
     rdx_before, 0, ones - 3, 0, 0)
MMIO(rep_zero, "rep_stos_none", "REP STOS with RCX=0 does nothing", "xorl %%ecx, %%ecx; rep stosq",
     rax_before, 0, rdx_before, 0, 0, 0, 0)
MMIO(movs, "movs_within", "MOVS from the hole to the hole moves both", "movsq", rax_before, rcx_before,
     rdx_before, 8, 8, 0, 0)
MMIO(cmps, "cmps", "CMPS of ones with ones is equal", "cmpsl", rax_before, rcx_before, rdx_before, 4, 4,
     zf | cf, zf)
MMIO(scas, "scas", "SCAS finds ones", "movq $-1, %%rax; scasq", ones, rcx_before, rdx_before, 0, 8, zf | cf,
     zf)
MMIO(repne_scas, "repne_scas", "REPNE SCAS stops at the first that is equal", "movq $-1, %%rax; repne scasb",
     ones, rcx_before - 1, rdx_before, 0, 1, zf, zf)
MMIO(repe_scas, "repe_scas", "REPE SCAS stops at the first that differs", "repe scasb", rax_before,
     rcx_before - 1, rdx_before, 0, 1, zf, 0)
MMIO(cmp, "cmp", "CMP with ones", "cmpb $0xff, (%%rsi)", rax_before, rcx_before, rdx_before, 0, 0, zf | cf,
     zf)
MMIO(test, "test", "TEST of ones", "testl $0x80000000, (%%rsi)", rax_before, rcx_before, rdx_before, 0, 0,
     zf | cf | sf, sf)
MMIO(or_read, "or_from", "OR from the hole", "orl (%%rsi), %%eax", 0xffff'ffff, rcx_before, rdx_before, 0, 0,
     zf | cf | sf, sf)
MMIO(and_read, "and_from", "AND from the hole", "andq (%%rsi), %%rax", rax_before, rcx_before, rdx_before, 0,
     0, zf | cf | sf, 0)
MMIO(xor_read, "xor_from", "XOR from the hole", "xorq (%%rsi), %%rax", ~rax_before, rcx_before, rdx_before, 0,
     0, zf | cf | sf, sf)
MMIO(add_read, "add_from", "ADD of ones is one less, with carry", "addq (%%rsi), %%rax", rax_before - 1,
     rcx_before, rdx_before, 0, 0, zf | cf | sf, cf)
MMIO(or_write, "or_to", "OR to the hole", "orl %%eax, (%%rdi)", rax_before, rcx_before, rdx_before, 0, 0,
     zf | cf | sf, sf)
MMIO(and_write, "and_to", "AND to the hole has the flags of its result", "andl $0, (%%rdi)", rax_before,
     rcx_before, rdx_before, 0, 0, zf | cf | sf, zf)
MMIO(inc, "inc", "INC of ones is zero", "incl (%%rdi)", rax_before, rcx_before, rdx_before, 0, 0, zf, zf)
MMIO(neg, "neg", "NEG of ones is one", "negq (%%rdi)", rax_before, rcx_before, rdx_before, 0, 0, zf | cf | sf,
     cf)
MMIO(not, "not", "NOT changes no flag", "stc; notl (%%rdi)", rax_before, rcx_before, rdx_before, 0, 0, cf, cf)
MMIO(locked_or, "lock_or", "A locked OR to the hole", "lock orl $1, (%%rdi)", rax_before, rcx_before,
     rdx_before, 0, 0, zf | cf | sf, sf)
MMIO(xchg, "xchg", "XCHG reads ones", "xchgq %%rax, (%%rdi)", ones, rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(xadd, "xadd", "XADD reads ones", "xaddl %%eax, (%%rdi)", 0xffff'ffff, rcx_before, rdx_before, 0, 0, cf,
     cf)
MMIO(cmpxchg_differs, "cmpxchg_differs", "CMPXCHG of what differs loads ones", "lock cmpxchgq %%rdx, (%%rdi)",
     ones, rcx_before, rdx_before, 0, 0, zf, 0)
MMIO(cmpxchg_equal, "cmpxchg_equal", "CMPXCHG of what is equal keeps RAX and sets ZF",
     "movq $-1, %%rax; lock cmpxchgq %%rdx, (%%rdi)", ones, rcx_before, rdx_before, 0, 0, zf, zf)
MMIO(bt, "bt", "BT of ones", "clc; btl $5, (%%rsi)", rax_before, rcx_before, rdx_before, 0, 0, cf, cf)
MMIO(push_pop, "push_pop", "PUSH from the hole, POP to the hole",
     "pushq (%%rsi); popq %%rax; pushq %%rdx; popq (%%rdi)", ones, rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(shift, "shr", "SHR of ones", "shrl $4, (%%rdi)", rax_before, rcx_before, rdx_before, 0, 0, cf, cf)
MMIO(setcc, "setcc", "SETcc to the hole", "setb (%%rdi)", rax_before, rcx_before, rdx_before, 0, 0, 0, 0)
MMIO(cmov, "cmov", "CMOVcc from the hole, the condition met", "stc; cmovcq (%%rsi), %%rax", ones, rcx_before,
     rdx_before, 0, 0, 0, 0)

namespace {

// L2's two operands: the hole and memory.
struct Move {
    L2 guest;
    NestedPageTables nested;
    NestedPageTables own;
    std::uint64_t from = hole + 0x80;
    std::uint64_t memory = page_with(marker);
    std::uint64_t to = memory + 0x100;
    std::uint64_t rsi = 0;
    std::uint64_t rdi = 0;

    Move() {
        nested.use_in(guest);
        guest.save().cr3 = own.root();
        // Entries of its own for the page, at both levels.
        own.entry(memory, 1) = memory | 7;
        nested.entry(memory, 1) = memory | 7;
    }
    static void movs(void* argument) {
        auto& move = *static_cast<Move*>(argument);
        move.rsi = move.from;
        move.rdi = move.to;
        asm volatile("cld; movsq" : "+S"(move.rsi), "+D"(move.rdi) : : "memory");
    }
    void start() { guest.start_at(&Move::movs, this); }
    void finish() {
        flush_all(guest);
        if (!guest.run_to_end("L2 moves from the hole to memory"))
            return;
        expect_equal(word_at(memory + 0x100), ones, "what was moved");
        expect_equal(word_at(memory + 0xf8), marker, "memory before it");
        expect_equal(word_at(memory + 0x108), marker, "memory after it");
        expect_equal(rsi, from + 8, "RSI");
        expect_equal(rdi, to + 8, "RDI");
    }
};

} // namespace

SVM_TEST(mmio_movs_to_memory, "svm.npt.mmio_movs_to_memory", "MOVS from the hole to memory", "15.25.5",
         .needs = "npt") {
    Move move;
    move.start();
    move.finish();
}

SVM_TEST(mmio_movs_other_page, "svm.npt.mmio_movs_to_remapped_memory",
         "MOVS from the hole to a page that L1 maps elsewhere, at both levels", "15.25.5", .needs = "npt") {
    Move move;
    const auto middle = page_with(2);
    const auto behind = page_with(marker);
    move.own.entry(move.memory, 1) = middle | 7;
    move.nested.entry(middle, 1) = behind | 7;
    move.start();
    if (!move.guest.run_to_end("L2 moves from the hole to memory"))
        return;
    expect_equal(word_at(behind + 0x100), ones, "the page behind both translations");
    expect_equal(word_at(middle + 0x100), 2U, "the page of L2's physical address for L1");
    expect_equal(word_at(move.memory + 0x100), marker, "the page of L2's linear address for L1");
}

SVM_TEST(mmio_movs_not_present, "svm.npt.mmio_movs_destination_not_present",
         "MOVS from the hole to a nested page not present: NPF at the destination, nothing moved", "15.25.6",
         .needs = "npt") {
    Move move;
    auto& entry = move.nested.entry(move.memory, 1);
    entry = 0;
    move.start();
    move.guest.run();
    expect_npf(move.guest, final_fault(Access::write, 0), move.to, "the destination");
    expect_equal(move.guest.registers.rsi, move.from, "RSI at the fault");
    expect_equal(move.guest.registers.rdi, move.to, "RDI at the fault");
    entry = move.memory | 7;
    move.finish();
}

SVM_TEST(mmio_movs_read_only, "svm.npt.mmio_movs_destination_read_only",
         "MOVS from the hole to a nested read-only page: NPF with P and W", "15.25.6", .needs = "npt") {
    Move move;
    auto& entry = move.nested.entry(move.memory, 1);
    entry = move.memory | 5;
    move.start();
    move.guest.run();
    expect_npf(move.guest, final_fault(Access::write, npf::present), move.to, "the destination");
    entry = move.memory | 7;
    move.finish();
}

SVM_TEST(mmio_movs_walk, "svm.npt.mmio_movs_destination_walk",
         "MOVS from the hole to an address whose page table is in a nested page not present", "15.25.6",
         .needs = "npt") {
    Move move;
    const auto entry = conform::physical(&move.own.entry(move.memory, 1));
    const auto table = entry & ~std::uint64_t{0xfff};
    // That of the 2 MiB around L2's code and stack would be needed before: move to another 2 MiB.
    constexpr std::uint64_t elsewhere = 0x8000'0000;
    move.own.entry(elsewhere, 1) = move.memory | 7;
    move.to = elsewhere + 0x100;
    const auto other = conform::physical(&move.own.entry(elsewhere, 1));
    expect(table != (other & ~std::uint64_t{0xfff}), "the two have tables of their own");
    auto& nested = move.nested.entry(other, 1);
    const auto before = nested;
    nested = 0;
    move.start();
    move.guest.run_to(ExitCode::npf, "the walk to the destination");
    expect_equal(move.guest.control().exit_info_1, walk_fault(0), "EXITINFO1");
    expect_equal(move.guest.control().exit_info_2 & ~std::uint64_t{0xfff}, other & ~std::uint64_t{0xfff},
                 "the page of EXITINFO2");
    nested = before;
    move.finish();
}

SVM_TEST(mmio_movs_guest_fault, "svm.npt.mmio_movs_destination_guest_fault",
         "MOVS from the hole to an address that L2 does not map: L2's #PF", "15.25.6", .needs = "npt") {
    Move move;
    move.own.entry(move.memory, 1) = 0;
    move.guest.intercept_exception(14);
    move.start();
    move.guest.run_to(exception_exit(14), "the destination");
    expect_equal(move.guest.control().exit_info_1, 2U, "the #PF's error code");
    expect_equal(move.guest.control().exit_info_2, move.to, "the #PF's address");
    move.own.entry(move.memory, 1) = move.memory | 7;
    move.finish();
}

SVM_TEST(mmio_movs_guest_handler, "svm.npt.mmio_movs_destination_guest_handler",
         "The same #PF without an intercept reaches L2's own handler, with CR2", "15.25.6", .needs = "npt") {
    Move move;
    move.own.entry(move.memory, 1) = 0;
    guest::Fault fault;
    auto code = [&] { fault = guest::catch_fault([&] { Move::movs(&move); }); };
    move.guest.start(code);
    move.guest.run_to_end();
    expect(fault.is(14), "L2 got a #PF");
    expect_equal(fault.error_code, 2U, "its error code");
    expect_equal(fault.cr2, move.to, "its CR2");
    expect_equal(word_at(move.memory + 0x100), marker, "the destination's page");
}

SVM_TEST(mmio_rep_movs, "svm.npt.mmio_rep_movs", "REP MOVS out of the hole over the end of a page of memory",
         "15.25.5", .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    const auto pages = conform::physical(conform::allocate_pages(3));
    const auto to = pages + 4096 - 20;
    const auto behind = page_with(marker);
    nested.entry(pages + 4096, 1) = behind | 7;
    std::uint64_t count = 11;
    auto code = [&] {
        auto rsi = hole + 0x100;
        auto rdi = to;
        asm volatile("cld; rep movsl" : "+S"(rsi), "+D"(rdi), "+c"(count) : : "memory");
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(count, 0U, "RCX");
    expect_equal(word_at(pages + 4096 - 24), ones << 32, "around the begin");
    expect_equal(word_at(pages + 4096 - 8), ones, "the end of the first page");
    expect_equal(word_at(behind + 16), ones, "the second page");
    expect_equal(word_at(behind + 24), marker, "after the end");
    expect_equal(word_at(pages + 4096), 0, "the page of the same address for L1");
}

SVM_TEST(mmio_not_present, "svm.npt.mmio_hole_not_present", "A hole that L1 does not map is L1's NPF",
         "15.25.6", .needs = "npt") {
    Move move;
    auto& entry = move.nested.entry(hole, 1);
    entry = 0;
    move.start();
    move.guest.run();
    expect_npf(move.guest, final_fault(Access::read, 0), move.from, "the source");
    entry = hole | 7;
    move.finish();
}
SVM_TEST(mmio_read_only, "svm.npt.mmio_hole_read_only",
         "A hole that L1 maps read-only: reads go through, writes do not", "15.25.6", .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    auto& entry = nested.entry(hole, 1);
    entry &= ~npt_bit::write;
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(hole);
        make_access(Access::write, hole + 8);
        seen = 1;
    };
    guest.start(code);
    guest.run();
    expect_npf(guest, final_fault(Access::write, npf::present), hole + 8, "the write");
    expect_equal(seen, ones, "what L2 read");
    entry |= npt_bit::write;
    flush_all(guest);
    guest.run_to_end();
    expect_equal(seen, 1U, "L2 after its write");
}
SVM_TEST(mmio_supervisor, "svm.npt.mmio_hole_supervisor",
         "A hole that L1 maps without the user bit is L1's NPF", "15.25.6", .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    nested.entry(hole, 1) &= ~npt_bit::user;
    auto code = [&] { make_access(Access::read, hole + 8); };
    guest.start(code);
    guest.run();
    expect_npf(guest, final_fault(Access::read, npf::present), hole + 8, "the read");
}

SVM_TEST(mmio_hole_backed, "svm.npt.mmio_hole_backed_by_memory", "A hole of L1's that is memory for L2",
         "15.25.5", .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    const auto page = page_with(marker);
    expect_equal(word_at(hole), ones, "what L1 reads at the address"); // L0 has met it as a hole
    nested.entry(hole, 1) = page | 7;
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(hole);
        make_access(Access::write, hole + 8);
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, marker, "what L2 reads");
    expect_equal(word_at(page + 8), written_value, "what L2 wrote");
    expect_equal(word_at(hole + 8), ones, "what L1 reads at the address afterwards");
}

SVM_TEST(mmio_memory_hole, "svm.npt.mmio_memory_backed_by_hole", "Memory of L1's that is a hole for L2",
         "15.25.5", .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    const auto page = page_with(marker);
    nested.entry(page, 1) = hole | 7;
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(page + 16);
        make_access(Access::write, page + 16);
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, ones, "what L2 reads");
    expect_equal(word_at(page + 16), marker, "L1's page");
}

SVM_TEST(mmio_exchange, "svm.npt.mmio_hole_becomes_memory", "A page that is a hole, memory, and a hole again",
         "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    const auto address = window.target(Access::read);
    std::uint64_t seen = 0;
    auto code = [&] { seen = word_at(address); };
    window.word() = marker;
    for (unsigned round = 0; round < 6; ++round) {
        window.nested_entry(1) = (round % 2 == 0 ? hole : window.page()) | 7;
        flush_all(guest);
        guest.start(code);
        guest.run_to_end();
        expect_equal(seen, round % 2 == 0 ? ones : marker, Text{"what L2 reads in round ", round});
    }
}

SVM_TEST(mmio_made_present, "svm.npt.mmio_memory_to_hole_unmapped",
         "A hole that L1 takes away again is L1's NPF, not what L0 remembers of it", "15.25.6",
         .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    std::uint64_t seen = 0;
    auto code = [&] { seen = word_at(hole + 8); };
    auto& entry = nested.entry(hole, 1);
    for (unsigned round = 0; round < 3; ++round) {
        entry = hole | 7;
        flush_all(guest);
        guest.start(code);
        guest.run_to_end();
        expect_equal(seen, ones, "what L2 reads");
        entry = 0;
        flush_all(guest);
        guest.start(code);
        guest.run();
        expect_npf(guest, final_fault(Access::read, 0), hole + 8, Text{"round ", round});
    }
}

// The same linear address is a hole for L1 and memory for L2: what L0 remembers of one is not the other's.
SVM_TEST(mmio_same_linear, "svm.npt.mmio_l1_hole_l2_memory_movs",
         "MOVS from L2's hole to where L1 has its own hole and L2 memory", "15.25.5", .needs = "npt") {
    Move move;
    constexpr std::uint64_t l1_hole = 0xd100'0000;
    move.own.entry(l1_hole, 1) = move.memory | 7;
    expect_equal(word_at(l1_hole + 0x100), ones, "what L1 reads there");
    move.to = l1_hole + 0x100;
    move.start();
    move.finish();
    expect_equal(word_at(l1_hole + 0x100), ones, "what L1 reads there afterwards");
}

namespace {

std::uint64_t stack() {
    return conform::physical(conform::allocate_pages(2)) + 4096;
}
std::uint64_t address_of(const char* code) {
    return reinterpret_cast<std::uint64_t>(code);
}

// The hole out of each mode: read, stored to memory, written, read again.
void mmio_in_mode(void (*enter)(SaveArea&, std::uint64_t, std::uint64_t), bool real) {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    const auto page = page_with(marker);
    enter(guest.save(), address_of(real ? l2_mmio_16 : l2_mmio_32), real ? stack() - 4096 : stack());
    guest.registers.rsi = hole + 0x20;
    guest.registers.rdi = page + 0x20;
    guest.registers.rbx = 0x1234;
    if (real) {
        guest.save().ds.base = hole;
        guest.save().es.base = page;
        guest.registers.rsi = guest.registers.rdi = 0x20;
    }
    guest.run_to(ExitCode::vmmcall, "L2 reads and writes the hole");
    expect_equal(guest.save().rax & 0xffff'ffff, 0xffff'ffffU, "EAX");
    expect_equal(guest.registers.rbx & 0xffff'ffff, 0xffff'ffffU, "EBX");
    expect_equal(word_at(page + 0x20), 0x0123'4567'ffff'ffffU, "memory");
}

} // namespace

SVM_TEST(mmio_real, "svm.npt.mmio_mode_real", "L2 in real mode at the hole", "15.25.5", .needs = "npt") {
    mmio_in_mode(&set_real_mode, true);
}
SVM_TEST(mmio_protected, "svm.npt.mmio_mode_protected", "L2 with paging off at the hole", "15.25.5",
         .needs = "npt") {
    mmio_in_mode(&set_protected_mode, false);
}
SVM_TEST(mmio_legacy, "svm.npt.mmio_mode_legacy_paging", "L2 with two-level paging at the hole", "15.25.5",
         .needs = "npt") {
    mmio_in_mode(&set_legacy_paging_mode, false);
}
SVM_TEST(mmio_pae, "svm.npt.mmio_mode_pae", "L2 with PAE paging at the hole", "15.25.5", .needs = "npt") {
    mmio_in_mode(&set_pae_mode, false);
}
SVM_TEST(mmio_compatibility, "svm.npt.mmio_mode_compatibility", "L2 in compatibility mode at the hole",
         "15.25.5", .needs = "npt") {
    mmio_in_mode(&set_compatibility_mode, false);
}

SVM_TEST(mmio_pae_pointers, "svm.npt.mmio_pae_pointers_of_l2",
         "MOVS from the hole in PAE mode goes by the page directory pointers that L2 has now", "15.25.5",
         .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    const std::uint64_t pages[2]{page_with(0), page_with(0)};
    const auto hole_at = std::uint64_t{3} << 30 | (hole & 0x3fff'ffff);
    for (unsigned round = 0; round < 2; ++round) {
        // New tables for each round; the destination is in the third GiB.
        set_pae_mode(guest.save(), address_of(l2_mmio_movs_32), stack());
        auto* const pointers = guest::pointer_to<std::uint64_t>(guest.save().cr3);
        auto* const directory = guest::pointer_to<std::uint64_t>(pointers[2] & npt_bit::address);
        auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        table[0] = pages[round] | 7;
        directory[0] = conform::physical(table) | 7;
        guest.registers.rsi = hole_at;
        guest.registers.rdi = std::uint64_t{2} << 30;
        flush_all(guest);
        guest.run_to(ExitCode::vmmcall, Text{"round ", round});
        expect_equal(word_at(pages[round]), ones, Text{"the page of round ", round});
    }
    *guest::pointer_to<std::uint64_t>(pages[0]) = 0;
    expect_equal(word_at(pages[1]), ones, "the pages are two");
}

SVM_TEST(mmio_iterated, "svm.npt.mmio_intercepts_around", "L2 exits for CPUID between accesses to the hole",
         "15.25.5", .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    guest.intercept(Intercept::cpuid);
    std::uint64_t seen = 0;
    auto code = [&] {
        for (unsigned i = 0; i < 8; ++i) {
            seen = word_at(hole + std::uint64_t{4096} * i);
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    for (unsigned i = 0; i < 8; ++i) {
        if (!guest.run_to(ExitCode::cpuid, Text{"round ", i}))
            return;
        expect_equal(seen, ones, "what L2 reads");
        expect_equal(guest.control().exit_int_info & event_valid, 0, "EXITINTINFO.V");
        seen = 0;
        guest.skip(2);
    }
    guest.run_to_end();
}

// The APIC's page given to L2: L1's own APIC.
namespace {

constexpr std::uint32_t apic_base_msr = 0x1b;
constexpr std::uint64_t apic_enable = 1U << 11;
constexpr std::uint64_t apic_x2apic = 1U << 10;
constexpr std::uint64_t apic_page = 0xfee0'0000;

std::uint32_t apic_read(std::uint64_t at, std::uint32_t reg) {
    return *guest::pointer_to<volatile std::uint32_t>(at + reg);
}
void apic_write(std::uint64_t at, std::uint32_t reg, std::uint32_t value) {
    *guest::pointer_to<volatile std::uint32_t>(at + reg) = value;
}
// From x2APIC mode to the one with a page, by way of off (16.9.3), and back.
void set_xapic(bool on) {
    const auto base = guest::rdmsr(apic_base_msr) & ~(apic_enable | apic_x2apic);
    guest::wrmsr(apic_base_msr, base);
    guest::wrmsr(apic_base_msr, base | apic_enable);
    if (!on)
        guest::wrmsr(apic_base_msr, base | apic_enable | apic_x2apic);
    else
        apic_write(apic_page, 0xf0, 0x100 | nestbed::wire::spurious_vector);
    if (!on)
        guest::apic::start();
}

void apic_of_l2(std::uint64_t at) {
    guest::disable_interrupts();
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    nested.entry(at, 1) = apic_page | 7;
    set_xapic(true);
    const auto version = apic_read(apic_page, 0x30);
    const auto id = apic_read(apic_page, 0x20);
    std::uint32_t seen[3]{};
    auto code = [&] {
        seen[0] = apic_read(at, 0x30);
        seen[1] = apic_read(at, 0x20);
        apic_write(at, 0x80, 0x60);
        seen[2] = apic_read(at, 0x80);
        apic_write(at, 0x3e0, 0xb); // timer divide configuration
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen[0], version, "the version as L2 reads it");
    expect_equal(seen[1], id, "the id as L2 reads it");
    expect_equal(seen[2], 0x60U, "the task priority as L2 reads it");
    expect_equal(apic_read(apic_page, 0x80), 0x60U, "the task priority as L1 reads it");
    expect_equal(apic_read(apic_page, 0x3e0), 0xbU, "the timer's divisor as L1 reads it");
    apic_write(apic_page, 0x80, 0);
    set_xapic(false);
}

} // namespace

SVM_TEST(mmio_apic, "svm.npt.mmio_apic_page", "L2 with L1's APIC page uses L1's APIC", "15.25.5",
         .needs = "npt") {
    apic_of_l2(apic_page);
}
SVM_TEST(mmio_apic_elsewhere, "svm.npt.mmio_apic_page_elsewhere",
         "L1's APIC page at another guest-physical address is the same APIC", "15.25.5", .needs = "npt") {
    apic_of_l2(0x9000'0000);
}
SVM_TEST(mmio_apic_memory, "svm.npt.mmio_apic_address_is_memory",
         "Memory at the APIC's address is memory for L2, and the APIC does not see it", "15.25.5",
         .needs = "npt") {
    guest::disable_interrupts();
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    const auto page = page_with(marker);
    nested.entry(apic_page, 1) = page | 7;
    set_xapic(true);
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(apic_page + 0x20);
        apic_write(apic_page, 0x80, 0x70);
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, marker, "what L2 reads");
    expect_equal(apic_read(page, 0x80), 0x70U, "what L2 wrote, in memory");
    expect_equal(apic_read(apic_page, 0x80), 0U, "the APIC's task priority");
    set_xapic(false);
}

} // namespace nestbed::svm
