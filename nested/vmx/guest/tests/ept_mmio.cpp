// L2 at physical addresses where L1 has no memory, and its string I/O: L0 carries out L2's instruction. Reads
// find all ones there and writes are lost; registers, flags and memory are as after the instruction itself,
// and what EPT forbids on the way is L1's EPT violation.
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

constexpr std::uint64_t hole = 0xd000'0000; // above memory, below the APIC
constexpr std::uint64_t ones = ~std::uint64_t{0};
constexpr std::uint64_t marker = 0x0123'4567'89ab'cdef;
constexpr std::uint64_t zf = 1U << 6;
constexpr std::uint64_t cf = 1U << 0;
constexpr std::uint64_t sf = 1U << 7;

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
    std::uint64_t rax, rcx;
    std::uint64_t rsi_moved, rdi_moved;
    std::uint64_t flags_mask, flags;
};

constexpr std::uint64_t rax_before = marker;
constexpr std::uint64_t rcx_before = 0x5555'aaaa'3333'cc03;
constexpr std::uint64_t rdx_before = 0xfedc'ba98'7654'3210;

void mmio(void (*instruction)(State&), const Expected& expected) {
    for (const auto ring : every_ring) {
        L2 guest;
        ExtendedPageTables ept{ExtendedPageTables::usual_size()};
        ept.entry(hole, 1) = hole | ept_bit::all; // uncacheable
        ept.use_in(guest);
        constexpr auto at = hole + 0x40;
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
        expect_equal(state.rdx, rdx_before, Text{"RDX ", where});
        expect_equal(state.rsi, at + expected.rsi_moved, Text{"RSI ", where});
        expect_equal(state.rdi, at + expected.rdi_moved, Text{"RDI ", where});
        expect_equal(state.flags & expected.flags_mask, expected.flags, Text{"RFLAGS ", where});
    }
}

} // namespace

// Expected: RAX, RCX, how far RSI and RDI move, a mask of flags and the flags.
#define MMIO(name, title, text, ...)                                                                         \
    VMX_TEST(mmio_##name, "vmx.ept.mmio_" #name, title, "The Extended Page Table Mechanism",                 \
             .needs = "ept") {                                                                               \
        mmio(INSTRUCTION(text), Expected{__VA_ARGS__});                                                      \
    }
MMIO(mov_read_8, "MOV of a byte reads ones and keeps the rest of RAX", "movb (%%rsi), %%al", marker | 0xff,
     rcx_before, 0, 0, 0, 0)
