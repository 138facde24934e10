// Code that may raise an exception, and what it raised: for tests that expect one.
//
// The innermost guard is at the same offset from GS in a vCPU's mailbox and in the block that a nested guest
// has in its place, so that both use this as it is.
#pragma once

#include <cstdint>

#include "core/guest/exception_frame.hpp"

namespace nestbed::guest {

// What ended a guarded piece of code.
struct Fault {
    bool raised = false;
    std::uint8_t vector = 0;
    std::uint64_t error_code = 0;
    std::uint64_t rip = 0;
    std::uint64_t cr2 = 0; // of a page fault

    [[nodiscard]] constexpr bool is(std::uint8_t which) const { return raised && vector == which; }
};

struct Guard {
    std::uint64_t stack = 0; // used by guard.S
    std::uint64_t rflags = 0;
    Fault fault{};
};

extern "C" void guarded_call(void (*function)(void*), void* argument, Guard* guard);

// Where the vCPU has a guard: notes the exception there and makes the frame return to it, in ring 0.
bool land_in_guard(ExceptionFrame& frame);

// Runs `body` up to its end or its first exception. No destructor runs on the way out of the latter.
template<typename Body>
Fault catch_fault(Body&& body) {
    Guard guard;
    guarded_call([](void* argument) { (*static_cast<Body*>(argument))(); }, &body, &guard);
    return guard.fault;
}

} // namespace nestbed::guest
