#include "base/edit_distance.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace nestbed {

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        auto diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const auto changed = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates) {
    const auto found = std::ranges::min_element(
        candidates, {}, [&](std::string_view candidate) { return edit_distance(name, candidate); });
    return found == candidates.end() ? std::string_view{} : *found;
}

} // namespace nestbed
