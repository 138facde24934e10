// What a conformance test leaves for the host, one report per vCPU. Compiles freestanding.
//
// The guest is the thing under test: the host copies a report before it looks at it and trusts none of it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nestbed::nested::wire {

// Argument of each test's job: GPA of Report[vcpus].
enum Argument { reports };

// JobDescriptor::ending: what the host is to expect of the machine.
enum class Ending : std::uint32_t {
    returns = 0, // every vCPU finishes its job
    shutdown =
        1,       // the vCPU shuts down (KVM_EXIT_SHUTDOWN), and the report's last words are "expect_shutdown"
    stopped = 2, // runs until the host, told by Report::ready of every vCPU, destroys the machine
};

inline constexpr std::size_t most_failures = 8;
inline constexpr std::size_t text_bytes = 160;

// Something that was not as it should be.
struct Failure {
    std::uint64_t expected;
    std::uint64_t seen;
    std::uint32_t line;       // of the test's source
    std::uint32_t has_values; // 0: `text` says it all
    char text[text_bytes];    // what was looked at; ends with a zero
    char file[64];
};

struct Registers {
    std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
    std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    std::uint64_t rip, rflags;
    std::uint64_t cr0, cr2, cr3, cr4, efer;
};

struct alignas(4096) Report {
    std::uint64_t begun;    // 1 once the test runs on this vCPU
    std::uint64_t ready;    // for Ending::shutdown and ::stopped: what follows is what the test is about
    std::uint64_t checks;   // expectations judged so far
    std::uint64_t failures; // of them not met; only the first are kept
    Failure failure[most_failures];
    char not_applicable[text_bytes]; // why; empty where the test applies
    std::uint64_t runs;              // entries into L2 so far
    std::uint64_t in_l2;             // 1 between an entry and the exit that ends it
    std::uint64_t frozen;            // 1: what follows is of the first failure, no later entry overwrites it
    Registers l1;                    // where the first failure was found; the general registers are not kept
    Registers l2; // L2's, at the last exit; rax, rsp, rip, rflags and control registers are in `after`
    alignas(4096) std::uint8_t written[4096]; // the control structure as L1 wrote it, at the last entry
    std::uint8_t after[4096];                 // and after the exit
};

} // namespace nestbed::nested::wire
