// How unlike two names are, for "did you mean".
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace nestbed {

// Levenshtein's: insertions, deletions and changes of one letter.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate that differs least from `name`, the first of several; empty where there is no candidate.
[[nodiscard]] std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates);

} // namespace nestbed
