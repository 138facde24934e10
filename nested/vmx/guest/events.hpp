// Events, as nested/guest/events.hpp has them, and how L2 takes them.
#pragma once

#include <cstdint>

#include "nested/guest/events.hpp"
#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

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

// Of the guest interruptibility-state field (SDM volume 3, "Guest Non-Register State").
inline constexpr std::uint64_t blocking_by_sti = 1U << 0;
inline constexpr std::uint64_t blocking_by_mov_ss = 1U << 1;
inline constexpr std::uint64_t blocking_by_nmi = 1U << 3;

// Of the activity-state field.
inline constexpr std::uint64_t activity_active = 0;
inline constexpr std::uint64_t activity_hlt = 1;
inline constexpr std::uint64_t activity_shutdown = 2;
inline constexpr std::uint64_t activity_wait_for_sipi = 3;

// Of the pending-debug-exceptions field.
inline constexpr std::uint64_t pending_enabled_breakpoint = 1U << 12;
inline constexpr std::uint64_t pending_bs = 1U << 14;

inline std::uint32_t own_apic_id() {
    return guest::this_vcpu().apic_id;
}

// Makes L2 begin in ring 3, after L2::start(): on its user stack, with the selectors of core/wire/layout.hpp.
void begin_in_ring_3(L2& guest);

// The gate of this vector in L2's IDT, as two words.
inline std::uint64_t* gate_of(L2& guest, std::uint8_t vector) {
    return reinterpret_cast<std::uint64_t*>(guest.context().idt + std::uint64_t{16} * vector);
}

// A control of the pin-based, primary or secondary word. Where it may not be 1 the test is not applicable and
// this returns false.
bool use_pin_based(std::uint32_t control);
bool use_primary(std::uint32_t control);
bool use_secondary(std::uint32_t control);

// External interrupts of L2 go through L2's IDT. False, and not applicable, where they must exit.
bool give_interrupts_to_l2(L2& guest);

// What the last exit says of the event that was being delivered: none.
void expect_no_vectoring(const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE());

} // namespace nestbed::vmx
