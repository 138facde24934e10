// What it costs two vCPUs to talk, by where their PUs are. In the unit of a SLIT, where 10 is local memory.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/host.hpp"
#include "topology/placement.hpp"

namespace nestbed::topology::mapping {

// Between PUs of one node the SLIT tells nothing, the caches do. These are chosen, not measured: what counts
// most is their order. Siblings share all caches, cores a last-level cache, and beyond that a line goes
// through the interconnect.
inline constexpr std::uint32_t same_core = 2;
inline constexpr std::uint32_t same_llc = 5;
inline constexpr std::uint32_t same_package = 10;
inline constexpr std::uint32_t other_package = 12; // in one node, as in a host that has but one
// vCPUs that take turns on one PU: whoever waits for an answer waits for the other's time slice. Chosen to be
// dearer than most nodes of a SLIT.
inline constexpr std::uint32_t same_pu = 50;

// Units are numbered densely and are nested: PUs with equal `core` have equal `llc`, and so on up to `node`.
struct Site {
    std::uint32_t core = 0;
    std::uint32_t llc = 0;
    std::uint32_t package = 0; // the part of it that is in one node
    std::uint32_t node = 0;

    bool operator==(const Site&) const = default;
};

class Costs {
public:
    Costs(const Host& host, const UsableHost& usable);

    // PUs are positions in usable.pus.
    [[nodiscard]] std::uint32_t pus() const { return static_cast<std::uint32_t>(_sites.size()); }
    [[nodiscard]] const Site& site(std::uint32_t pu) const { return _sites[pu]; }
    [[nodiscard]] std::uint32_t cores() const { return _cores; }
    [[nodiscard]] std::uint32_t llcs() const { return _llcs; }
    [[nodiscard]] std::uint32_t packages() const { return _packages; }
    [[nodiscard]] std::uint32_t nodes() const { return _nodes; }

    // Both directions' mean, as traffic has no direction; other_package for a node and itself.
    [[nodiscard]] std::uint32_t between_nodes(std::uint32_t a, std::uint32_t b) const {
        return _between_nodes[std::size_t{a} * _nodes + b];
    }
    [[nodiscard]] std::uint32_t between(std::uint32_t a, std::uint32_t b) const {
        if (a == b)
            return same_pu;
        const auto& from = _sites[a];
        const auto& to = _sites[b];
        if (from.core == to.core)
            return same_core;
        if (from.llc == to.llc)
            return same_llc;
        if (from.package == to.package)
            return same_package;
        return between_nodes(from.node, to.node);
    }

private:
    std::vector<Site> _sites;
    std::uint32_t _cores = 0, _llcs = 0, _packages = 0, _nodes = 0;
    std::vector<std::uint32_t> _between_nodes;
};

} // namespace nestbed::topology::mapping
