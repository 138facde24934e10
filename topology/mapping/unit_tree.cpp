#include "topology/mapping/unit_tree.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_map>
#include <utility>

namespace nestbed::topology::mapping {

namespace {

using Numbers = std::vector<std::uint32_t>;

template<typename Key>
std::vector<Numbers> split_by(const Numbers& pus, Key key) {
    std::vector<Numbers> parts;
    std::unordered_map<std::uint32_t, std::size_t> positions;
    for (const auto pu : pus) {
        const auto [at, is_new] = positions.try_emplace(key(pu), parts.size());
        if (is_new)
            parts.emplace_back();
        parts[at->second].push_back(pu);
    }
    return parts;
}

// Whoever is nearer than the farthest pair belongs together; by node, its cluster's first node.
std::unordered_map<std::uint32_t, std::uint32_t> cluster(const Costs& costs, const Numbers& nodes) {
    std::uint32_t farthest = 0;
    for (const auto a : nodes)
        for (const auto b : nodes)
            farthest = std::max(farthest, a == b ? 0 : costs.between_nodes(a, b));
    std::unordered_map<std::uint32_t, std::uint32_t> cluster_of;
    for (const auto first : nodes) {
        if (!cluster_of.try_emplace(first, first).second)
            continue;
        Numbers reached{first};
        for (std::size_t i = 0; i < reached.size(); ++i)
            for (const auto node : nodes)
                if (costs.between_nodes(reached[i], node) < farthest &&
                    cluster_of.try_emplace(node, first).second)
                    reached.push_back(node);
    }
    return cluster_of;
}

enum class Level { nodes, node, package, llc, core };

Unit build(const Costs& costs, Numbers pus, Level level) {
    if (pus.size() == 1)
        return {.pus = std::move(pus), .children = {}};
    auto below = level;
    std::vector<Numbers> parts;
    switch (level) {
    case Level::nodes: {
        Numbers nodes;
        for (const auto& part : split_by(pus, [&](auto pu) { return costs.site(pu).node; }))
            nodes.push_back(costs.site(part.front()).node);
        auto cluster_of = cluster(costs, nodes);
        parts = split_by(pus, [&](auto pu) { return cluster_of[costs.site(pu).node]; });
        if (parts.size() == 1) { // all alike
            parts = split_by(pus, [&](auto pu) { return costs.site(pu).node; });
            below = Level::node;
        }
        break;
    }
    case Level::node:
        parts = split_by(pus, [&](auto pu) { return costs.site(pu).package; });
        below = Level::package;
        break;
    case Level::package:
        parts = split_by(pus, [&](auto pu) { return costs.site(pu).llc; });
        below = Level::llc;
        break;
    case Level::llc:
        parts = split_by(pus, [&](auto pu) { return costs.site(pu).core; });
        below = Level::core;
        break;
    case Level::core: {
        Unit unit{.pus = pus, .children = {}};
        for (const auto pu : pus)
            unit.children.push_back({.pus = {pu}, .children = {}});
        return unit;
    }
    }
    if (parts.size() == 1)
        return build(costs, std::move(pus), below);
    Unit unit{.pus = std::move(pus), .children = {}};
    for (auto& part : parts)
        unit.children.push_back(build(costs, std::move(part), below));
    return unit;
}

} // namespace

Unit unit_tree(const Costs& costs) {
    Numbers all(costs.pus());
    std::iota(all.begin(), all.end(), 0U);
    return build(costs, std::move(all), Level::nodes);
}

} // namespace nestbed::topology::mapping