MMIO(mov_read_32, "MOV of four bytes reads ones and clears the upper half", "movl (%%rsi), %%eax",
     0xffff'ffff, rcx_before, 0, 0, 0, 0)
MMIO(mov_read_64, "MOV of eight bytes reads ones", "movq (%%rsi), %%rax", ones, rcx_before, 0, 0, 0, 0)
MMIO(mov_write_64, "MOV writes eight bytes", "movq %%rax, (%%rdi)", rax_before, rcx_before, 0, 0, 0, 0)
MMIO(movsx, "MOVSX of ones", "movsbq (%%rsi), %%rax", ones, rcx_before, 0, 0, 0, 0)
MMIO(lods, "LODS reads ones and moves RSI", "lodsl", 0xffff'ffff, rcx_before, 4, 0, 0, 0)
MMIO(rep_stos, "REP STOS counts RCX down and moves RDI", "movl $5, %%ecx; rep stosq", rax_before, 0, 0, 40, 0,
     0)
MMIO(movs, "MOVS from the hole to the hole moves both", "movsq", rax_before, rcx_before, 8, 8, 0, 0)
MMIO(repne_scas, "REPNE SCAS stops at the first that is equal", "movq $-1, %%rax; repne scasb", ones,
     rcx_before - 1, 0, 1, zf, zf)
MMIO(test, "TEST of ones", "testl $0x80000000, (%%rsi)", rax_before, rcx_before, 0, 0, zf | cf | sf, sf)
MMIO(add_from, "ADD of ones is one less, with carry", "addq (%%rsi), %%rax", rax_before - 1, rcx_before, 0, 0,
     zf | cf | sf, cf)
MMIO(and_to, "AND to the hole has the flags of its result", "andl $0, (%%rdi)", rax_before, rcx_before, 0, 0,
     zf | cf | sf, zf)
MMIO(lock_or, "A locked OR to the hole", "lock orl $1, (%%rdi)", rax_before, rcx_before, 0, 0, zf | cf | sf,
     sf)
MMIO(xchg, "XCHG reads ones", "xchgq %%rax, (%%rdi)", ones, rcx_before, 0, 0, 0, 0)
MMIO(cmpxchg, "CMPXCHG of what differs loads ones", "lock cmpxchgq %%rdx, (%%rdi)", ones, rcx_before, 0, 0,
     zf, 0)

namespace {

// What L0 meets while it carries out an instruction is told as if L2's processor had met it. That the
// addresses are exact, and bit 0 clear for a write, have tests of their own below.
bool expect_emulated_violation(Touch access, std::uint64_t permissions, std::uint64_t physical) {
    const auto defined =
        ept_violation::defined & ~(access == Touch::write ? ept_violation::read : std::uint64_t{0});
    return expect_equal(page_of(read(Field::guest_physical_address)), page_of(physical),
                        "page of the guest-physical address") &&
           expect_equal(read(Field::exit_qualification) & defined,
                        final_access(access) | as_allowed(permissions), "exit qualification") &&
           expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
}

// L2's two operands: the hole and memory that has entries of its own, in L2's tables and in EPT.
struct Move {
    L2 guest;
    ExtendedPageTables ept;
    LongModeTables own;
    std::uint64_t from = hole + 0x80;
    std::uint64_t memory = page_with(marker);
    std::uint64_t to = memory + 0x100;
    std::uint64_t rsi = 0;
    std::uint64_t rdi = 0;

    Move() {
        ept.use_in(guest);
        write(Field::guest_cr3, own.root());
        own.entry(memory, 1) = memory | page_bit::all;
        ept.entry(memory, 1) = memory | ept_bit::leaf;
    }
    static void movs(void* argument) {
        auto& move = *static_cast<Move*>(argument);
        move.rsi = move.from;
        move.rdi = move.to;
        asm volatile("cld; movsq" : "+S"(move.rsi), "+D"(move.rdi) : : "memory");
    }
    void start() {
        guest.start_at(&Move::movs, this);
        ept.invalidate();
    }
    void finish() {
        ept.invalidate();
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

VMX_TEST(mmio_movs_to_memory, "vmx.ept.mmio_movs_to_memory", "MOVS from the hole to memory",
         "The Extended Page Table Mechanism", .needs = "ept") {
    Move move;
    move.start();
    move.finish();
}
VMX_TEST(mmio_movs_other_page, "vmx.ept.mmio_movs_to_remapped_memory",
         "MOVS from the hole to a page that L1 maps elsewhere, by both translations",
         "The Extended Page Table Mechanism", .needs = "ept") {
    Move move;
    const auto middle = page_with(2);
    const auto behind = page_with(marker);
    move.own.entry(move.memory, 1) = middle | page_bit::all;
    move.ept.entry(middle, 1) = behind | ept_bit::leaf;
    move.start();
    if (!move.guest.run_to_end("L2 moves from the hole to memory"))
        return;
    expect_equal(word_at(behind + 0x100), ones, "the page behind both translations");
    expect_equal(word_at(middle + 0x100), 2U, "the page of L2's physical address for L1");
    expect_equal(word_at(move.memory + 0x100), marker, "the page of L2's linear address for L1");
}
namespace {
// MOVS may read the hole, and L0 carry it out, before its destination is met: what the exit says is about the
// destination all the same.
template<typename Judge>
void destination(std::uint64_t permissions, Judge judge) {
    Move move;
    auto& entry = move.ept.entry(move.memory, 1);
    const auto before = entry;
    entry = (entry & ~ept_bit::all) | permissions;
    move.start();
    if (!move.guest.run_to(ExitReason::ept_violation, "the destination"))
        return;
    judge(move);
    expect_equal(move.guest.registers.rsi, move.from, "RSI at the exit");
    expect_equal(move.guest.registers.rdi, move.to, "RDI at the exit");
    entry = before;
    move.finish();
}
void destination(std::uint64_t permissions) {
    destination(permissions,
                [permissions](Move& move) { expect_emulated_violation(Touch::write, permissions, move.to); });
}
} // namespace
VMX_TEST(mmio_movs_address, "vmx.ept.mmio_movs_destination_address",
         "The guest-physical address of such an EPT violation is that of the access, not of its page",
         "Basic VM-Exit Information", .needs = "ept") {
    destination(0, [](Move& move) {
        expect_equal(read(Field::guest_physical_address), move.to, "guest-physical address");
    });
}
VMX_TEST(mmio_movs_linear, "vmx.ept.mmio_movs_destination_linear_address",
         "The guest-linear address of such an EPT violation is the destination's",
         "Basic VM-Exit Information", .needs = "ept") {
    destination(0, [](Move& move) {
        expect_equal(read(Field::guest_linear_address), move.to, "guest-linear address");
    });
}
VMX_TEST(mmio_movs_bits, "vmx.ept.mmio_movs_destination_access",
         "Of bits 2:0 of such an EPT violation of a write only bit 1 is set", "Basic VM-Exit Information",
         .needs = "ept") {
    destination(0, [](Move& /*move*/) {
        expect_equal(read(Field::exit_qualification) & 7, ept_violation::write, "bits 2:0");
    });
}
VMX_TEST(mmio_movs_not_present, "vmx.ept.mmio_movs_destination_not_present",
         "MOVS from the hole to a page not present: an EPT violation at the destination, nothing moved",
         "EPT Violations", .needs = "ept") {
    destination(0);
}
VMX_TEST(mmio_movs_read_only, "vmx.ept.mmio_movs_destination_read_only",
         "MOVS from the hole to a read-only page: an EPT violation of a write", "EPT Violations",
         .needs = "ept") {
    destination(ept_bit::read | ept_bit::execute);
}
VMX_TEST(mmio_movs_guest_fault, "vmx.ept.mmio_movs_destination_guest_fault",
         "MOVS from the hole to an address that L2 does not map: L2's #PF", "EPT Violations",
         .needs = "ept") {
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

namespace {
struct Hole {
    L2 guest;
    ExtendedPageTables ept;
    Hole() { ept.use_in(guest); }
    std::uint64_t& entry() { return ept.entry(hole, 1); }
};
} // namespace

VMX_TEST(mmio_hole_not_present, "vmx.ept.mmio_hole_not_present", "A hole that L1 does not map is L1's matter",
         "EPT Violations", .needs = "ept") {
    Hole at;
    const auto before = at.entry();
    for (const auto access : {Touch::read, Touch::write}) {
        std::uint64_t seen = 0;
        auto code = [&] { seen = make_access(access, hole + 8); };
        at.entry() = 0;
        at.guest.start(code);
        at.ept.invalidate();
        at.guest.run();
        expect_ept_violation(final_access(access), hole + 8, hole + 8, text_of(access));
        at.entry() = before;
        at.guest.run_to_end();
        expect_equal(seen, access == Touch::read ? ones : written_value, text_of(access));
    }
}
VMX_TEST(mmio_hole_read_only, "vmx.ept.mmio_hole_read_only",
         "A hole that L1 maps read-only: reads go through, writes do not", "EPT Violations", .needs = "ept") {
    Hole at;
    at.entry() &= ~ept_bit::write;
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(hole);
        make_access(Touch::write, hole + 8);
        seen = 1;
    };
    at.guest.start(code);
    at.guest.run();
    expect_equal(read(Field::exit_reason), ExitReason::ept_violation, "exit reason of the write");
    expect_emulated_violation(Touch::write, ept_bit::read | ept_bit::execute, hole + 8);
    expect_equal(seen, ones, "what L2 read");
    at.entry() |= ept_bit::write;
    at.ept.invalidate();
    at.guest.run_to_end();
    expect_equal(seen, 1U, "L2 after its write");
}
VMX_TEST(mmio_hole_misconfigured, "vmx.ept.mmio_hole_misconfigured",
         "A hole that L1 misconfigures is L1's EPT misconfiguration, not L0's business",
         "EPT Misconfigurations", .needs = "ept") {
    Hole at;
    const auto before = at.entry();
    at.entry() = hole | ept_bit::write | ept_bit::execute; // what KVM itself marks such pages with
    auto code = [] { make_access(Touch::read, hole + 8); };
    at.guest.start(code);
    at.guest.run_to(ExitReason::ept_misconfiguration, "a read");
    expect_equal(read(Field::guest_physical_address), hole + 8, "guest-physical address");
    at.entry() = before;
    at.ept.invalidate();
    at.guest.run_to_end();
}
VMX_TEST(mmio_hole_backed, "vmx.ept.mmio_hole_backed_by_memory", "A hole of L1's that is memory for L2",
         "The Extended Page Table Mechanism", .needs = "ept") {
    Hole at;
    expect_equal(word_at(hole), ones, "what L1 reads at the address"); // L0 has met it as a hole
    const auto page = page_with(marker);
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(hole + 0x40);
        make_access(Touch::write, hole + 0x48);
    };
    for (unsigned round = 0; round < 3; ++round) {
        at.entry() = page | ept_bit::leaf;
        at.ept.invalidate();
        at.guest.start(code);
        at.guest.run_to_end();
        expect_equal(seen, marker, "what L2 reads");
        expect_equal(word_at(page + 0x48), written_value, "what it wrote");
        at.entry() = hole | ept_bit::all;
        at.ept.invalidate();
        at.guest.start(code);
        at.guest.run_to_end();
        expect_equal(seen, ones, "what L2 reads once it is a hole again");
    }
}
VMX_TEST(mmio_memory_as_hole, "vmx.ept.mmio_memory_is_hole", "Memory of L1's address that is a hole for L2",
         "The Extended Page Table Mechanism", .needs = "ept") {
    Hole at;
    const auto page = page_with(marker);
    auto& entry = at.ept.entry(page, 1);
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(page);
        make_access(Touch::write, page);
    };
    entry = hole | ept_bit::leaf;
    at.guest.start(code);
    at.guest.run_to_end();
    expect_equal(seen, ones, "what L2 reads");
    expect_equal(word_at(page), marker, "L1's memory");
}
VMX_TEST(mmio_shared_hole, "vmx.ept.mmio_under_intercept",
         "Between two accesses to the hole L2 still leaves for what L1 intercepts",
         "The Extended Page Table Mechanism", .needs = "ept") {
    Hole at;
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(hole);
        guest::cpuid(0, 0);
        seen += word_at(hole) + 2;
    };
    at.guest.start(code);
    at.guest.run_to(ExitReason::cpuid, "CPUID behind an access");
    expect_equal(seen, ones, "what L2 read before");
    at.guest.skip();
    at.guest.run_to_end();
    expect_equal(seen, 0U, "what it read after, added up");
}

// String I/O to a port that L1 does not intercept: L0 reads and writes L2's memory for it.
namespace {

enum class Io { outs, ins };

void string_io(Io io, std::uint64_t permissions, bool through_window) {
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    auto& entry = window.ept_entry(1);
    const auto before = entry;
    const auto at = window.linear() + window_data;
    auto code = [&] {
        auto pointer = at;
        if (io == Io::outs)
            asm volatile("cld; outsl" : "+S"(pointer) : "d"(nestbed::wire::exit_port) : "memory");
        else
            asm volatile("cld; insl" : "+D"(pointer) : "d"(nestbed::wire::exit_port) : "memory");
    };
    guest.start(code);
    entry = (entry & ~ept_bit::all) | permissions;
    window.ept.invalidate();
    if (!through_window) {
        if (!guest.run_to(ExitReason::ept_violation, "the operand in memory"))
            return;
        const auto access = io == Io::outs ? Touch::read : Touch::write;
        expect_emulated_violation(access, permissions, window.address() + window_data);
        expect_equal(read(Field::guest_linear_address), at, "guest-linear address");
        entry = before;
        window.ept.invalidate();
    }
    guest.run_to_end();
    expect_equal(window.word(), io == Io::outs ? window_value : window_value | 0xffff'ffff,
                 "the operand in memory");
}

} // namespace

VMX_TEST(string_outs, "vmx.ept.string_outs", "OUTS of L2's reads its memory through both translations",
         "The Extended Page Table Mechanism", .needs = "ept") {
    string_io(Io::outs, ept_bit::all, true);
}
VMX_TEST(string_ins, "vmx.ept.string_ins", "INS of L2's writes its memory through both translations",
         "The Extended Page Table Mechanism", .needs = "ept") {
    string_io(Io::ins, ept_bit::all, true);
}
VMX_TEST(string_address, "vmx.ept.string_outs_address",
         "The guest-physical address of an EPT violation by OUTS is that of the access, not of its page",
         "Basic VM-Exit Information", .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    const auto at = window.linear() + window_data;
    auto code = [&] {
        auto pointer = at;
        asm volatile("cld; outsl" : "+S"(pointer) : "d"(nestbed::wire::exit_port) : "memory");
    };
    window.guest.start(code);
    window.ept_entry(1) = 0;
    window.ept.invalidate();
    if (window.guest.run_to(ExitReason::ept_violation, "the operand in memory"))
        expect_equal(read(Field::guest_physical_address), window.address() + window_data,
                     "guest-physical address");
}
VMX_TEST(string_outs_violation, "vmx.ept.string_outs_violation",
         "OUTS from a page that EPT does not map is an EPT violation of a read", "EPT Violations",
         .needs = "ept") {
    string_io(Io::outs, 0, false);
}
VMX_TEST(string_ins_violation, "vmx.ept.string_ins_violation",
         "INS to a page that EPT does not map is an EPT violation of a write", "EPT Violations",
         .needs = "ept") {
    string_io(Io::ins, 0, false);
}
VMX_TEST(string_ins_read_only, "vmx.ept.string_ins_read_only",
         "INS to a page that EPT has read-only is an EPT violation of a write", "EPT Violations",
         .needs = "ept") {
    string_io(Io::ins, ept_bit::read | ept_bit::execute, false);
}

} // namespace nestbed::vmx
