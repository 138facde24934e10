// What host and guest say to each other through memory. Compiles freestanding: includes nothing of the host.
//
// The host trusts nothing that it reads here: the guest is the thing under test. Each field says who writes
// it; the cache lines of one writer are never shared with another's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/wire/layout.hpp"

namespace nestbed::wire {

inline constexpr std::uint64_t header_magic = 0x4445'4254'5345'4e00; // "\0NESTBED", little-endian

inline constexpr std::size_t job_arguments = 8;
inline constexpr std::size_t job_values = 4;

enum class JobStatus : std::uint64_t {
    none = 0,
    done = 1,   // ran to its end; its values say what it saw
    failed = 2, // could not run; values[0] is a code of the job's own
};

// The job at hand. Written by the host before it tells any vCPU of it; no vCPU that was not told looks at it.
struct alignas(64) Job {
    std::uint64_t index; // position in the payload's job table
    std::uint64_t arguments[job_arguments];
};

struct alignas(64) Header {
    std::uint64_t magic;         // host
    std::uint32_t version;       // host
    std::uint32_t vcpus;         // host
    std::uint64_t tsc_khz;       // host: guest TSC frequency
    std::uint64_t percpu_table;  // host: as in BootBlock
    std::uint64_t vcpu_blocks;   // host: GPA of one 64-bit block GPA per vCPU number
    std::uint64_t ring;          // host: GPA of wire::Ring
    std::uint64_t scratch;       // host: GPA of memory that jobs may use
    std::uint64_t scratch_bytes; // host

    Job job;

    alignas(64) std::uint64_t pending; // host sets, guest counts down: vCPUs that have not finished the job
    alignas(64) std::uint64_t online;  // guest: vCPUs that reached 64-bit mode
    std::uint64_t tsc_init;            // guest: TSC of vCPU 0 right before the INIT
    std::uint64_t tsc_sipi;            // guest: TSC of vCPU 0 right after the last SIPI
};

// Registers at an exception that nobody expected. `state` is written last.
struct ExceptionReport {
    std::uint64_t state; // 0 nothing, 1 complete
    std::uint64_t vector;
    std::uint64_t error_code;
    std::uint64_t rip, cs, rflags, rsp, ss;
    std::uint64_t cr0, cr2, cr3, cr4;
    std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
    std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
};

// First page of a vCPU's block. GS points at it while the vCPU is in ring 0.
struct alignas(64) Mailbox {
    std::uint64_t self; // host: GPA of this block
    std::uint32_t vcpu; // host
    std::uint32_t apic_id;

    alignas(64) std::uint64_t job; // host: sequence number of the job to run, counted from 1; written last

    alignas(64) std::uint64_t jobs_done; // guest: sequence number of the last job finished; written last
    std::uint64_t job_status;            // guest: JobStatus
    std::uint64_t job_value[job_values]; // guest: the job's own; zeroed by the host before each job

    alignas(64) std::uint64_t tsc_online; // guest: TSC on arrival in 64-bit mode
    std::uint64_t seen_apic_id;           // guest: what its x2APIC says (MSR 802H)

    // Guest: counted by interrupt handlers. An interrupt that no handler expects is spurious.
    alignas(64) std::uint64_t wakes;
    std::uint64_t spurious_interrupts;
    std::uint64_t last_spurious_vector;
    std::uint64_t nmis;

    alignas(64) std::uint64_t
        kernel_stack;    // guest: RSP to return to from ring 3; the offset is used by assembly
    std::uint64_t guard; // guest: the innermost guest::Guard, 0 for none; the offset is used by assembly

    alignas(64) ExceptionReport exception;
};

static_assert(sizeof(Mailbox) <= page_bytes);
static_assert(offsetof(Mailbox, kernel_stack) == 320, "used by core/guest/user.S");
static_assert(offsetof(Mailbox, guard) == 328, "used by core/guest/guard.S");
static_assert(offsetof(BootBlock, apic_id_limit) == 24, "used by core/guest/entry.S");

} // namespace nestbed::wire
