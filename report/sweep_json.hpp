// A sweep as JSON and back.
#pragma once

#include <nlohmann/json.hpp>

#include "report/fields.hpp"
#include "report/sweep.hpp"

namespace nestbed::report {

// The document's "sweep". A matrix's values are base64 of little-endian single precision numbers.
[[nodiscard]] nlohmann::ordered_json to_json(const Sweep& sweep);
[[nodiscard]] nlohmann::ordered_json to_json(const SweepPoint& point);
[[nodiscard]] nlohmann::ordered_json to_json(const UslFit& fit);

// Values of any shape are read as far as they make sense; what does not is noted in the field.
[[nodiscard]] Sweep read_sweep(const Field& field);
// Of a measurement or a distribution.
[[nodiscard]] Summary read_summary(const Field& field);

[[nodiscard]] nlohmann::ordered_json to_json(const Configuration& configuration);
[[nodiscard]] Configuration read_configuration(const Field& field);

} // namespace nestbed::report
