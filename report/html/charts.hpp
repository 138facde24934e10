// What the page's script draws, as values.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "report/sweep.hpp"

namespace nestbed::report {

// "numa 2M svm", as people tell configurations apart.
[[nodiscard]] std::string label_of(const Configuration& configuration);

// A curve for each driver: throughput over vCPUs, with a series for each configuration and its fit.
[[nodiscard]] nlohmann::ordered_json scaling_charts(const Sweep& sweep);

// Of the largest vCPU count of each driver and configuration, all repetitions together.
[[nodiscard]] nlohmann::ordered_json histograms(const Sweep& sweep);

// Of the largest vCPU count of each driver and configuration, the first repetition. All of them together have
// at most `most_levels`.
[[nodiscard]] nlohmann::ordered_json heat_maps(const Sweep& sweep, std::size_t most_levels);

} // namespace nestbed::report
