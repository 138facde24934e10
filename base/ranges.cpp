#include "base/ranges.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include <fmt/format.h>

namespace nestbed {

namespace {

std::vector<std::uint32_t> sorted_set(std::span<const std::uint32_t> given) {
    std::vector<std::uint32_t> numbers{given.begin(), given.end()};
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    return numbers;
}

// The distance between neighbours where it is the same for all of at least three.
std::optional<std::uint32_t> common_step(const std::vector<std::uint32_t>& set) {
    if (set.size() < 3)
        return std::nullopt;
    const auto step = set[1] - set[0];
    for (std::size_t i = 2; i < set.size(); ++i)
        if (set[i] - set[i - 1] != step)
            return std::nullopt;
    return step;
}

} // namespace

std::string format_ranges(std::span<const std::uint32_t> numbers) {
    const auto set = sorted_set(numbers);
    std::string text;
    for (std::size_t first = 0; first < set.size();) {
        auto last = first;
        while (last + 1 < set.size() && set[last + 1] == set[last] + 1)
            ++last;
        text += fmt::format("{}{}", text.empty() ? "" : ",", set[first]);
        if (last > first)
            text += fmt::format("-{}", set[last]);
        first = last + 1;
    }
    return text;
}

std::string format_ranges_within(std::span<const std::uint32_t> numbers, std::size_t width) {
    auto text = format_ranges(numbers);
    if (text.size() <= width)
        return text;
    const auto set = sorted_set(numbers);
    if (const auto step = common_step(set))
        return fmt::format("{}-{} step {}", set.front(), set.back(), *step);
    const auto ending = fmt::format(",... ({})", set.size());
    const auto room = width > ending.size() ? width - ending.size() : 0;
    const auto comma = text.rfind(',', room);
    text.resize(comma == std::string::npos ? 0 : comma);
    return text + ending;
}

} // namespace nestbed
