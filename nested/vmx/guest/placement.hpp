// Other places for a snippet than 64-bit mode in ring 0, and what an exit says about its operands.
#pragma once

#include <cstdint>

#include "nested/vmx/guest/snippet.hpp"

namespace nestbed::vmx {

// After place(): the snippet is in ring 3, with IOPL 0.
void move_to_ring_3(L2& guest);

// A snippet of L2_SNIPPET_32 in 32-bit protected mode with 32-bit paging, on L2's stack. Selectors of L2's
// own GDT: flat_code_32 and flat_data_32, and room for two tasks behind them.
inline constexpr std::uint16_t flat_code_32 = 0x38;
inline constexpr std::uint16_t flat_data_32 = 0x40;
inline constexpr std::uint16_t other_task = 0x48;
inline constexpr std::uint16_t data_not_present = 0x50;
void place_32(L2& guest, const Snippet& snippet);

// L2 handles this exception itself, by going to the end of the snippet.
void handle_by_skipping(L2& guest, const Snippet& snippet);

// Bits of the VM-exit instruction-information field that are defined, and what they must be.
struct Information {
    std::uint32_t mask = 0;
    std::uint32_t value = 0;

    [[nodiscard]] constexpr Information and_field(unsigned shift, unsigned width, std::uint32_t what) const {
        return {mask | ((1U << width) - 1) << shift, value | what << shift};
    }
};

// The instruction leaves L2: as expect_exit(), with the defined bits of qualification and information only.
struct Operand {
    ExitReason reason;
    std::uint64_t qualification = 0;
    std::uint64_t qualification_mask = ~std::uint64_t{0};
    Information information{};
};
bool expect_operand(L2& guest, const Snippet& snippet, const Operand& operand,
                    const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());

} // namespace nestbed::vmx

// Instructions before the one that is looked at: `name`_from is where L2 begins.
#define L2_SNIPPET_FROM(name, prelude, text)                                                                 \
    extern "C" const char l2_snippet_##name##_from[];                                                        \
    extern "C" const char l2_snippet_##name[];                                                               \
    extern "C" const char l2_snippet_##name##_after[];                                                       \
    asm(".pushsection .text\n.balign 16\n.globl l2_snippet_" #name "_from\nl2_snippet_" #name                \
        "_from:\n" prelude "\n.globl l2_snippet_" #name "\nl2_snippet_" #name ":\n" text                     \
        "\n.globl l2_snippet_" #name "_after\nl2_snippet_" #name "_after: vmcall\njmp .\n.popsection\n");    \
    inline constexpr ::nestbed::vmx::Snippet name##_from{l2_snippet_##name##_from, l2_snippet_##name};       \
    inline constexpr ::nestbed::vmx::Snippet name {                                                          \
        l2_snippet_##name, l2_snippet_##name##_after                                                         \
    }

#define L2_SNIPPET_32(name, text)                                                                            \
    extern "C" const char l2_snippet_##name[];                                                               \
    extern "C" const char l2_snippet_##name##_after[];                                                       \
    asm(".pushsection .text\n.balign 16\n.code32\n.globl l2_snippet_" #name "\nl2_snippet_" #name ":\n" text \
        "\n.globl l2_snippet_" #name "_after\nl2_snippet_" #name                                             \
        "_after: vmcall\njmp .\n.code64\n.popsection\n");                                                    \
    inline constexpr ::nestbed::vmx::Snippet name {                                                          \
        l2_snippet_##name, l2_snippet_##name##_after                                                         \
    }
