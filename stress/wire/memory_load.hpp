// "stress.memory": each vCPU fills, reads and walks memory of its own in ring 3. "stress.fault": each vCPU
// touches pages that are not there yet. Compiles freestanding.
#pragma once

#include <cstdint>

#include "stress/wire/pace.hpp"

namespace nestbed::stress::wire::memory_load {

inline constexpr std::uint64_t line_bytes = 64;

// Lines, a power of two of them. The first word of each is the number of the next; together they are one
// ring.
struct Part {
    std::uint64_t address; // GPA
    std::uint64_t lines;   // 0: no such part
};
struct alignas(64) Result {
    std::uint64_t written; // lines
    std::uint64_t write_ticks;
    std::uint64_t read;
    std::uint64_t read_ticks;
    std::uint64_t steps; // from line to line, each waiting for the one before
    std::uint64_t step_ticks;
    std::uint64_t wrong; // words that are not what was written, and rings that did not close
};
inline constexpr std::uint64_t parts_of_vcpu = 2; // local, remote

enum Argument {
    parts = stop_argument + 1, // GPA of Part[vcpus][parts_of_vcpu]
    results,                   // GPA of Result[vcpus][parts_of_vcpu]
    seed,
};

} // namespace nestbed::stress::wire::memory_load

namespace nestbed::stress::wire::first_touch {

struct Part {
    std::uint64_t address; // GPA
    std::uint64_t pages;   // of 4 KiB
};
struct alignas(64) Result {
    std::uint64_t touched; // pages, from the first
    std::uint64_t dirty;   // that were not zero
};

enum Argument {
    parts = stop_argument + 1, // GPA of Part[vcpus]
    results,                   // GPA of Result[vcpus]
    seed,                      //
    samples,                   // GPA of u32[vcpus][samples_each]: TSC ticks of the first touches
    samples_each,
};

// What is left in the first word of a page.
constexpr std::uint64_t mark(std::uint64_t seed_value, std::uint64_t address) {
    return (seed_value << 1 | 1) * 0x9e37'79b9'7f4a'7c15 + address;
}

} // namespace nestbed::stress::wire::first_touch
