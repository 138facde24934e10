// One instruction of L2, alone between two labels, so that a test knows where L2 stands when it leaves, and
// all registers before and after: L1 sets them all, the instruction runs (or does not), VMMCALL follows.
//
//     L2_SNIPPET(cpuid64, 64, "cpuid");
//     L2 guest;
//     const auto before = place(guest, cpuid64, Mode::long64);
//     guest.run_to(ExitCode::cpuid, "...");
//     expect_untouched(guest, before, "CPUID that is intercepted");
#pragma once

#include <cstdint>

#include "nested/svm/guest/l2.hpp"

namespace nestbed::svm {

struct Snippet {
    const char* at;
    const char* after; // a VMMCALL
};

// Modes that a snippet may run in; its code is of 64, 32 or 16 bits accordingly.
enum class Mode : std::uint8_t {
    long64,
    long64_ring3,
    compatibility,
    protected32,       // paging off
    protected32_ring3, // CS and SS with DPL 3
    pae32,
    real16,
};
constexpr unsigned bits_of(Mode mode) {
    return mode == Mode::long64 || mode == Mode::long64_ring3 ? 64 : mode == Mode::real16 ? 16 : 32;
}
constexpr bool is_ring3(Mode mode) {
    return mode == Mode::long64_ring3 || mode == Mode::protected32_ring3;
}
const char* name_of(Mode mode);

// What an intercepted instruction must leave as it was (APM volume 2, 15.9: intercepts act before the
// instruction does anything).
struct Before {
    GeneralRegisters registers;
    SaveArea save;
};

// L2 is at the snippet, in that mode, on a stack of its own, every general register with a value of its own
// (32 bits of them outside 64-bit mode). Outside 64-bit mode every exception is intercepted.
Before place(L2& guest, const Snippet& snippet, Mode mode);
// After changes to registers or save area.
Before state_of(L2& guest);

// RSI points at `data`, a page that is all zeros at first, in every mode; in real mode DS begins there.
std::uint8_t* point_at_buffer(L2& guest, Mode mode);

// rIP as the save area has it: real mode counts from CS.
std::uint64_t rip_of(const Snippet& snippet, const char* place, Mode mode);

// RIP at the instruction, all registers, flags and control registers as before.
void expect_untouched(L2& guest, const Before& before, const char* what, const char* file = __builtin_FILE(),
                      std::uint32_t line = __builtin_LINE());

// The general registers alone, without RAX.
void expect_general_registers(L2& guest, const GeneralRegisters& expected, const char* what,
                              const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());

// nRIP, where the machine saves it (15.7.1).
void expect_next_rip(L2& guest, std::uint64_t expected, const char* what, const char* file = __builtin_FILE(),
                     std::uint32_t line = __builtin_LINE());

// run(), and expects the VMMCALL after the snippet with RIP there.
bool run_past(L2& guest, const Snippet& snippet, Mode mode, const char* what,
              const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());

// run(), and expects that this exception left L2 for L1 (which intercepts it) at the instruction.
bool run_to_exception(L2& guest, const Snippet& snippet, Mode mode, std::uint8_t vector,
                      std::uint64_t error_code, const char* what, const char* file = __builtin_FILE(),
                      std::uint32_t line = __builtin_LINE());

// L2's own handler gets the exception: its frame. Sets `vector` ~0 where none came.
guest::ExceptionFrame run_to_handler(L2& guest, std::uint8_t vector, const char* what,
                                     const char* file = __builtin_FILE(),
                                     std::uint32_t line = __builtin_LINE());

} // namespace nestbed::svm

// `text` may have several instructions; `name`.at is the first. In 16 and 32 bits alike `(%esi)` is memory.
#define L2_SNIPPET(name, bits, text)                                                                         \
    extern "C" const char l2_snippet_##name[];                                                               \
    extern "C" const char l2_snippet_##name##_after[];                                                       \
    asm(".pushsection .text\n.code" #bits "\n.balign 16\n.globl l2_snippet_" #name "\nl2_snippet_" #name     \
        ":\n" text "\n.globl l2_snippet_" #name "_after\nl2_snippet_" #name                                  \
        "_after: vmmcall\njmp .\n.code64\n.popsection\n");                                                   \
    inline constexpr ::nestbed::svm::Snippet name {                                                          \
        l2_snippet_##name, l2_snippet_##name##_after                                                         \
    }
