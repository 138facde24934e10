// Whole small files, from sysfs, procfs or the user, with a bound on what is taken into memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace nestbed::topology {

// Pipes are read to their end. Errors: bad_input with errno, or for more than `max_bytes`.
[[nodiscard]] Result<std::string> read_text_file(const std::string& path, std::size_t max_bytes);

// A whole decimal number, perhaps with a newline behind it; empty where the file is not there or holds
// anything else.
[[nodiscard]] std::optional<std::uint64_t> read_number_file(const std::string& path);

// The number behind "KEY:" in the manner of /proc/meminfo, with or without blanks before it; empty where
// there is no such key.
[[nodiscard]] std::optional<std::uint64_t> find_number(std::string_view text, std::string_view key);

} // namespace nestbed::topology
