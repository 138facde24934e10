// Result files that came out of the emulated machine, put where they were asked for.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::lab {

// Writes `bytes` to `path` if that is one of `roots` or lies beneath one. Below a root no symbolic link is
// followed; the file is there whole or not at all. Errors: check_failed where `path` lies elsewhere (nothing
// that works asks for that), bad_input where it cannot be written.
[[nodiscard]] Status store_result(const std::filesystem::path& path, std::string_view bytes,
                                  const std::vector<std::filesystem::path>& roots);

} // namespace nestbed::lab
