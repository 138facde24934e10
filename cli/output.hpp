// How commands end: text on stdout, or an error on stderr with its exit code.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace nestbed::cli {

// Returns 0, or 2 where stdout cannot take it (a full disk).
int print(std::string_view text);

// Text that is not the command's output, on stderr.
void remark(std::string_view text);

// "nestbed: what was asked: what was found", then the remedy. Returns the exit code.
int complain(const Error& error);

[[nodiscard]] bool is_terminal(int fd);

// Columns of the terminal behind a descriptor; 80 where there is none.
[[nodiscard]] std::size_t terminal_columns(int fd);

} // namespace nestbed::cli
