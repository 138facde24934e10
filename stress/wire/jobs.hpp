// What the drivers' two halves agree on: arguments, values and tables of each job. Compiles freestanding.
//
// Arguments are indexes into wire::Job::arguments, values into wire::Mailbox::job_value. Tables are at
// guest-physical addresses that the host passes as arguments.
#pragma once

#include <cstdint>

#include "core/wire/layout.hpp"

namespace nestbed::stress::wire {

// "bringup.answer": values: [0] TSC when the job ran.

// "topology.cpuid": each vCPU executes every listed CPUID leaf.
namespace cpuid_dump {
struct Leaf {
    std::uint32_t leaf, subleaf;
};
struct Registers {
    std::uint32_t eax, ebx, ecx, edx;
};
enum Argument {
    leaves,  // GPA of Leaf[count]
    count,   //
    results, // GPA of Registers[vcpus][count]
};
enum Value { x2apic_id };
} // namespace cpuid_dump

// "ipi.unicast": each vCPU sends one interrupt to each of its targets and ends once it has received all of
// its own.
//
// A sender first claims a slot of the receiver, which is the pair of receiver and vector; the receiver's
// handler finds there who sent, counts it and frees the slot. So no two interrupts in flight can merge in the
// receiver's IRR, and each one is accounted for: an interrupt that finds its slot free was never sent to this
// vCPU on this vector.
namespace unicast {
inline constexpr std::uint32_t vectors = 160; // 0x30 to 0xcf
inline constexpr std::uint8_t first_vector = nestbed::wire::first_job_vector;
enum Mode : std::uint64_t { physical, logical, nmi };
struct Target {
    std::uint32_t vcpu;
    std::uint32_t destination; // bits 63:32 of the ICR
};
enum Argument {
    targets,          // GPA of Target[vcpus][targets_per_vcpu]
    targets_per_vcpu, //
    slots,            // GPA of u32[vcpus][vectors], zero: free, else the sender + 1
    waiters,          // GPA of u32[vcpus], by receiver: a sender + 1 that halts until a slot is free
    received,         // GPA of u8[vcpus][vcpus]: receiver, sender; saturates
    expected,         // interrupts that each vCPU is to receive
    mode,             // Mode
};
enum Value { sent, received_count, unclaimed, slot_waits };
} // namespace unicast

// "ipi.broadcast": rounds, in each of which one vCPU interrupts all others and waits for the last.
namespace broadcast {
inline constexpr std::uint8_t vector = 0xd0;
struct alignas(64) State {
    std::uint64_t round;                // rounds that are over
    alignas(64) std::uint64_t received; // by all, over all rounds
    alignas(64) std::uint64_t arrived;  // vCPUs whose counts are ready
    alignas(64) std::uint64_t sent_at;  // TSC of the initiator; where there are rings
    std::uint64_t rings;      // host: GPA of an ipi_trace::Ring of each vCPU, for those that it takes;
                              // 0: none
    std::uint64_t ring_bytes; // host: from one to the next
};
enum Argument {
    state,      // GPA of State
    initiators, // GPA of u32[rounds]
    rounds,     //
    use_nmi,    // 1: NMI instead of the vector
    latencies,  // GPA of u64[rounds]: TSC ticks until the initiator knew that all had it
};
enum Value { received_count };
} // namespace broadcast

// "tsc.monotonic": every vCPU reads its TSC and compares it with the latest that any vCPU has published.
namespace tsc {
enum Argument {
    latest,     // GPA of a u64 on a cache line of its own
    iterations, //
    ring3,      // 1: in ring 3
};
enum Value { done, backward, worst_step };
} // namespace tsc

// "timer.deadline": every vCPU sets its TSC-deadline timer, halts, and is woken by it, again and again.
namespace timer {
inline constexpr std::uint8_t vector = 0xd1;
enum Argument {
    rounds,   //
    delay,    // TSC ticks from setting to expiry
    stagger,  // more ticks per vCPU number
    lateness, // GPA of u64[vcpus][rounds]: TSC ticks between expiry and the handler
};
enum Value { fired, early };
} // namespace timer

// Of jobs whose rounds may be slow beyond measure, in a guest of a guest of a guest: they stop early once
// `patience` TSC ticks have passed and `least` rounds are done. A patience of 0 has no end.

// "exits.cost": one kind of exit in a loop, timed one by one.
namespace exits {
inline constexpr std::uint8_t vector = 0xd2;
enum Kind : std::uint64_t { port_out, port_in, cpuid, read_msr, self_ipi };
enum Argument {
    kind,       // Kind
    iterations, //
    samples,    // GPA of u64[vcpus][iterations]: TSC ticks; 0: take none
    least,
    patience,
};
enum Value { done };
} // namespace exits

// "nested.l2_exits_svm", "nested.l2_exits_vmx": each vCPU is a hypervisor whose guest leaves by one kind of
// exit after the other.
namespace l2_exits {
enum Kind : std::uint64_t { cpuid, hypercall, io, msr, nested_page_fault };
inline constexpr std::uint64_t kinds = 5;
struct Counts {
    std::uint64_t made;       // by L2: instructions that it got over
    std::uint64_t handled;    // by L1: exits of this kind
    std::uint64_t wrong;      // by L1: exits of another
    std::uint64_t wrong_code; // the last of these
    std::uint64_t ended;      // 1: L2 came to its end
    std::uint64_t given_up;   // by L2: 1 where its patience ended before the rounds did
};
enum Argument {
    reports, // GPA from which on memory is free, see nested/guest/memory.hpp
    rounds,  //
    samples, // GPA of u64[vcpus][kinds][rounds]: TSC ticks in L2 from before the instruction to after it
    counts,  // GPA of Counts[vcpus][kinds]
    least,
    patience, // for each kind
};
// Of "nested.l2_prepare_svm" and "nested.l2_prepare_vmx", after `reports`.
enum PrepareArgument {
    paging = 1, // GPA of a u64: becomes 1 where the L2 guests run on nested page tables
};
} // namespace l2_exits

} // namespace nestbed::stress::wire
