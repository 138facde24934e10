// What `nestbed stress` tells people.
#pragma once

#include <span>
#include <string>

#include "report/run_result.hpp"
#include "report/sweep.hpp"
#include "stress/drivers/stress_driver.hpp"

namespace nestbed::cli {

// Name, title and invariant of each.
[[nodiscard]] std::string driver_list(std::span<const stress::StressDriver* const> drivers);

// One line: verdict, driver, vCPUs, configuration, operations per second, summary. Below a bad one what is
// known, and the command that repeats it.
[[nodiscard]] std::string point_lines(const report::SweepPoint& point, bool colour);

// How each driver scales, where there is a fit.
[[nodiscard]] std::string fit_lines(std::span<const report::UslFit> fits);

// The counts, ending in where the document is.
[[nodiscard]] std::string sweep_conclusion(const report::RunResult& run, const std::string& document);

// "numa 2M lying": policy and what else differs from what is usual.
[[nodiscard]] std::string configuration_text(const report::Configuration& configuration);

// "12.3 M", "850 k", "7.25": three significant digits.
[[nodiscard]] std::string rate_text(double per_second);

} // namespace nestbed::cli
