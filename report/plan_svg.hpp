// A plan as a picture: the host's packages, nodes, caches and cores, each PU in the colour of the virtual
// node whose vCPUs it runs.
#pragma once

#include <string>

#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::report {

// A whole SVG 1.1 document. PUs carry their vCPUs' numbers where there is room for them; what many share is
// darker. `host` is the one the plan was made for.
[[nodiscard]] std::string format_svg(const topology::Plan& plan, const topology::Host& host);

} // namespace nestbed::report
