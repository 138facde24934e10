#include "topology/mapping/hierarchical.hpp"

#include <algorithm>
#include <utility>

#include "topology/mapping/division.hpp"
#include "topology/mapping/local_search.hpp"

namespace nestbed::topology::mapping {

namespace {

constexpr std::int64_t descent_units = 3'000'000; // from each beginning that is followed
constexpr std::int64_t shaking_units = 3'000'000; // of the best, at most
constexpr std::int64_t shaking_units_per_vcpu = 30'000;
constexpr std::uint32_t few_vcpus = 256; // more beginnings and more that are followed, for little

// Divisions differ by what was drawn; those of few edges cost nothing.
std::size_t beginnings(const Problem& problem) {
    constexpr std::size_t edges_worth = 1'500'000;
    std::size_t edges = 1;
    for (const auto& each : problem.edges)
        edges += each.size();
    return std::clamp<std::size_t>(edges_worth / edges, 2, problem.vcpus <= few_vcpus ? 32 : 8);
}

// Neighbours by number beside each other, in blocks where there are more of them than PUs.
std::vector<std::uint32_t> in_order(const Problem& problem) {
    const auto used = std::min(problem.vcpus, problem.costs.pus());
    std::vector<std::uint32_t> pus;
    for (std::uint64_t vcpu = 0; vcpu < problem.vcpus; ++vcpu)
        pus.push_back(static_cast<std::uint32_t>(vcpu * used / problem.vcpus));
    return pus;
}

} // namespace

Mapping map_hierarchically(const Problem& problem) {
    SplitMix64 numbers{problem.vcpus};
    const auto tree = unit_tree(problem.costs);
    std::vector<Mapping> found;
    const auto add = [&](std::vector<std::uint32_t> pus) {
        const auto cost = cost_of(problem, pus);
        found.push_back({.pus = std::move(pus), .cost = cost});
    };
    add(in_order(problem));
    for (auto left = beginnings(problem); left > 0; --left)
        add(divide(problem, tree, left % 2 == 0 ? Filling::tight : Filling::loose, numbers));
    std::stable_sort(found.begin(), found.end(),
                     [](const Mapping& a, const Mapping& b) { return a.cost < b.cost; });
    constexpr std::size_t followed = 3, followed_of_few = 8;
    found.resize(std::min(found.size(), problem.vcpus <= few_vcpus ? followed_of_few : followed));
    for (auto& each : found) {
        LiveCost live{problem, std::move(each.pus)};
        Budget budget{descent_units};
        descend(problem, live, budget);
        each = {.pus = live.pus(), .cost = live.total()};
    }
    auto& best = *std::min_element(found.begin(), found.end(),
                                   [](const Mapping& a, const Mapping& b) { return a.cost < b.cost; });
    LiveCost live{problem, std::move(best.pus)};
    Budget budget{std::min(shaking_units, shaking_units_per_vcpu * problem.vcpus)};
    shake(problem, live, budget, numbers);
    return {.pus = live.pus(), .cost = live.total()};
}

} // namespace nestbed::topology::mapping
