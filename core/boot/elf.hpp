// ELF images, read with every offset and size checked: an image may be anybody's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::boot {

// One PT_LOAD: `data` goes to guest-physical `address`, zeros follow up to `memory_bytes`.
struct Segment {
    std::uint64_t address = 0;
    std::uint64_t memory_bytes = 0;
    std::span<const std::byte> data;
    std::uint64_t virtual_address = 0; // what the image's own page tables may map it to
};

struct Section {
    std::string name;
    std::uint64_t address = 0;
    std::span<const std::byte> data;
};

// Views into the image that was parsed, which must outlive it.
struct ElfImage {
    std::uint64_t entry = 0;
    std::vector<Segment> segments; // ascending
    std::vector<Section> sections;
    std::vector<std::span<const std::byte>> notes; // each PT_NOTE

    // First address past all segments.
    [[nodiscard]] std::uint64_t end() const;
    // Whether a byte of the file is loaded to that address: somewhere an entry may be.
    [[nodiscard]] bool has_code_at(std::uint64_t address) const;
    // Empty where there is no such section.
    [[nodiscard]] std::span<const std::byte> section(std::string_view name) const;
    // The NUL-terminated string at an address within a segment's file data. Errors: bad_input.
    [[nodiscard]] Result<std::string> string_at(std::uint64_t address) const;
};

// ELF64, little-endian, x86-64, executable. Errors: bad_input for anything that is not, that is cut short, or
// whose segments wrap around or overlap one another.
[[nodiscard]] Result<ElfImage> parse_elf64(std::span<const std::byte> image);

// The segments and notes of an image for protected mode: ELF32 for i386 as well, and without its sections.
// Errors: bad_input as for parse_elf64().
[[nodiscard]] Result<ElfImage> parse_elf(std::span<const std::byte> image);

// The sections of an image of any type, such as a kernel module, which is relocatable. Views into `image`.
// Errors: bad_input.
[[nodiscard]] Result<std::vector<Section>> parse_elf64_sections(std::span<const std::byte> image);

} // namespace nestbed::boot
