#include "topology/mapping/hierarchical.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <future>
#include <numeric>
#include <thread>
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

using Numbers = std::vector<std::uint32_t>;

// By vCPU: a PU. Neighbours in `order` beside each other, in blocks where there are more of them than PUs.
Numbers laid_out(const Problem& problem, const Numbers& order) {
    const auto used = std::min(problem.vcpus, problem.costs.pus());
    Numbers pus(problem.vcpus);
    for (std::uint64_t i = 0; i < problem.vcpus; ++i)
        pus[order[i]] = static_cast<std::uint32_t>(i * used / problem.vcpus);
    return pus;
}

// From each vCPU to whom it has the most to say to of those that are left, and back where nobody is: what is
// a ring or a chain, whatever its numbers, comes out as one.
Numbers walk(const Problem& problem) {
    Numbers order, way;
    std::vector<bool> is_left(problem.vcpus, true);
    const auto visit = [&](std::uint32_t vcpu) {
        is_left[vcpu] = false;
        order.push_back(vcpu);
        way.push_back(vcpu);
    };
    for (std::uint32_t start = 0; start < problem.vcpus; ++start) {
        if (is_left[start])
            visit(start);
        while (!way.empty()) {
            const Problem::Edge* next = nullptr;
            for (const auto& edge : problem.edges[way.back()])
                if (is_left[edge.to] && (next == nullptr || edge.weight > next->weight))
                    next = &edge;
            if (next != nullptr)
                visit(next->to);
            else
                way.pop_back();
        }
    }
    return order;
}

Mapping descended(const Problem& problem, Numbers pus) {
    LiveCost live{problem, std::move(pus)};
    Budget budget{descent_units};
    descend(problem, live, budget);
    return {.pus = live.pus(), .cost = live.total()};
}

} // namespace

Mapping map_hierarchically(const Problem& problem) {
    SplitMix64 numbers{problem.vcpus};
    const auto tree = unit_tree(problem.costs);
    // Descents draw no numbers, so they may run beside the next division, and nothing depends on who is
    // first. No more at a time than there are CPUs: each has a large table of its own.
    const std::size_t most_at_once = std::max(2U, std::thread::hardware_concurrency());
    std::deque<std::future<Mapping>> descents;
    std::vector<Mapping> found;
    const auto take_oldest = [&] {
        found.push_back(descents.front().get());
        descents.pop_front();
    };
    const auto add = [&](Numbers pus) {
        if (descents.size() == most_at_once)
            take_oldest();
        descents.push_back(std::async(descended, std::cref(problem), std::move(pus)));
    };
    Numbers by_number(problem.vcpus);
    std::iota(by_number.begin(), by_number.end(), 0U);
    add(laid_out(problem, by_number));
    add(laid_out(problem, walk(problem)));
    constexpr std::array fillings{Filling::loose, Filling::even, Filling::tight};
    constexpr std::array<std::uint32_t, 4> blurs{0, 16, 32, 48};
    for (std::size_t i = 0; i < beginnings(problem); ++i)
        add(divide(problem, tree, fillings.at(i % fillings.size()),
                   blurs.at(i / fillings.size() % blurs.size()), numbers));
    while (!descents.empty())
        take_oldest();
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
