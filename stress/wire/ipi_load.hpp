// "stress.ipi": interrupts between vCPUs, one at a time from each sender, until told to stop. Compiles
// freestanding.
//
// A sender claims the slot of the receiver, sends, and halts until the receiver's handler has found it there,
// acknowledged it and woken the sender. So no two interrupts merge, one that is lost is waited for in vain,
// and one that comes twice or at the wrong vCPU finds no claim.
#pragma once

#include <cstdint>

#include "stress/wire/pace.hpp"

namespace nestbed::stress::wire::ipi_load {

inline constexpr std::uint8_t vector = 0xd4;

enum Pattern : std::uint64_t {
    random,     // each to any other; all halt while they wait
    partner,    // 0 with 1, 2 with 3, ...: both send
    all,        // each to each other, beginning with its successor; who is busy is left out
    to_halted,  // even ones to the odd one after them, which halts
    to_running, // the same, which runs in ring 3
    token,      // one sender at a time, for a matrix of latencies
};

struct Vcpu {
    alignas(64) std::uint64_t slot;  // as receiver: the sender that claims it + 1, 0: free
    alignas(64) std::uint64_t acked; // as sender: written by the receivers
    std::uint64_t taken_at;          // TSC of the receiver's handler
    alignas(64) std::uint64_t sent;  // own
    std::uint64_t received;
    std::uint64_t unclaimed; // interrupts that nobody had claimed the slot for
    std::uint64_t busy;      // attempts that found the slot taken
    std::uint64_t backward;  // taken earlier than sent, by the two TSCs
    std::uint64_t ring;      // host: GPA of an ipi_trace::Ring for those that it sends; 0: none
};

enum Argument {
    vcpus = stop_argument + 1, // GPA of Vcpu[vcpus]
    pattern,                   // Pattern
    seed,                      // of random
    samples,      // GPA of u32[vcpus][samples_each]: TSC ticks from ICR write to handler, latest rounds
    samples_each, // of token: interrupts to send in a turn
    turn,         // of token: GPA of a u64, turns that are over
    offsets,      // of token: GPA of u32[vcpus - 1], from sender to receiver, in the order to measure
};
// Of token, `samples` is u32[vcpus][vcpus], sender by receiver: the least; 0: not measured.

} // namespace nestbed::stress::wire::ipi_load
