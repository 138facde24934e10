// L2 outside 64-bit mode: what in the current VMCS makes it so. Code for these modes is assembled apart
// (L2_CODE of code.hpp) and runs without handlers: intercept what may happen.
#pragma once

#include <cstdint>

#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

// Real mode and protected mode without paging are those of an unrestricted guest, which is under EPT; the
// control is set here. Where it is not offered the test is not applicable: says so.
bool has_unrestricted_guest();

// Real mode at `code`: CS has its address as base, RIP is 0; the other segments begin at 0 with 64 KiB
// limits; SP is 0x1000 in the segment SS, whose base is `stack`. Both are below 4 GiB.
void set_real_mode(L2& guest, std::uint64_t code, std::uint64_t stack);

// 32-bit protected mode, flat, paging off.
void set_protected_mode(L2& guest, std::uint64_t code, std::uint64_t stack);

// 32-bit with PAE paging, the first 4 GiB mapped to themselves in 2 MiB pages. The PDPTEs are in memory and,
// where VMX has them, in the VMCS.
void set_pae_mode(L2& guest, std::uint64_t code, std::uint64_t stack);

// 32-bit with two-level paging and CR4.PSE, the first 4 GiB mapped to themselves in 4 MiB pages.
void set_legacy_paging_mode(L2& guest, std::uint64_t code, std::uint64_t stack);

// 32-bit code in IA-32e mode with L1's paging structures.
void set_compatibility_mode(L2& guest, std::uint64_t code, std::uint64_t stack);

// A virtual-8086 task at ring 3 under two-level paging. Code and stack are where real mode would have them,
// with selectors that mean these bases: both are below 1 MiB and multiples of 16.
void set_virtual_8086_mode(L2& guest, std::uint64_t code, std::uint64_t stack);

} // namespace nestbed::vmx
