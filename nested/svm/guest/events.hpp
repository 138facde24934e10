// Events, as nested/guest/events.hpp has them, and how L2 takes them.
#pragma once

#include <cstdint>

#include "nested/guest/events.hpp"
#include "nested/svm/guest/l2.hpp"

namespace nestbed::svm {

using conform::count_interrupts;
using conform::has_timer;
using conform::interrupt_self;
using conform::interrupts_taken;
using conform::interrupts_taken_by;
using conform::nmi_self;
using conform::rflags_fixed;
using conform::rflags_if;
using conform::rflags_rf;
using conform::rflags_tf;
using conform::send_event;
using conform::send_event_from_l2;
using conform::settle;
using conform::start_timer;
using conform::wait_ms;

// Makes L2 begin in ring 3, after L2::start(): on its user stack, with the selectors of core/wire/layout.hpp.
void begin_in_ring_3(L2& guest);

// L2's gate of this vector leads to `handler` from now on.
void point_gate_at(L2& guest, std::uint8_t vector, std::uint64_t handler);

// Lets L2 take one injected interrupt and run to its end, then puts everything back: L0 has L2's pages by
// then and need not step in while an event is delivered. For tests of the event itself; those of the delivery
// do without.
void warm_up(L2& guest);

// Address of a piece of code made by L2_CODE, for start_blob().
inline std::uint64_t address_of(const char* code) {
    return reinterpret_cast<std::uint64_t>(code);
}
// At its next entry L2 begins with this 64-bit code, on its own stack.
void start_blob(L2& guest, const char* code);

} // namespace nestbed::svm
