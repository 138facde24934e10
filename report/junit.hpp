// A run's checks as JUnit's XML, which CI systems read.
#pragma once

#include <string>

#include "report/run_result.hpp"

namespace nestbed::report {

// One testsuite; the class of a test is its name up to the last point. Bad verdicts are failures, hang, crash
// and not run errors; those that were expected, are not applicable or were skipped are skipped.
[[nodiscard]] std::string to_junit(const RunResult& run);

} // namespace nestbed::report
