#include "topology/mapping/hierarchical.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "topology/mapping/division.hpp"
#include "topology/mapping/local_search.hpp"

namespace nestbed::topology::mapping {

namespace {

constexpr std::int64_t descent_units = 3'000'000; // from each beginning
constexpr std::int64_t shaking_units = 3'000'000; // of all that are shaken, at most
constexpr std::int64_t shaking_units_per_vcpu = 15'000;

// A division and a descent take about the square of the vCPUs, or the edges where these are many.
std::size_t beginnings(const Problem& problem) {
    constexpr std::size_t worth = 2'000'000, fewest = 3, most = 64;
    auto work = std::size_t{problem.vcpus} * problem.vcpus + 1;
    for (const auto& each : problem.edges)
        work += each.size();
    return std::clamp(worth / work, fewest, most);
}

bool is_cheaper(const Mapping& a, const Mapping& b) {
    return a.cost < b.cost;
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
        LiveCost live{problem, std::move(pus)};
        Budget budget{descent_units};
        descend(problem, live, budget);
        found.push_back({.pus = live.pus(), .cost = live.total()});
    };
    add(in_order(problem));
    constexpr std::array fillings{Filling::loose, Filling::even, Filling::tight};
    constexpr std::array<std::uint32_t, 4> blurs{0, 16, 32, 48};
    for (std::size_t i = 0; i < beginnings(problem); ++i)
        add(divide(problem, tree, fillings.at(i % fillings.size()),
                   blurs.at(i / fillings.size() % blurs.size()), numbers));
    std::stable_sort(found.begin(), found.end(), is_cheaper);
    // The same cost is mostly the same placement.
    found.erase(std::unique(found.begin(), found.end(),
                            [](const Mapping& a, const Mapping& b) { return a.cost == b.cost; }),
                found.end());
    constexpr std::size_t shaken_of_few = 4;
    constexpr std::uint32_t few_vcpus = 256;
    found.resize(std::min(found.size(), problem.vcpus <= few_vcpus ? shaken_of_few : 1));
    const auto units = std::min(shaking_units, shaking_units_per_vcpu * problem.vcpus) /
                       static_cast<std::int64_t>(found.size());
    for (auto& each : found) {
        LiveCost live{problem, std::move(each.pus)};
        Budget budget{units};
        shake(problem, live, budget, numbers);
        each = {.pus = live.pus(), .cost = live.total()};
    }
    return std::move(*std::min_element(found.begin(), found.end(), is_cheaper));
}

} // namespace nestbed::topology::mapping
