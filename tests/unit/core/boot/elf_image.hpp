// A small ELF image whose every byte is accounted for, to be corrupted by the tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <elf.h>

namespace nestbed::boot::test {

using Bytes = std::vector<std::byte>;

// Where things are in good_image(). Nothing follows the section headers.
inline constexpr std::size_t program_headers = sizeof(Elf64_Ehdr);
inline constexpr std::size_t first_data = program_headers + 2 * sizeof(Elf64_Phdr);
inline constexpr std::size_t first_data_bytes = 16;
inline constexpr std::size_t second_data = first_data + first_data_bytes;
inline constexpr std::size_t second_data_bytes = 8;
inline constexpr std::size_t names = second_data + second_data_bytes;
inline constexpr std::size_t names_bytes = 24;
inline constexpr std::size_t section_headers = names + names_bytes;
inline constexpr std::size_t section_count = 4;
inline constexpr std::size_t image_bytes = section_headers + section_count * sizeof(Elf64_Shdr);

inline constexpr std::uint64_t entry = 0x1004;
inline constexpr std::uint64_t first_address = 0x1000; // 32 bytes of memory, 16 of the file
inline constexpr std::uint64_t first_memory_bytes = 32;
inline constexpr std::uint64_t second_address = 0x2000; // 8 bytes of both, without a zero among them

// Two segments, the higher one first, and the sections null, .names, .data and .bss.
[[nodiscard]] Bytes good_image();

template<typename T>
void put(Bytes& image, std::size_t offset, T value) {
    std::memcpy(image.data() + offset, &value, sizeof value);
}

constexpr std::size_t program_header(std::size_t index) {
    return program_headers + index * sizeof(Elf64_Phdr);
}
constexpr std::size_t section_header(std::size_t index) {
    return section_headers + index * sizeof(Elf64_Shdr);
}

} // namespace nestbed::boot::test
