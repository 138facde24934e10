// L2 outside 64-bit mode: the save area that makes it so. Code for these modes is assembled apart (CODE_16
// and CODE_32 below) and runs without handlers: intercept what may happen.
#pragma once

#include <cstdint>

#include "nested/svm/vmcb.hpp"

namespace nestbed::svm {

// Real mode at `code`: CS has its address as base, RIP is 0; the other segments begin at 0 with 64 KiB
// limits; SP is 0x1000 in the segment SS, whose base is `stack`. Both are below 4 GiB. EFER keeps only SVME.
void set_real_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack);

// 32-bit protected mode, flat, paging off.
void set_protected_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack);

// 32-bit with PAE paging (CR4.PAE=1, EFER.LME=0), the first 4 GiB mapped to themselves in 2 MiB pages.
void set_pae_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack);

// 32-bit with two-level paging (CR4.PAE=0, CR4.PSE=1), the first 4 GiB mapped to themselves in 4 MiB pages.
void set_legacy_paging_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack);

// 32-bit code in long mode (EFER.LMA=1, CS.L=0) with L1's page tables.
void set_compatibility_mode(SaveArea& save, std::uint64_t code, std::uint64_t stack);

} // namespace nestbed::svm

// L2_CODE(name, 16, "movw $1, %ax; vmmcall") makes `extern const char name[]`, code of that many bits.
#define L2_CODE(name, bits, text)                                                                            \
    extern "C" const char name[];                                                                            \
    asm(".pushsection .text\n.code" #bits "\n.balign 16\n.globl " #name "\n" #name ":\n" text                \
        "\n.code64\n.popsection\n")
