// What `nestbed validate` tells people.
#pragma once

#include <string>

#include "report/run_result.hpp"

namespace nestbed::cli {

// The host and the plan, and a blank line. Both are there in `run`.
[[nodiscard]] std::string headline(const report::RunResult& run);

// One line, with the details and the command that repeats it below where the check failed.
[[nodiscard]] std::string verdict_line(const report::CheckResult& check, bool colour);

// The last line; `document` is where the details are.
[[nodiscard]] std::string conclusion(const report::RunResult& run, const std::string& document);

} // namespace nestbed::cli
