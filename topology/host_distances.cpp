#include "topology/host_distances.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

namespace nestbed::topology {

namespace {

using Matrix = std::vector<std::vector<std::uint32_t>>;

Matrix default_distances(std::size_t nodes) {
    Matrix matrix(nodes, std::vector<std::uint32_t>(nodes, remote_distance));
    for (std::size_t i = 0; i < nodes; ++i)
        matrix[i][i] = local_distance;
    return matrix;
}

std::uint32_t scaled(std::uint64_t value, std::uint64_t local) {
    if (value == 0)
        return remote_distance; // not told
    // Twice the largest distance is as unreachable as the largest integer.
    const auto bounded = std::min<std::uint64_t>(value, std::numeric_limits<std::uint32_t>::max());
    const auto in_slit_units = local == 0 ? bounded : (bounded * local_distance + local / 2) / local;
    return static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(in_slit_units, local_distance + 1, unreachable));
}

bool is_usable(const hwloc_distances_s& distances) {
    return (distances.kind & HWLOC_DISTANCES_KIND_MEANS_LATENCY) != 0 && distances.nbobjs > 0 &&
           std::all_of(distances.objs, distances.objs + distances.nbobjs, [](hwloc_obj_t object) {
               return object != nullptr && object->type == HWLOC_OBJ_NUMANODE;
           });
}

void fill(Matrix& matrix, const hwloc_distances_s& distances) {
    const std::size_t count = distances.nbobjs;
    const auto value = [&](std::size_t from, std::size_t to) { return distances.values[from * count + to]; };
    std::uint64_t local = 0;
    for (std::size_t i = 0; i < count; ++i)
        if (value(i, i) != 0 && (local == 0 || value(i, i) < local))
            local = value(i, i);
    for (std::size_t from = 0; from < count; ++from)
        for (std::size_t to = 0; to < count; ++to) {
            const auto row = distances.objs[from]->logical_index;
            const auto column = distances.objs[to]->logical_index;
            if (row != column && row < matrix.size() && column < matrix.size())
                matrix[row][column] = scaled(value(from, to), local);
        }
}

// The operating system's SLIT goes by this name (hwloc/distances.h); other latencies between nodes will do
// where there is none.
std::vector<hwloc_distances_s*> latencies(hwloc_topology_t topology) {
    unsigned found = 0;
    if (hwloc_distances_get_by_name(topology, "NUMALatency", &found, nullptr, 0) == 0 && found > 0) {
        std::vector<hwloc_distances_s*> all(found);
        if (hwloc_distances_get_by_name(topology, "NUMALatency", &found, all.data(), 0) == 0)
            return all;
    }
    found = 0;
    constexpr unsigned long kind = HWLOC_DISTANCES_KIND_MEANS_LATENCY;
    if (hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &found, nullptr, kind, 0) != 0)
        return {};
    std::vector<hwloc_distances_s*> all(found);
    if (hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &found, all.data(), kind, 0) != 0)
        return {};
    return all;
}

} // namespace

Matrix read_distances(hwloc_topology_t topology) {
    auto matrix = default_distances(
        static_cast<std::size_t>(std::max(0, hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE))));
    const auto all = latencies(topology);
    const auto first = std::find_if(all.begin(), all.end(), [](auto* each) { return is_usable(*each); });
    if (first != all.end())
        fill(matrix, **first);
    for (auto* const each : all)
        hwloc_distances_release(topology, each);
    return matrix;
}

std::uint32_t distance_between(const Host& host, std::uint32_t from, std::uint32_t to) {
    if (from < host.distances.size() && to < host.distances[from].size())
        return host.distances[from][to];
    return from == to ? local_distance : remote_distance;
}

std::optional<std::uint32_t> nearest_node(const Host& host, std::uint32_t from,
                                          const std::function<bool(const Node&)>& fits) {
    std::optional<std::tuple<std::uint32_t, bool, std::uint32_t>> best;
    for (std::uint32_t to = 0; to < host.nodes.size(); ++to) {
        const std::tuple rank{distance_between(host, from, to), !host.nodes[to].has_pus, to};
        if (fits(host.nodes[to]) && (!best || rank < *best))
            best = rank;
    }
    return best ? std::optional{std::get<2>(*best)} : std::nullopt;
}

} // namespace nestbed::topology
