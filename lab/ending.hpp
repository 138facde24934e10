// What an end of the emulated machine other than the command's own means for the user.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "lab/attempt.hpp"
#include "lab/lab.hpp"

namespace nestbed::lab {

// Nothing where the command ended by itself. `log` is where the whole console can be read.
[[nodiscard]] std::optional<Error> error_of(const AttemptResult& result, const LabRequest& request,
                                            const std::filesystem::path& log);

// Without control characters, which what comes from inside may hold.
[[nodiscard]] std::string printable(std::string text);

} // namespace nestbed::lab
