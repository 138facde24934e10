// One exit of L2 with every general register set before and looked at after.
#pragma once

#include <cstdint>

namespace nestbed::guest {

// All but RAX and RSP; the order is that of l2_probe.S.
struct ProbeRegisters {
    std::uint64_t value[14]; // RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15
};
inline constexpr unsigned probe_rcx = 1;
inline constexpr unsigned probe_rdx = 2;

// The instructions, in the order of l2_probe.S.
enum class Probe : std::uint64_t {
    cpuid,   // leaf RAX
    vmmcall, //
    out,     // OUT of EAX to DX
    rdmsr,   // of ECX
    load,    // RAX from the address in RDX
    vmcall,  //
};

// Executes one with RAX and `before`, and returns RAX after it.
extern "C" std::uint64_t l2_probe(Probe which, std::uint64_t rax, const ProbeRegisters* before,
                                  ProbeRegisters* after);

} // namespace nestbed::guest
