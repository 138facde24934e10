// Values for the tests of this folder, with every member set to something of its own.
#pragma once

#include <cstdint>

#include "report/run_result.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::report::test {

// `nodes` nodes, one a package, each with `pus_per_node` PUs in cores of two; os indexes in order.
[[nodiscard]] topology::Host example_host(std::uint32_t nodes, std::uint32_t pus_per_node);

// The vCPUs spread over the host's nodes in equal consecutive blocks, each on a PU of its own as long as
// there are any, and then from the node's first one again. 1 GiB a node.
[[nodiscard]] topology::Plan example_plan(const topology::Host& host, std::uint32_t vcpus);

// Every optional member present, every list with something in it.
[[nodiscard]] RunResult full_result(std::uint32_t vcpus = 8);

} // namespace nestbed::report::test
