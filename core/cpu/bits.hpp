// Fields of 32-bit registers.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nestbed::core::cpu {

constexpr std::uint32_t bit(unsigned number) {
    return std::uint32_t{1} << number;
}

// The largest value that `width` bits hold; `width` is below 32.
constexpr std::uint32_t field_max(unsigned width) {
    return bit(width) - 1;
}

constexpr std::uint32_t get_field(std::uint32_t reg, unsigned low, unsigned width) {
    return reg >> low & field_max(width);
}

// What a field of `width` bits can say of `value`: the value, or its own maximum where the value is larger.
// Wrapping around instead would make 256 cores look like none.
constexpr std::uint32_t saturated(std::uint64_t value, unsigned width) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, field_max(width)));
}

// `reg` with one field replaced by saturated(value, width).
constexpr std::uint32_t set_field(std::uint32_t reg, unsigned low, unsigned width, std::uint64_t value) {
    return (reg & ~(field_max(width) << low)) | saturated(value, width) << low;
}

constexpr std::uint32_t set_bit(std::uint32_t reg, unsigned number, bool on) {
    return on ? reg | bit(number) : reg & ~bit(number);
}

constexpr bool has_bit(std::uint32_t reg, unsigned number) {
    return (reg & bit(number)) != 0;
}

} // namespace nestbed::core::cpu
