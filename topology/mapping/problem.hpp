// Which vCPU goes on which PU so that those who talk much are near each other: the quadratic assignment
// problem, as every mapper gets it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "topology/mapping/costs.hpp"
#include "topology/traffic.hpp"

namespace nestbed::topology::mapping {

// Weights are whole numbers, so that sums are exact whatever their order: the largest becomes 2^20, the
// smallest is at least 1. 4096 x 4096 of them at a distance of 255 stay below 2^53.
struct Problem {
    struct Edge {
        std::uint32_t to = 0;
        std::uint32_t weight = 0;
    };
    Costs costs;
    std::uint32_t vcpus = 0;
    std::vector<std::uint32_t> weights;   // dense, vcpus x vcpus
    std::vector<std::vector<Edge>> edges; // the same, by vCPU, without zeros
    double unit = 1;                      // of traffic, for one of weight

    [[nodiscard]] std::uint32_t weight(std::uint32_t a, std::uint32_t b) const {
        return weights[std::size_t{a} * vcpus + b];
    }
    // Each PU gets this many vCPUs or, as many PUs as extra() says, one more: none twice before all have one.
    [[nodiscard]] std::uint32_t base_load() const { return vcpus / costs.pus(); }
    [[nodiscard]] std::uint32_t extra() const { return vcpus % costs.pus(); }
};

[[nodiscard]] Problem make_problem(const Traffic& traffic, const Host& host, const UsableHost& usable);

struct Mapping {
    std::vector<std::uint32_t> pus; // by vCPU: a position in usable.pus
    std::int64_t cost = 0;          // weight times distance, over all pairs
    bool is_optimal = false;        // proven
};

[[nodiscard]] std::int64_t cost_of(const Problem& problem, std::span<const std::uint32_t> pus);

// Whether every PU has its share and no more.
[[nodiscard]] bool is_fair(const Problem& problem, std::span<const std::uint32_t> pus);

} // namespace nestbed::topology::mapping
