// L2's code as it is assembled, which no compiler has put a prologue before: what it finds in its registers
// is what VM entry loaded.
#pragma once

#include <cstdint>

#include "nested/guest/l2_context.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

inline std::uint64_t address_of(const char* code) {
    return reinterpret_cast<std::uint64_t>(code);
}

// Where start_code() puts RSP; 0 modulo 16, with room above it.
inline std::uint64_t code_stack(L2& guest) {
    return conform::physical(guest.context().stack) + sizeof guest.context().stack - 64;
}

// At its next entry L2 begins with `code`, on its own stack, RDI being `argument`.
inline void start_code(L2& guest, const char* code, std::uint64_t argument = 0) {
    write(Field::guest_rip, address_of(code));
    write(Field::guest_rsp, code_stack(guest));
    guest.registers.rdi = argument;
}

} // namespace nestbed::vmx

// L2_CODE(name, 32, "movw $1, %ax; vmcall") makes `extern const char name[]`, code of that many bits.
#define L2_CODE(name, bits, text)                                                                            \
    extern "C" const char name[];                                                                            \
    asm(".pushsection .text\n.code" #bits "\n.balign 16\n.globl " #name "\n" #name ":\n" text                \
        "\n.code64\n.popsection\n")
