// Distances between host nodes, made fit for a SLIT.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <hwloc.h>

#include "topology/host.hpp"

namespace nestbed::topology {

// ACPI 6.5, 5.2.17: 10 is local, 255 unreachable. Linux drops a SLIT with anything else than 10 on its
// diagonal or 10 and less beside it.
inline constexpr std::uint32_t local_distance = 10;
inline constexpr std::uint32_t remote_distance = 20; // where the host tells none, as Linux assumes
inline constexpr std::uint32_t unreachable = 255;

// Square over the NUMA nodes in logical order. Matrices in another unit are scaled so that the smallest local
// value becomes 10; nodes that a matrix leaves out get the defaults.
[[nodiscard]] std::vector<std::vector<std::uint32_t>> read_distances(hwloc_topology_t topology);

// host.distances with the defaults for what is not in it. Both are indexes into host.nodes.
[[nodiscard]] std::uint32_t distance_between(const Host& host, std::uint32_t from, std::uint32_t to);

// The node that `fits` and is nearest to `from` (itself included); of equals one with PUs, then the first.
// Empty where none fits.
[[nodiscard]] std::optional<std::uint32_t> nearest_node(const Host& host, std::uint32_t from,
                                                        const std::function<bool(const Node&)>& fits);

} // namespace nestbed::topology
