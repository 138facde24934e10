// A figure for each pair of vCPUs, made small enough to be a part of a page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "report/sweep.hpp"

namespace nestbed::report {

// In 254 steps that are equal on a logarithmic scale from `low` to `high`, the 1st and the 99th percentile of
// what was measured; what is beyond is at the ends. Level 0 is nothing measured.
struct HeatMap {
    std::uint32_t rows = 0; // of levels
    std::uint32_t columns = 0;
    std::uint32_t block = 1; // vCPUs to a level in each direction, of which it is the mean
    double low = 0;
    double high = 0;
    std::vector<std::uint8_t> levels; // row by row
};

// At most `most_levels` of them: blocks are as small as that allows.
[[nodiscard]] HeatMap heat_map(const Matrix& matrix, std::size_t most_levels);

[[nodiscard]] nlohmann::ordered_json to_json(const HeatMap& map);

} // namespace nestbed::report
