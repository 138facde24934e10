// Compressed files, through libarchive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/error.hpp"

namespace nestbed::boot {

// What a file holds after any gzip, bzip2, xz, lzma, lz4, lzop or zstd around it is taken off. Errors:
// bad_input where it cannot be read or is larger than `max_bytes`.
[[nodiscard]] Result<std::string> read_decompressed(const std::filesystem::path& file,
                                                    std::uint64_t max_bytes);

// The same of bytes.
[[nodiscard]] Result<std::string> decompressed(std::span<const std::byte> bytes, std::uint64_t max_bytes);

} // namespace nestbed::boot
