// What a nested guest in 64-bit mode has in place of a vCPU's block: its tables and stacks, and what its
// handlers have seen. GS points at it while the nested guest runs, in ring 0 and ring 3.
//
// A nested guest shares L1's memory and page tables, so that its code can be a lambda next to the
// expectations that it is about; its descriptor tables, stacks and handlers are its own, so that an event
// which reaches the wrong level is seen to have done so.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/guest/exception_frame.hpp"
#include "core/wire/mailbox.hpp"

namespace nestbed::conform {

// Leaves L2 for L1 with RAX; VMMCALL or VMCALL, in the vendor's own file. RAX values of the runtime:
inline constexpr std::uint64_t l2_done = 0x6c32'646f'6e65'0001; // the code ran to its end
inline constexpr std::uint64_t l2_died = 0x6c32'6469'6564'0001; // an exception that nobody expected
extern "C" void l2_hypercall(std::uint64_t rax);

struct alignas(4096) L2Context {
    L2Context* self;
    std::uint8_t unused[312];
    std::uint64_t kernel_stack; // at the offsets of wire::Mailbox: user.S and guard.S run here too
    std::uint64_t guard;

    // Set by L1. Exceptions to count and return from, by vector; of an NMI that is the default.
    std::uint32_t resume;
    // Interrupts above 31 end with an EOI to the APIC that L2 sees. Off by default: virtual ones have none.
    std::uint32_t end_of_interrupt;

    // Written by the handlers.
    std::uint32_t exceptions[32];  // by vector
    std::uint32_t interrupts[256]; // by vector, 32 and above
    std::uint32_t delivered;       // of both
    std::uint8_t order[64];        // their vectors, the first 64
    guest::ExceptionFrame last;    // of the latest
    std::uint64_t last_cr2;
    guest::ExceptionFrame fatal; // of an exception that nobody expected; vector ~0 where there was none
    std::uint64_t fatal_cr2;

    std::uint64_t value[16]; // for tests, between L1, L2 and vCPUs

    // Set by L1: looks at every event after it was noted, in the handler. Of an exception it says whether L2
    // goes on with what the frame now says.
    bool (*hook)(guest::ExceptionFrame& frame);

    alignas(4096) std::uint8_t idt[4096];
    std::uint8_t gdt[0x80];
    std::uint8_t tss[0x80];
    alignas(4096) std::uint8_t stack[4 * 4096];
    std::uint8_t user_stack[4096];
};
static_assert(offsetof(L2Context, kernel_stack) == offsetof(nestbed::wire::Mailbox, kernel_stack));
static_assert(offsetof(L2Context, guard) == offsetof(nestbed::wire::Mailbox, guard));

// Fresh, with tables that work: the selectors of core/wire/layout.hpp, gates that ring 3 may call.
L2Context& make_l2_context();

// In L2: its own.
inline L2Context& l2_context() {
    L2Context* context = nullptr;
    asm("movq %%gs:0, %0" : "=r"(context));
    return *context;
}

// In L2: runs `body` in ring 3. It may touch memory but neither I/O nor MSRs.
void l2_user(void (*function)(void*), void* argument);
template<typename Body>
void in_ring_3(Body&& body) {
    l2_user([](void* argument) { (*static_cast<Body*>(argument))(); }, &body);
}

} // namespace nestbed::conform
