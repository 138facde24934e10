// Figures as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "report/stats.hpp"

namespace nestbed::report {

// Null for what is no finite number.
[[nodiscard]] nlohmann::ordered_json number(double value);
[[nodiscard]] nlohmann::ordered_json to_json(const Interval& interval); // [low, high]
// "unit", "warmup", "count", then the figures.
[[nodiscard]] nlohmann::ordered_json to_json(const Summary& summary);

} // namespace nestbed::report
