// What `nestbed tower` tells people.
#pragma once

#include <string>

#include "report/run_result.hpp"

namespace nestbed::cli {

// A line for each level, from the host up, with what failed there below it; then what came of it all.
// `document` is where the details are.
[[nodiscard]] std::string tower_text(const report::RunResult& run, unsigned levels,
                                     const std::string& document, bool colour);

} // namespace nestbed::cli
