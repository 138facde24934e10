// Sizes and counts as people write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace nestbed {

inline constexpr std::uint64_t KiB = 1024;
inline constexpr std::uint64_t MiB = 1024 * KiB;
inline constexpr std::uint64_t GiB = 1024 * MiB;

// "512M", "4G", "65536", "1.5G" is refused: bytes must come out exact. Suffixes K, M, G, T (powers of
// 1024), with or without "B"/"iB", either case. Errors: bad_input for anything else or an overflow.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);

// Decimal, no sign, no blanks, at most `max`. `what` names the thing in the error.
[[nodiscard]] Result<std::uint64_t> parse_count(std::string_view text, std::string_view what,
                                                std::uint64_t max);

// "64 MiB", "1.5 GiB", "812 B".
[[nodiscard]] std::string format_size(std::uint64_t bytes);

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

} // namespace nestbed
