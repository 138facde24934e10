// "stress.lock": all vCPUs take one lock in ring 3, again and again, and count under it without atomics.
// Compiles freestanding.
#pragma once

#include <cstdint>

#include "stress/wire/pace.hpp"

namespace nestbed::stress::wire::locks {

inline constexpr std::uint8_t vector = 0xd5;

enum Kind : std::uint64_t { spin, ticket };

struct State {
    alignas(64) std::uint64_t next;    // spin: 1 while taken; ticket: the next to be drawn
    alignas(64) std::uint64_t serving; // ticket: who has the lock
    alignas(64) std::uint64_t counter; // plain, changed only under the lock
    alignas(64) std::uint64_t shadow;  // the same, on another line
};
struct alignas(64) Counts {
    std::uint64_t acquired;
    std::uint64_t torn;   // times that counter and shadow differed under the lock
    std::uint64_t sleeps; // times that the lock was not had within `spins`
};

enum Argument {
    state = stop_argument + 1, // GPA of State
    counts,                    // GPA of Counts[vcpus]
    kind,                      // Kind
    spins,                     // looks at the lock before the vCPU sleeps
    sleep,                     // of spin: TSC ticks; 0: there is no TSC-deadline timer, never sleep
    sleepers, // of ticket: GPA of u32[vcpus], by ticket modulo vCPUs: who sleeps until it is served + 1
};
enum Value { timers };

} // namespace nestbed::stress::wire::locks
