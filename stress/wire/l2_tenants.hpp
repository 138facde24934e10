// "nested.l2_swarm_*" and "nested.l2_migrate_*": many L2 guests, each of which holds a canary in its
// registers and memory. Compiles freestanding.
#pragma once

#include <cstdint>

#include "stress/wire/jobs.hpp"

namespace nestbed::stress::wire::l2_tenants {

using l2_exits::Kind;
using l2_exits::kinds;

inline constexpr std::uint8_t first_vector = 0x40; // of those that L1 injects
inline constexpr std::uint64_t vectors = 16;
inline constexpr std::uint64_t registers = 14; // RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15

// What is known of one L2 guest. L2 and its L1 write lines of their own.
struct alignas(64) Tenant {
    // By L2.
    std::uint64_t made[kinds];     // exits that it got over
    std::uint64_t wrong_replies;   // RAX is not what L1 put there
    std::uint64_t wrong_registers; // another register has changed over an exit
    std::uint64_t wrong_words;     // a word of its page is not what it wrote last
    // The first of these: a register's number, 14 for RAX, 15 for ES, 16 and above for a word of the page.
    std::uint64_t first_wrong;
    std::uint64_t expected, seen;
    std::uint64_t checked; // words of its page and registers that it has compared

    // By L1.
    alignas(64) std::uint64_t handled[kinds];
    std::uint64_t injected[vectors];  // interrupts, by vector from first_vector
    std::uint64_t delivered[vectors]; // to its handler
    std::uint64_t stray;              // events in L2 that L1 did not inject
    std::uint64_t strange;            // exits that L2 did not ask for
    std::uint64_t strange_code;       // the last of these
    std::uint64_t ended;              // 1: L2 came to its end
    std::uint64_t moves;              // from one vCPU to another
};

enum Argument {
    reports,      // GPA from which on memory is free, see nested/guest/memory.hpp
    stop,         // GPA of a u64 that the host makes 1
    tenants,      // GPA of Tenant[vcpus][per_vcpu]
    per_vcpu,     //
    seed,         //
    samples,      // GPA of u32[vcpus][kinds][samples_each]: TSC ticks from an entry to the exit after it
    samples_each, // the latest so many
    pool,         // "nested.l2_migrate_*": GPA of u64[vcpus * per_vcpu], zero
};

} // namespace nestbed::stress::wire::l2_tenants
