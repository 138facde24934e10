#include "topology/mapping/map.hpp"

#include "topology/mapping/exact.hpp"
#include "topology/mapping/hierarchical.hpp"

namespace nestbed::topology::mapping {

Mapping map(const Problem& problem) {
    auto found = map_hierarchically(problem);
    if (auto optimum = map_exactly(problem, found))
        return std::move(*optimum);
    return found;
}

} // namespace nestbed::topology::mapping
