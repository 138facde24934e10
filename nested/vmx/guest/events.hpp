// Events that a vCPU sends itself or another, and what L1 has taken of them.
#pragma once

#include <cstdint>

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

inline constexpr std::uint64_t rflags_fixed = 1U << 1;
inline constexpr std::uint64_t rflags_tf = 1U << 8;
inline constexpr std::uint64_t rflags_if = 1U << 9;
inline constexpr std::uint64_t rflags_rf = 1U << 16;

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

// To a local APIC, by its id. Synchronous for the sender itself: pending when this returns. Also in L2, whose
// GS is not the vCPU's, where the APIC is L1's.
inline void send_to_id(std::uint32_t apic_id, guest::apic::Delivery delivery, std::uint8_t vector = 0) {
    using namespace guest::apic;
    write(Register::interrupt_command, command(apic_id, Shorthand::none, delivery, vector));
}
inline std::uint32_t own_apic_id() {
    return guest::this_vcpu().apic_id;
}
// To that of vCPU `vcpu`.
inline void send_to(std::uint32_t vcpu, guest::apic::Delivery delivery, std::uint8_t vector = 0) {
    send_to_id(guest::mailbox_of(vcpu).apic_id, delivery, vector);
}
inline void interrupt_self(std::uint8_t vector) {
    send_to_id(own_apic_id(), guest::apic::Delivery::fixed, vector);
}
inline void nmi_self() {
    send_to_id(own_apic_id(), guest::apic::Delivery::nmi);
}

// From now on L1 counts interrupts of this vector, on all vCPUs.
void count_interrupts(std::uint8_t vector);
// Those that this vCPU's L1 has taken, or another's.
std::uint32_t interrupts_taken(std::uint8_t vector);
std::uint32_t interrupts_taken_by(std::uint32_t vcpu, std::uint8_t vector);

// Fires once, `ticks` of the TSC from now, with this vector: the local APIC's timer in TSC-deadline mode.
void start_timer(std::uint64_t ticks, std::uint8_t vector);
// Whether the vCPU has a TSC-deadline timer (CPUID.01H:ECX[24]).
inline bool has_timer() {
    return (guest::cpuid(1, 0).ecx >> 24 & 1) != 0;
}

// Long enough for whatever is pending to come.
inline void settle() {
    for (int i = 0; i < 2000; ++i)
        guest::pause();
}

// Some milliseconds at the TSC's rate, for what must not come at all.
inline void wait_ms(std::uint64_t milliseconds) {
    const auto until = guest::rdtsc() + guest::header().tsc_khz * milliseconds;
    while (guest::rdtsc() < until)
        guest::pause();
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
