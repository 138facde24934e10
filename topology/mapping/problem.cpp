#include "topology/mapping/problem.hpp"

#include <algorithm>
#include <cmath>

namespace nestbed::topology::mapping {

Problem make_problem(const Traffic& traffic, const Host& host, const UsableHost& usable) {
    constexpr double largest = 1U << 20;
    double most = 0;
    for (const auto& edges : traffic.of)
        for (const auto& edge : edges)
            most = std::max(most, edge.weight);
    const auto vcpus = traffic.vcpus();
    Problem problem{.costs = Costs{host, usable},
                    .vcpus = vcpus,
                    .weights = std::vector<std::uint32_t>(std::size_t{vcpus} * vcpus),
                    .edges = std::vector<std::vector<Problem::Edge>>(vcpus),
                    .unit = most / largest};
    for (std::uint32_t a = 0; a < vcpus; ++a)
        for (const auto& edge : traffic.of[a]) {
            const auto scaled = std::max(1.0, std::round(edge.weight / most * largest));
            const auto weight = static_cast<std::uint32_t>(scaled);
            problem.weights[std::size_t{a} * vcpus + edge.to] = weight;
            problem.edges[a].push_back({.to = edge.to, .weight = weight});
        }
    return problem;
}

std::int64_t cost_of(const Problem& problem, std::span<const std::uint32_t> pus) {
    std::int64_t cost = 0;
    for (std::uint32_t a = 0; a < problem.vcpus; ++a)
        for (const auto& edge : problem.edges[a])
            if (edge.to > a)
                cost += std::int64_t{edge.weight} * problem.costs.between(pus[a], pus[edge.to]);
    return cost;
}

bool is_fair(const Problem& problem, std::span<const std::uint32_t> pus) {
    std::vector<std::uint32_t> load(problem.costs.pus());
    for (const auto pu : pus)
        ++load[pu];
    return std::all_of(load.begin(), load.end(), [&](std::uint32_t each) {
        return each == problem.base_load() || each == problem.base_load() + 1;
    });
}

} // namespace nestbed::topology::mapping
