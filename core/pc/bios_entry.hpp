// What stands where a PC's BIOS is entered: there is no BIOS, and whoever jumps there wants a reset.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/device/power.hpp"

namespace nestbed::pc {

// F000:FFF0. Linux goes there in real mode where it knows no other way to reset: with hardware-reduced ACPI
// and no EFI it passes over the FADT's reset register and the keyboard controller (arch/x86/kernel/reboot.c,
// reboot_init()).
inline constexpr std::uint64_t bios_entry_address = 0xf'fff0;

inline constexpr auto bios_entry = [] {
    using device::Power;
    return std::to_array<std::byte>({
        std::byte{0xba}, std::byte{Power::reset_control & 0xff}, std::byte{Power::reset_control >> 8}, // mov
        std::byte{0xb0}, std::byte{Power::reset_value},                                                // mov
        std::byte{0xee},                                                                               // out
        std::byte{0xfa},                                                                               // cli
        std::byte{0xf4},                                                                               // hlt
        std::byte{0xeb}, std::byte{0xfd}, // jmp to the hlt
    });
}();

} // namespace nestbed::pc
