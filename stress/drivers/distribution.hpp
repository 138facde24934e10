// Samples as a report::Distribution. Values only.
#pragma once

#include <span>
#include <string>

#include "report/sweep.hpp"

namespace nestbed::stress {

// Four classes to each doubling, from the smallest sample to the largest; what is below 2^-10 of the unit
// counts in the first. Samples that are no finite number are left out.
[[nodiscard]] report::Histogram histogram_of(std::span<const double> samples);

[[nodiscard]] report::Distribution distribution(std::string name, std::string unit,
                                                std::span<const double> samples);

} // namespace nestbed::stress
