// What all tables have in common: the header and the checksum.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/acpi/writer.hpp"

namespace nestbed::acpi {

inline constexpr std::size_t header_bytes = 36;

inline constexpr std::string_view oem_id = "NSTBED";         // 6 characters
inline constexpr std::string_view oem_table_id = "NESTBED "; // 8
inline constexpr std::string_view creator_id = "NSTB";       // 4

// `signature` has 4 characters; `body` is what follows the header (ACPI 6.3, 5.2.6).
[[nodiscard]] Bytes table(std::string_view signature, std::uint8_t revision, std::span<const std::byte> body);

// The byte that makes the sum of all of them 0 modulo 256, when it takes the place of a zero.
[[nodiscard]] std::byte checksum(std::span<const std::byte> bytes);

} // namespace nestbed::acpi
