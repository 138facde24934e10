// A run's checks as TAP version 14 (testanything.org), for harnesses.
#pragma once

#include <string>

#include "report/run_result.hpp"

namespace nestbed::report {

// A bad verdict that was expected is "not ok ... # TODO why"; skipped and not applicable are "# SKIP why".
// What a failure has to say is its YAML block.
[[nodiscard]] std::string to_tap(const RunResult& run);

} // namespace nestbed::report
