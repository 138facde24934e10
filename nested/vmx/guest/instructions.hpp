// VMX instructions as functions (SDM volume 3, chapter "VMX Instruction Reference").
#pragma once

#include <cstdint>

#include "nested/vmx/vmcs_field.hpp"

namespace nestbed::vmx {

// What an instruction says in RFLAGS: none of CF, PF, AF, ZF, SF, OF; CF alone; ZF alone; or else.
enum class Outcome : std::uint8_t { succeed, fail_invalid, fail_valid, other_flags };

constexpr Outcome outcome_of(std::uint64_t rflags) {
    constexpr std::uint64_t arithmetic = 0x8d5; // OF, SF, ZF, AF, PF, CF
    switch (rflags & arithmetic) {
    case 0:
        return Outcome::succeed;
    case 1:
        return Outcome::fail_invalid;
    case 1U << 6:
        return Outcome::fail_valid;
    default:
        return Outcome::other_flags;
    }
}

// All flags that an instruction defines are set before it, so that one which is left alone is seen.
#define NESTBED_VMX(instruction, ...)                                                                        \
    std::uint64_t flags = 0x8d5;                                                                             \
    asm volatile("pushfq; orq %[flags], (%%rsp); popfq; " instruction "; pushfq; popq %[flags]"              \
                 : [flags] "+r"(flags)                                                                       \
                 : __VA_ARGS__                                                                               \
                 : "cc", "memory");                                                                          \
    return outcome_of(flags)

// Operands are registers: the stack pointer moves between.
inline Outcome vmxon(std::uint64_t region) {
    NESTBED_VMX("vmxon (%[at])", [at] "r"(&region), "m"(region));
}
inline Outcome vmxoff() {
    NESTBED_VMX("vmxoff", "i"(0));
}
inline Outcome vmclear(std::uint64_t vmcs) {
    NESTBED_VMX("vmclear (%[at])", [at] "r"(&vmcs), "m"(vmcs));
}
inline Outcome vmptrld(std::uint64_t vmcs) {
    NESTBED_VMX("vmptrld (%[at])", [at] "r"(&vmcs), "m"(vmcs));
}
inline Outcome vmptrst(std::uint64_t& vmcs) {
    NESTBED_VMX("vmptrst (%[at])", [at] "r"(&vmcs));
}
inline Outcome vmwrite(std::uint64_t encoding, std::uint64_t value) {
    NESTBED_VMX("vmwrite %[value], %[field]", [value] "r"(value), [field] "r"(encoding));
}
inline Outcome vmread(std::uint64_t encoding, std::uint64_t& value) {
    NESTBED_VMX("vmread %[field], (%[at])", [at] "r"(&value), [field] "r"(encoding));
}
inline Outcome vmlaunch() {
    NESTBED_VMX("vmlaunch", "i"(0));
}
inline Outcome vmresume() {
    NESTBED_VMX("vmresume", "i"(0));
}
inline Outcome vmcall_in_root() {
    NESTBED_VMX("vmcall", "i"(0));
}

// INVEPT and INVVPID: 16 bytes in memory.
struct Descriptor {
    std::uint64_t low;  // EPTP, or VPID in bits 15:0
    std::uint64_t high; // zero, or a linear address
};
inline Outcome invept(std::uint64_t type, const Descriptor& descriptor) {
    NESTBED_VMX("invept (%[at]), %[type]", [at] "r"(&descriptor), [type] "r"(type), "m"(descriptor));
}
inline Outcome invvpid(std::uint64_t type, const Descriptor& descriptor) {
    NESTBED_VMX("invvpid (%[at]), %[type]", [at] "r"(&descriptor), [type] "r"(type), "m"(descriptor));
}

#undef NESTBED_VMX

} // namespace nestbed::vmx
