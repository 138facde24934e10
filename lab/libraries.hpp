// The shared libraries that a program needs to start elsewhere.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/supervise/supervisor.hpp"

namespace nestbed::lab {

// What the dynamic loader prints under LD_TRACE_LOADED_OBJECTS: the paths in it, the loader's own included.
// Errors: host_lacks where one was not found.
[[nodiscard]] Result<std::vector<std::filesystem::path>> parse_loaded_objects(std::string_view text);

// Asks the program's own loader. Errors: host_lacks.
[[nodiscard]] Result<std::vector<std::filesystem::path>> libraries_of(const std::filesystem::path& program,
                                                                      supervise::Supervisor& supervisor);

} // namespace nestbed::lab
