#include "topology/index_list.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace nestbed::topology {

std::string format_index_list(std::span<const std::uint32_t> indexes) {
    if (indexes.empty())
        return "none";
    std::vector<std::uint32_t> sorted{indexes.begin(), indexes.end()};
    std::sort(sorted.begin(), sorted.end());
    std::string text;
    for (std::size_t first = 0; first < sorted.size();) {
        auto last = first;
        while (last + 1 < sorted.size() && sorted[last + 1] - sorted[last] <= 1)
            ++last;
        text += text.empty() ? "" : ",";
        text += sorted[first] == sorted[last] ? fmt::format("{}", sorted[first])
                                              : fmt::format("{}-{}", sorted[first], sorted[last]);
        first = last + 1;
    }
    return text;
}

} // namespace nestbed::topology
