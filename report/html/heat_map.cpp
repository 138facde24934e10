#include "report/html/heat_map.hpp"

#include <algorithm>
#include <cmath>

#include "report/base64.hpp"
#include "report/stats.hpp"

namespace nestbed::report {

namespace {

std::uint32_t blocks(std::uint32_t count, std::uint32_t block) {
    return count / block + (count % block != 0 ? 1 : 0);
}

bool is_measured(double value) {
    return std::isfinite(value) && value > 0;
}

// Of the values that were measured in one block; NaN where none was.
double mean_of_block(const Matrix& matrix, std::uint32_t top, std::uint32_t left, std::uint32_t block) {
    double sum = 0;
    std::uint32_t count = 0;
    const auto bottom = std::min(matrix.rows, top + block), right = std::min(matrix.columns, left + block);
    for (auto row = top; row < bottom; ++row)
        for (auto column = left; column < right; ++column) {
            const auto value = static_cast<double>(matrix.values[std::size_t{row} * matrix.columns + column]);
            if (is_measured(value)) {
                sum += value;
                ++count;
            }
        }
    return count == 0 ? Summary::nothing : sum / count;
}

} // namespace

HeatMap heat_map(const Matrix& matrix, std::size_t most_levels) {
    HeatMap map;
    if (matrix.values.size() != std::size_t{matrix.rows} * matrix.columns || matrix.values.empty())
        return map;
    while (std::size_t{blocks(matrix.rows, map.block)} * blocks(matrix.columns, map.block) >
           std::max<std::size_t>(most_levels, 1))
        ++map.block;
    map.rows = blocks(matrix.rows, map.block);
    map.columns = blocks(matrix.columns, map.block);
    std::vector<double> means, sorted;
    for (std::uint32_t row = 0; row < map.rows; ++row)
        for (std::uint32_t column = 0; column < map.columns; ++column) {
            means.push_back(mean_of_block(matrix, row * map.block, column * map.block, map.block));
            if (is_measured(means.back()))
                sorted.push_back(means.back());
        }
    map.levels.assign(means.size(), 0);
    if (sorted.empty())
        return map;
    std::sort(sorted.begin(), sorted.end());
    map.low = *percentile(sorted, 1);
    map.high = *percentile(sorted, 99);
    constexpr double steps = 254;
    const double scale = map.high > map.low ? steps / std::log(map.high / map.low) : 0;
    for (std::size_t i = 0; i < means.size(); ++i)
        if (is_measured(means[i]))
            map.levels[i] = static_cast<std::uint8_t>(
                1 + std::clamp(std::round(scale * std::log(means[i] / map.low)), 0.0, steps));
    return map;
}

nlohmann::ordered_json to_json(const HeatMap& map) {
    return {{"rows", map.rows},   {"columns", map.columns},
            {"block", map.block}, {"low", map.low},
            {"high", map.high},   {"levels", to_base64(std::as_bytes(std::span{map.levels}))}};
}

} // namespace nestbed::report
