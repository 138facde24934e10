#include "topology/mapping/scotch.hpp"

namespace nestbed::topology::mapping {

bool has_scotch() {
    return false;
}

Result<Mapping> map_with_scotch(const Problem& /*problem*/, std::uint32_t /*seed*/) {
    return fail(ErrorKind::host_lacks, "map with Scotch", "it was not there when nestbed was built",
                "install libscotch-dev and build again");
}

} // namespace nestbed::topology::mapping
