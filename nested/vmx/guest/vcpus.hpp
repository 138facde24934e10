// Several vCPUs: events that one sends another, and what L1 has taken of them.
#pragma once

#include <cstdint>

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

// To the local APIC of vCPU `vcpu`.
inline void send_to(std::uint32_t vcpu, guest::apic::Delivery delivery, std::uint8_t vector = 0) {
    using namespace guest::apic;
    write(Register::interrupt_command,
          command(guest::mailbox_of(vcpu).apic_id, Shorthand::none, delivery, vector));
}
// In L2, whose GS is not the vCPU's.
inline void send_to_id(std::uint32_t apic_id, guest::apic::Delivery delivery, std::uint8_t vector = 0) {
    using namespace guest::apic;
    write(Register::interrupt_command, command(apic_id, Shorthand::none, delivery, vector));
}

// From now on L1 counts interrupts of this vector, on all vCPUs.
void count_in_l1(std::uint8_t vector);
std::uint32_t counted_in_l1(std::uint32_t vcpu, std::uint8_t vector);

// Some milliseconds at the TSC's rate, for what must not come at all.
inline void pass_ms(std::uint64_t milliseconds) {
    const auto until = guest::rdtsc() + guest::header().tsc_khz * milliseconds;
    while (guest::rdtsc() < until)
        guest::pause();
}

// The VMCS of `moved`, current here, gets the host state that this vCPU's own L2 has.
void take_host_state(L2& own, L2& moved);

} // namespace nestbed::vmx
