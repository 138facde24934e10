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
};

struct Section {
    std::string name;
    std::uint64_t address = 0;
    std::span<const std::byte> data;
};

// Views into the image given to parse_elf64(), which must outlive it.
struct ElfImage {
    std::uint64_t entry = 0;
    std::vector<Segment> segments;
    std::vector<Section> sections;

    // First address past all segments.
    [[nodiscard]] std::uint64_t end() const;
    // Empty where there is no such section.
    [[nodiscard]] std::span<const std::byte> section(std::string_view name) const;
    // The NUL-terminated string at an address within a segment's file data. Errors: bad_input.
    [[nodiscard]] Result<std::string> string_at(std::uint64_t address) const;
};

// ELF64, little-endian, x86-64, executable. Errors: bad_input for anything that is not, that is cut short, or
// whose segments wrap around or overlap one another.
[[nodiscard]] Result<ElfImage> parse_elf64(std::span<const std::byte> image);

// The sections of an image of any type, such as a kernel module, which is relocatable. Views into `image`.
// Errors: bad_input.
[[nodiscard]] Result<std::vector<Section>> parse_elf64_sections(std::span<const std::byte> image);

} // namespace nestbed::boot
