// A comparison of placements as JSON and back.
#pragma once

#include <nlohmann/json.hpp>

#include "report/fields.hpp"
#include "report/place_comparison.hpp"

namespace nestbed::report {

// The document's "place_comparison".
[[nodiscard]] nlohmann::ordered_json to_json(const PlaceComparison& comparison);

// What is not as it should be is noted in the field.
[[nodiscard]] PlaceComparison read_place_comparison(const Field& field);

} // namespace nestbed::report
