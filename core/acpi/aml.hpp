// ACPI machine language: what a DSDT without methods is made of (ACPI 6.3, chapter 20). Each function gives
// the encoding of one term; what is within a term is passed encoded.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "core/acpi/writer.hpp"

namespace nestbed::acpi::aml {

// 20.2.4: the length of what follows, its own one to four bytes included. `bytes` is below 2^28 - 4.
[[nodiscard]] Bytes package_length(std::size_t bytes);

// 20.2.2: segments of one to four characters, joined by dots, from the root where a backslash leads: "\_SB",
// "COM1". Shorter segments are filled up with underscores.
[[nodiscard]] Bytes name_string(std::string_view path);

// 20.2.3, in the shortest form.
[[nodiscard]] Bytes integer(std::uint64_t value);
[[nodiscard]] Bytes string(std::string_view ascii);

// Three letters and four hexadecimal digits, "PNP0501", as the number that 19.3.4 "EISAID" makes of it.
[[nodiscard]] Bytes eisa_id(std::string_view id);

// 20.2.5: named objects and name spaces, and 20.2.5.4's package of at most 255 elements.
[[nodiscard]] Bytes name(std::string_view path, const Bytes& value);
[[nodiscard]] Bytes scope(std::string_view path, const Bytes& terms);
[[nodiscard]] Bytes device(std::string_view path, const Bytes& terms);
[[nodiscard]] Bytes package(std::initializer_list<Bytes> elements);

// 6.4: a buffer of resource descriptors, closed by the end tag.
[[nodiscard]] Bytes resource_template(std::initializer_list<Bytes> descriptors);

// 6.4.2.5: a fixed range, all 16 address bits decoded.
[[nodiscard]] Bytes io_ports(std::uint16_t first, std::uint8_t count);
// 6.4.3.4, read and write.
[[nodiscard]] Bytes memory32_fixed(std::uint32_t address, std::uint32_t bytes);
// 6.4.3.6: the consumer's, edge-triggered, active high, exclusive.
[[nodiscard]] Bytes edge_interrupt(std::uint32_t gsi);

} // namespace nestbed::acpi::aml
