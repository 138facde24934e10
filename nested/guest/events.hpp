// Events that a vCPU sends itself or another, and what L1 has taken of them: the same for both vendors.
#pragma once

#include <cstdint>

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"

namespace nestbed::conform {

inline constexpr std::uint64_t rflags_fixed = 1U << 1;
inline constexpr std::uint64_t rflags_tf = 1U << 8;
inline constexpr std::uint64_t rflags_if = 1U << 9;
inline constexpr std::uint64_t rflags_rf = 1U << 16;

// In L2, whose GS is not the vCPU's: sends to the local APIC `apic_id`.
inline void send_event_from_l2(std::uint32_t apic_id, guest::apic::Delivery delivery,
                               std::uint8_t vector = 0) {
    using namespace guest::apic;
    write(Register::interrupt_command, command(apic_id, Shorthand::none, delivery, vector));
}
// To the local APIC of vCPU `vcpu`, by its id. Synchronous for the sender itself: pending when this returns.
inline void send_event(std::uint32_t vcpu, guest::apic::Delivery delivery, std::uint8_t vector = 0) {
    send_event_from_l2(guest::mailbox_of(vcpu).apic_id, delivery, vector);
}
inline void interrupt_self(std::uint8_t vector) {
    send_event(guest::this_vcpu().vcpu, guest::apic::Delivery::fixed, vector);
}
inline void nmi_self() {
    send_event(guest::this_vcpu().vcpu, guest::apic::Delivery::nmi);
}

// From now on L1 counts interrupts of this vector, on all vCPUs.
void count_interrupts(std::uint8_t vector);
// Those that this vCPU's L1 has taken, or another's.
std::uint32_t interrupts_taken(std::uint8_t vector);
std::uint32_t interrupts_taken_by(std::uint32_t vcpu, std::uint8_t vector);

// Fires once, `ticks` of the TSC from now, with this vector: the local APIC's timer in TSC-deadline mode.
void start_timer(std::uint64_t ticks, std::uint8_t vector);
// Whether the vCPU has one (CPUID Fn0000_0001 ECX[24]).
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

} // namespace nestbed::conform
