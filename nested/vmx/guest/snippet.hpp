// One instruction of L2, alone between two labels, so that a test knows where L2 stands when it leaves.
//
//     L2_SNIPPET(do_cpuid, "cpuid");
//     L2 guest;
//     place(guest, do_cpuid);
//     expect_exit(guest, do_cpuid, ExitReason::cpuid, 0);
#pragma once

#include <cstdint>

#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

struct Snippet {
    const char* at;
    const char* after; // a VMCALL

    [[nodiscard]] std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(at); }
    [[nodiscard]] std::uint64_t end() const { return reinterpret_cast<std::uint64_t>(after); }
};

// L2 is at the snippet in 64-bit mode, on its stack, every general register with a value of its own.
void place(L2& guest, const Snippet& snippet);

// The instruction leaves L2 for this reason: RIP at it, its length, this exit qualification, registers as
// before.
bool expect_exit(L2& guest, const Snippet& snippet, ExitReason reason, std::uint64_t qualification,
                 const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());

// The instruction runs in L2: the VMCALL behind it is what leaves.
bool expect_executes(L2& guest, const Snippet& snippet, const char* file = __builtin_FILE(),
                     std::uint32_t line = __builtin_LINE());

// The instruction raises an exception that L1 intercepts: interruption information, error code, RIP.
bool expect_exception(L2& guest, const Snippet& snippet, std::uint8_t vector, std::uint64_t error_code,
                      const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());

} // namespace nestbed::vmx

#define L2_SNIPPET(name, text)                                                                               \
    extern "C" const char l2_snippet_##name[];                                                               \
    extern "C" const char l2_snippet_##name##_after[];                                                       \
    asm(".pushsection .text\n.balign 16\n.globl l2_snippet_" #name "\nl2_snippet_" #name ":\n" text          \
        "\n.globl l2_snippet_" #name "_after\nl2_snippet_" #name "_after: vmcall\njmp .\n.popsection\n");    \
    inline constexpr ::nestbed::vmx::Snippet name {                                                          \
        l2_snippet_##name, l2_snippet_##name##_after                                                         \
    }
