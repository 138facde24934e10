// "nested.l2_spin_*": L2 runs on all vCPUs until the machine is destroyed. Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::stress::wire::l2_spin {

// What an L2 does. vCPU n does (mix + n) % modes.
enum Mode : std::uint64_t { compute, exit, halt };
inline constexpr std::uint64_t modes = 3;

enum Argument {
    reports, // GPA from which on memory is free, see nested/guest/memory.hpp
    mix,     //
    running, // GPA of a u64: vCPUs whose L2 runs; the doorbell rings at the last
};

} // namespace nestbed::stress::wire::l2_spin
