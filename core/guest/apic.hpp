// The local APIC in x2APIC mode (SDM volume 3, 11.12 "Extended XAPIC"; APM volume 2, 16.9 and following).
#pragma once

#include <cstdint>

#include "core/guest/cpu.hpp"

namespace nestbed::guest::apic {

enum class Register : std::uint32_t { // MSR numbers
    id = 0x802,
    task_priority = 0x808,
    end_of_interrupt = 0x80b,
    logical_destination = 0x80d,
    spurious_vector = 0x80f,
    interrupt_command = 0x830,
    lvt_timer = 0x832,
};
inline constexpr std::uint32_t tsc_deadline_msr = 0x6e0;

enum class Delivery : std::uint64_t { fixed = 0, smi = 2, nmi = 4, init = 5, startup = 6 };
enum class Shorthand : std::uint64_t { none = 0, self = 1, all = 2, all_but_self = 3 };
enum class Destination : std::uint64_t { physical = 0, logical = 1 };

inline std::uint64_t read(Register reg) {
    return rdmsr(static_cast<std::uint32_t>(reg));
}
inline void write(Register reg, std::uint64_t value) {
    wrmsr(static_cast<std::uint32_t>(reg), value);
}

// Interrupt command register, SDM figure 11-28: destination in 63:32, level asserted (bit 14).
constexpr std::uint64_t command(std::uint32_t to, Shorthand shorthand, Delivery delivery, std::uint8_t vector,
                                Destination mode = Destination::physical) {
    return std::uint64_t{to} << 32 | static_cast<std::uint64_t>(shorthand) << 18 | std::uint64_t{1} << 14 |
           static_cast<std::uint64_t>(mode) << 11 | static_cast<std::uint64_t>(delivery) << 8 | vector;
}

inline void send(std::uint32_t to, std::uint8_t vector) {
    write(Register::interrupt_command, command(to, Shorthand::none, Delivery::fixed, vector));
}

// Enables the APIC and masks nothing of what jobs use.
void start();

} // namespace nestbed::guest::apic
