// One entry of an I/O APIC's redirection table as a value (82093AA datasheet, section 3.2.4).
#pragma once

#include <cstdint>

#include "core/device/interrupt_line.hpp"

namespace nestbed::device {

struct RedirectionEntry {
    static constexpr std::uint64_t masked_bit = 1ULL << 16;
    static constexpr std::uint64_t level_bit = 1ULL << 15;
    static constexpr std::uint64_t remote_irr_bit = 1ULL << 14;
    static constexpr std::uint64_t polarity_bit = 1ULL << 13;
    static constexpr std::uint64_t logical_bit = 1ULL << 11;
    // Vector, delivery mode, destination mode, polarity, trigger mode, mask; destination bits 14:8 in 55:49
    // and 7:0 in 63:56. Bit 48 would say that the entry is for interrupt remapping, which there is none of.
    static constexpr std::uint64_t writable = 0xfffe'0000'0001'afffULL;
    static constexpr std::uint64_t after_reset = masked_bit;

    std::uint64_t bits = after_reset;

    [[nodiscard]] constexpr std::uint8_t vector() const { return static_cast<std::uint8_t>(bits); }
    // 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT.
    [[nodiscard]] constexpr unsigned delivery_mode() const { return bits >> 8 & 7; }
    [[nodiscard]] constexpr bool masked() const { return (bits & masked_bit) != 0; }
    [[nodiscard]] constexpr bool remote_irr() const { return (bits & remote_irr_bit) != 0; }
    // Only what has an EOI can be level-triggered. All else is taken as edge, whatever bit 15 says.
    [[nodiscard]] constexpr bool level_triggered() const {
        return (bits & level_bit) != 0 && delivery_mode() <= 1;
    }

    // The entry after the guest has written one half. Remote IRR and delivery status are read-only; a
    // change to edge-triggered clears remote IRR, which is how Linux gets rid of it where there is no EOI
    // register.
    [[nodiscard]] RedirectionEntry with_low(std::uint32_t value) const;
    [[nodiscard]] RedirectionEntry with_high(std::uint32_t value) const;

    friend bool operator==(const RedirectionEntry&, const RedirectionEntry&) = default;
};

// The interrupt that an entry asks for, masked or not.
[[nodiscard]] Message message_of(const RedirectionEntry& entry);

} // namespace nestbed::device
