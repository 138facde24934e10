// What the tests of the state switch and of VMLOAD and VMSAVE share.
#pragma once

#include <cstdint>

#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

inline std::uint64_t address_of(const char* code) {
    return reinterpret_cast<std::uint64_t>(code);
}

// L2 begins with assembled 64-bit code, which no compiler has put a prologue before: what it finds in its
// registers is what VMRUN loaded. RDI has `argument`.
inline void start_blob(L2& guest, const char* code, std::uint64_t argument = 0) {
    guest.start_at(reinterpret_cast<void (*)(void*)>(address_of(code)), reinterpret_cast<void*>(argument));
}

// L2 takes an exception of its own, so that the host has mapped all that the delivery of an event needs: for
// tests that are about other things than a delivery with a fault in it.
inline void warm_up(L2& guest) {
    auto code = [] { guest::catch_fault([] { asm volatile("ud2"); }); };
    const auto rflags = guest.save().rflags;
    const auto int_ctl = guest.control().int_ctl;
    guest.control().int_ctl = 0;
    guest.start(code);
    guest.run_to_end("L2 takes an exception before the test");
    guest.save().rflags = rflags;
    guest.control().int_ctl = int_ctl;
    guest.context().delivered = 0;
}

// Top of a fresh stack below 4 GiB, for code outside 64-bit mode.
inline std::uint64_t fresh_stack() {
    return conform::physical(conform::allocate_pages(2)) + 8192;
}

// VMRUN without VMLOAD and VMSAVE around it: L2 runs with L1's FS, GS, TR and system call MSRs.
inline void vmrun_bare(L2& guest) {
    auto& r = guest.registers;
    clgi();
    asm volatile("vmrun %%rax"
                 : "+b"(r.rbx), "+c"(r.rcx), "+d"(r.rdx), "+S"(r.rsi), "+D"(r.rdi)
                 : "a"(guest.vmcb_pa())
                 : "memory", "cc", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
    stgi();
}

// Bits 11:0 without G, which hardware derives from the limit or keeps as it likes (APM volume 2, 15.5.1: only
// the attributes that it names are observed).
inline constexpr std::uint16_t attributes_mask = 0x7ff;

// A descriptor in L2's GDT (APM volume 2, 4.7): attributes as in the VMCB.
inline constexpr std::uint16_t free_selector = 0x38; // the runtime uses those below; up to 0x78
inline std::uint64_t descriptor(std::uint32_t base, std::uint32_t limit_field, std::uint16_t attributes) {
    return (limit_field & 0xffffU) | std::uint64_t{base & 0xff'ffffU} << 16 |
           std::uint64_t{attributes & 0xffU} << 40 | std::uint64_t{limit_field >> 16 & 0xfU} << 48 |
           std::uint64_t{attributes >> 8 & 0xfU} << 52 | std::uint64_t{base >> 24} << 56;
}
inline void set_descriptor(L2& guest, std::uint16_t selector, std::uint64_t value) {
    *reinterpret_cast<std::uint64_t*>(guest.context().gdt + (selector & ~7U)) = value;
}

inline bool cpuid_bit(std::uint32_t leaf, char reg, unsigned bit) {
    const auto r = guest::cpuid(leaf, 0);
    const auto word = reg == 'a' ? r.eax : reg == 'b' ? r.ebx : reg == 'c' ? r.ecx : r.edx;
    return (word >> bit & 1) != 0;
}

} // namespace nestbed::svm
