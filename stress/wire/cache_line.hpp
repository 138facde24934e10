// "stress.c2c": pairs of vCPUs, one after the other, pass a cache line to and fro in ring 3. Compiles
// freestanding.
#pragma once

#include <cstdint>

#include "stress/wire/pace.hpp"

namespace nestbed::stress::wire::cache_line {

inline constexpr std::uint64_t rounds_in_chunk = 64; // there and back
inline constexpr std::uint64_t chunks = 8;           // of which the fastest counts
inline constexpr std::uint64_t steps_in_pair = 2 * rounds_in_chunk * chunks;
// Set in State::turn once no pair is to begin any more.
inline constexpr std::uint64_t closed = std::uint64_t{1} << 63;

struct Pair {
    std::uint32_t first; // measures
    std::uint32_t second;
};

struct State {
    alignas(64) std::uint64_t turn;  // the pair that is at it
    alignas(64) std::uint64_t ready; // vCPUs that have begun, over all pairs
    alignas(64) std::uint64_t line;  // the line that is passed: one more with each pass, over all pairs
};

enum Argument {
    pairs = stop_argument + 1, // GPA of Pair[count]
    count,                     //
    begins,                    // GPA of u32[vcpus + 1]: where each vCPU's entries begin
    entries,                   // GPA of u32[]: the pairs that a vCPU is in, ascending
    state,                     // GPA of State
    results,                   // GPA of u64[count]: TSC ticks of the fastest chunk; 0: not measured
};
enum Value { pairs_done, wrong }; // as first or second; values that nobody had written

} // namespace nestbed::stress::wire::cache_line
