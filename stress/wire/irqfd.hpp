// "irqfd.round_trip": each vCPU writes where KVM signals an eventfd, and waits for the interrupt that comes
// back through an irqfd. Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::stress::wire::irqfd {

inline constexpr std::uint8_t vector = 0xd3;
// vCPUs with an even number write to a port of their own, the others to an address of their own, 4 bytes
// each.
inline constexpr std::uint16_t first_port = 0x1000;
inline constexpr std::uint64_t first_address = 0xd100'0000; // no memory, and nothing else there
// KVM has room for 1000 devices on each of its two buses (NR_IOBUS_DEVS); some are taken.
inline constexpr std::uint32_t most_vcpus = 2 * 990;

constexpr bool uses_port(std::uint32_t vcpu) {
    return vcpu % 2 == 0;
}
constexpr std::uint16_t port_of(std::uint32_t vcpu) {
    return static_cast<std::uint16_t>(first_port + vcpu / 2 * 4);
}
constexpr std::uint64_t address_of(std::uint32_t vcpu) {
    return first_address + vcpu / 2 * 4;
}

// What both sides count of one vCPU.
struct alignas(64) Counts {
    std::uint64_t sent;     // writes
    std::uint64_t received; // interrupts that answer a write
    std::uint64_t unasked;  // interrupts that came while no write was waiting for one
};

enum Argument {
    stop,         // GPA of a u64 that the host makes 1
    counts,       // GPA of Counts[vcpus]
    samples,      // GPA of u32[vcpus][samples_each]: TSC ticks from the write to the interrupt's handler
    samples_each, // the latest so many
};

} // namespace nestbed::stress::wire::irqfd
