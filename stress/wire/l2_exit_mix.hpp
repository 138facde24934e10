// "nested.l2_exit_mix_*": as "nested.l2_exits_*", over and over until the host has enough. Compiles
// freestanding.
#pragma once

#include <cstdint>

#include "stress/wire/jobs.hpp"

namespace nestbed::stress::wire::l2_exit_mix {

using l2_exits::Counts;
using l2_exits::kinds;

inline constexpr std::uint64_t in_a_row = 64; // exits of a kind before the next kind's turn

enum Argument {
    reports, // GPA from which on memory is free, see nested/guest/memory.hpp
    stop,    // GPA of a u64 that the host makes 1
    samples, // GPA of u32[vcpus][kinds][samples_each]: TSC ticks in L2 from before the instruction to after
             // it
    samples_each, // the latest so many
    counts,       // GPA of Counts[vcpus][kinds]
};

} // namespace nestbed::stress::wire::l2_exit_mix
