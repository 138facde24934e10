// The guest's side of the tables: found and read the way that an operating system does it. Nothing here knows
// how they were written; offsets and types are those of ACPI 6.3, chapter 5.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/acpi/tables.hpp"

namespace nestbed::acpi::test {

// `width` bytes, little-endian; throws std::out_of_range past the end.
[[nodiscard]] std::uint64_t number(std::span<const std::byte> bytes, std::size_t offset, unsigned width);
[[nodiscard]] std::string text(std::span<const std::byte> bytes, std::size_t offset, std::size_t length);

// Modulo 256.
[[nodiscard]] unsigned sum(std::span<const std::byte> bytes);

struct SeenTable {
    std::uint64_t address = 0;
    Bytes bytes; // header included, as long as the header says

    [[nodiscard]] std::uint64_t at(std::size_t offset, unsigned width) const {
        return number(bytes, offset, width);
    }
    [[nodiscard]] std::uint64_t end() const { return address + bytes.size(); }
};

// From the RSDP on: the XSDT, what it lists, and the DSDT, by signature. Throws std::runtime_error with a
// reason where there is no RSDP from 0xe0000 to 0xfffff, where a sum or a signature is wrong, where two
// tables have the same signature, or where something is outside of what the guest was given.
[[nodiscard]] std::map<std::string, SeenTable> find_tables(const Tables& guest);

// The structures that MADT (from offset 44) and SRAT (from 48) consist of: type, length, content.
struct SeenEntry {
    unsigned type = 0;
    Bytes bytes; // type and length included

    [[nodiscard]] std::uint64_t at(std::size_t offset, unsigned width) const {
        return number(bytes, offset, width);
    }
};

[[nodiscard]] std::vector<SeenEntry> entries(const SeenTable& table, std::size_t first);

} // namespace nestbed::acpi::test
