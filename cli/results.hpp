// How a command with a result document begins and ends.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "report/run_result.hpp"

namespace nestbed::cli {

// DIR/run.json, in a folder that is made and can be written into: to be asked for before the work, since
// where the document cannot be written nothing is worth starting. Errors: bad_input.
[[nodiscard]] Result<std::filesystem::path> document_path(const std::string& directory);

// Writes the document to `path`, prints it where `json` is set and calls `tell` where not, and says what
// ended the run. Returns the exit code.
int conclude(const report::RunResult& run, const std::filesystem::path& path, bool json,
             const std::function<void()>& tell);

} // namespace nestbed::cli
