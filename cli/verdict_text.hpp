// Verdicts of conformance tests as lines for people.
#pragma once

#include <string>

#include "report/run_result.hpp"

namespace nestbed::cli {

// One line; below a bad verdict that was not expected, all that is known about it.
[[nodiscard]] std::string case_lines(const report::CheckResult& check, bool colour);

// The counts of a run, ending in where its document is.
[[nodiscard]] std::string conform_conclusion(const report::RunResult& run, const std::string& document);

} // namespace nestbed::cli
