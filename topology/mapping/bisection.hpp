// A graph cut in two so that little weight crosses: multilevel, with the refinement of Fiduccia and
// Mattheyses
// ("A linear-time heuristic for improving network partitions", DAC 1982) at each level.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/random_numbers.hpp"

namespace nestbed::topology::mapping {

struct Graph {
    struct Edge {
        std::uint32_t to = 0;
        std::int64_t weight = 0;
    };
    std::vector<std::vector<Edge>> edges; // symmetric, no loops
    std::vector<std::uint32_t> sizes;     // by vertex, 1 or more

    [[nodiscard]] std::uint32_t vertices() const { return static_cast<std::uint32_t>(sizes.size()); }
};

// By vertex: whether it is in the first part. Where all vertices have size 1, that has from `least` to `most`
// of them; `least` <= `most` <= all.
[[nodiscard]] std::vector<bool> bisect(const Graph& graph, std::uint32_t least, std::uint32_t most,
                                       SplitMix64& numbers);

} // namespace nestbed::topology::mapping
