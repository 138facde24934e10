// "stress.exits": every vCPU makes one exit of each kind, again and again, and times each one. Compiles
// freestanding.
#pragma once

#include <cstdint>

#include "stress/wire/pace.hpp"

namespace nestbed::stress::wire::exit_mix {

inline constexpr std::uint8_t vector = 0xd3;

enum Kind : std::uint64_t {
    pio,   // OUT to wire::exit_port
    mmio,  // a store to wire::exit_page_gpa
    msr,   // RDMSR of the x2APIC id
    cpuid, // leaf 0
    hlt,   // woken by an interrupt that is already there
};
inline constexpr std::uint64_t kinds = 5;

struct alignas(64) Counts {
    std::uint64_t made[kinds];
    std::uint64_t wrong[kinds]; // another value than the first time, or another number of interrupts
};

enum Argument {
    counts = stop_argument + 1, // GPA of Counts[vcpus]
    samples,                    // GPA of u32[vcpus][kinds][samples_each]: TSC ticks of the latest rounds
    samples_each,
    rounds, // of each vCPU, at most
};
enum Value { taken }; // interrupts

} // namespace nestbed::stress::wire::exit_mix
