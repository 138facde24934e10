#include "topology/mapping/map.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "random_host.hpp"
#include "topology/mapping/exact.hpp"
#include "topology/mapping/hierarchical.hpp"
#include "topology/mapping/live_cost.hpp"
#include "topology/mapping/local_search.hpp"
#include "topology/mapping/scotch.hpp"

namespace nestbed::topology::mapping {
namespace {

using Numbers = std::vector<std::uint32_t>;

// Every placement there is, one after the other: the oracle knows no symmetry and no bound but the best so
// far.
class BruteForce {
public:
    explicit BruteForce(const Problem& problem) : _problem{problem}, _load(problem.costs.pus()) {}

    std::int64_t run() {
        place(0);
        return _best;
    }

private:
    void place(std::int64_t cost) {
        if (cost >= _best)
            return;
        const auto vcpu = static_cast<std::uint32_t>(_pus.size());
        if (vcpu == _problem.vcpus) {
            if (is_fair(_problem, _pus))
                _best = cost;
            return;
        }
        for (std::uint32_t pu = 0; pu < _problem.costs.pus(); ++pu) {
            if (_load[pu] == _problem.base_load() + 1)
                continue;
            auto more = cost;
            for (std::uint32_t other = 0; other < vcpu; ++other)
                more += std::int64_t{_problem.weight(vcpu, other)} * _problem.costs.between(pu, _pus[other]);
            ++_load[pu];
            _pus.push_back(pu);
            place(more);
            _pus.pop_back();
            --_load[pu];
        }
    }

    const Problem& _problem;
    Numbers _load, _pus;
    std::int64_t _best = std::numeric_limits<std::int64_t>::max();
};

Problem random_problem(SplitMix64& numbers, const HostLimits& limits, std::uint32_t vcpus,
                       std::uint64_t percent) {
    const auto host = random_host(numbers, limits);
    return make_problem(random_traffic(numbers, vcpus, percent), host, *usable_part(host));
}

TEST(LiveCost, AgreesWithCountingAnew) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE(seed);
        SplitMix64 numbers{seed};
        const auto problem = random_problem(numbers, {}, 2 + static_cast<std::uint32_t>(numbers.below(40)),
                                            10 + numbers.below(90));
        Numbers pus;
        for (std::uint32_t i = 0; i < problem.vcpus; ++i)
            pus.push_back(i % problem.costs.pus());
        LiveCost live{problem, pus};
        ASSERT_EQ(live.total(), cost_of(problem, pus));
        for (int step = 0; step < 60; ++step) {
            const auto a = static_cast<std::uint32_t>(numbers.below(problem.vcpus));
            const auto b = static_cast<std::uint32_t>(numbers.below(problem.vcpus));
            const auto to = static_cast<std::uint32_t>(numbers.below(problem.costs.pus()));
            const auto before = live.total();
            if (step % 2 == 0) {
                const auto change = live.change_of_move(a, to);
                live.move(a, to);
                ASSERT_EQ(live.total() - before, change);
            } else if (live.pus()[a] != live.pus()[b]) {
                const auto change = live.change_of_swap(a, b);
                live.swap(a, b);
                ASSERT_EQ(live.total() - before, change);
            }
            ASSERT_EQ(live.total(), cost_of(problem, live.pus()));
        }
    }
}

TEST(LiveCost, ManyNodesTakeNoLongerThanTheirTable) {
    constexpr std::uint32_t vcpus = 4096, nodes = 1024;
    Host host;
    host.nodes.resize(nodes);
    for (std::uint32_t i = 0; i < nodes; ++i)
        host.pus.push_back({.os_index = i, .core = i, .llc = i, .package = i, .node = i});
    const auto problem =
        make_problem(*traffic_of(*parse_traffic_source("ring"), vcpus), host, *usable_part(host));
    Numbers pus;
    for (std::uint32_t i = 0; i < vcpus; ++i)
        pus.push_back(i / 4);
    const auto start = std::chrono::steady_clock::now();
    const LiveCost live{problem, pus};
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{1}) << "vCPUs x nodes^2 is 4e9";
    EXPECT_EQ(live.total(), cost_of(problem, pus));
}

// Small hosts of every kind, with fewer vCPUs than PUs and with more.
TEST(Map, IsTheOptimumWhereAllCanBeTried) {
    std::int64_t worst_permille = 0;
    int cases = 0, heuristic_optimal = 0;
    for (std::uint64_t seed = 1; seed <= 120; ++seed) {
        SCOPED_TRACE(seed);
        SplitMix64 numbers{seed};
        const HostLimits limits{.packages = 2, .nodes = 2, .llcs = 2, .cores = 2, .threads = 2};
        const auto vcpus = 2 + static_cast<std::uint32_t>(numbers.below(7));
        const auto problem = random_problem(numbers, limits, vcpus, 20 + numbers.below(81));
        if (vcpus > 5 && problem.costs.pus() > (vcpus > 6 ? 7U : 9U))
            continue; // the oracle would take minutes
        const auto optimum = BruteForce{problem}.run();
        const auto mapped = map(problem);
        ASSERT_TRUE(is_fair(problem, mapped.pus));
        ASSERT_EQ(mapped.cost, cost_of(problem, mapped.pus));
        ASSERT_EQ(mapped.cost, optimum);
        ASSERT_TRUE(mapped.is_optimal);
        // From a beginning that leaves all to the search.
        Mapping poor;
        for (std::uint32_t i = 0; i < vcpus; ++i)
            poor.pus.push_back(i % problem.costs.pus());
        poor.cost = cost_of(problem, poor.pus);
        const auto searched = map_exactly(problem, poor);
        ASSERT_TRUE(searched);
        ASSERT_EQ(searched->cost, optimum);
        ASSERT_EQ(cost_of(problem, searched->pus), optimum);
        // What serves the large cases, held to 2 % here.
        const auto quick = map_hierarchically(problem);
        ASSERT_TRUE(is_fair(problem, quick.pus));
        ASSERT_EQ(quick.cost, cost_of(problem, quick.pus));
        ASSERT_LE(quick.cost * 100, optimum * 102);
        if (optimum > 0)
            worst_permille = std::max(worst_permille, quick.cost * 1000 / optimum - 1000);
        heuristic_optimal += quick.cost == optimum ? 1 : 0;
        ++cases;
    }
    EXPECT_GT(cases, 60);
    std::fputs(fmt::format("{} cases: the hierarchical method has the optimum in {}, at worst {} permille "
                           "more\n",
                           cases, heuristic_optimal, worst_permille)
                   .c_str(),
               stdout);
}

TEST(Exact, GivesUpWhereItIsTold) {
    SplitMix64 numbers{3};
    const auto problem = random_problem(numbers, {.packages = 4, .nodes = 4}, 8, 100);
    const auto found = map_hierarchically(problem);
    EXPECT_FALSE(map_exactly(problem, found, 10));
    const auto large = random_problem(numbers, {}, most_vcpus_exactly + 1, 50);
    EXPECT_FALSE(map_exactly(large, map_hierarchically(large)));
}

TEST(Map, IsFairAndTheSameEachTime) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        SCOPED_TRACE(seed);
        SplitMix64 numbers{seed * 77};
        const auto vcpus = 1 + static_cast<std::uint32_t>(numbers.below(80));
        const auto problem = random_problem(numbers, {}, vcpus, numbers.below(101));
        const auto first = map(problem);
        ASSERT_EQ(first.pus.size(), vcpus);
        ASSERT_TRUE(is_fair(problem, first.pus));
        ASSERT_EQ(first.cost, cost_of(problem, first.pus));
        ASSERT_EQ(map(problem).pus, first.pus);
        Numbers in_order;
        for (std::uint64_t i = 0; i < vcpus; ++i)
            in_order.push_back(static_cast<std::uint32_t>(i * std::min(vcpus, problem.costs.pus()) / vcpus));
        ASSERT_LE(first.cost, cost_of(problem, in_order));
    }
}

struct LargeCase {
    std::string host;
    std::uint32_t vcpus;
    std::string traffic;
};

// Groups of vCPUs with more to say among themselves, and a little noise between all.
Traffic clustered(SplitMix64& numbers, std::uint32_t vcpus, std::uint32_t group) {
    Traffic traffic;
    traffic.of.resize(vcpus);
    for (std::uint32_t a = 0; a < vcpus; ++a)
        for (std::uint32_t b = a + 1; b < vcpus; ++b)
            if (a / group == b / group)
                add_traffic(traffic, a, b, static_cast<double>(50 + numbers.below(100)));
            else if (numbers.below(50) == 0)
                add_traffic(traffic, a, b, static_cast<double>(1 + numbers.below(5)));
    return traffic;
}

// The k-th busiest vCPU has 1/k of the first one's weight, and each pair the product of both.
Traffic power_law(SplitMix64& numbers, std::uint32_t vcpus) {
    Traffic traffic;
    traffic.of.resize(vcpus);
    for (std::uint32_t a = 0; a < vcpus; ++a)
        for (std::uint32_t b = a + 1; b < vcpus; ++b)
            if (const auto most = 1'000'000 / ((a + 1) * (b + 1)); most > 0 && numbers.below(4) == 0)
                add_traffic(traffic, a, b, static_cast<double>(1 + numbers.below(most)));
    return traffic;
}

Traffic grid(std::uint32_t vcpus, std::uint32_t width) {
    Traffic traffic;
    traffic.of.resize(vcpus);
    for (std::uint32_t i = 0; i < vcpus; ++i) {
        if ((i + 1) % width != 0 && i + 1 < vcpus)
            add_traffic(traffic, i, i + 1, 1);
        if (i + width < vcpus)
            add_traffic(traffic, i, i + width, 1);
    }
    return traffic;
}

// "KIND" or "KIND:N"; what is none of these is a traffic source.
Traffic traffic_named(const std::string& kind, SplitMix64& numbers, std::uint32_t vcpus) {
    const auto colon = kind.find(':');
    const auto name = kind.substr(0, colon);
    const auto number =
        colon == std::string::npos ? 0U : static_cast<std::uint32_t>(std::stoul(kind.substr(colon + 1)));
    if (name == "random")
        return random_traffic(numbers, vcpus, 10);
    if (name == "dense")
        return random_traffic(numbers, vcpus, 100);
    if (name == "power")
        return power_law(numbers, vcpus);
    if (name == "clustered")
        return clustered(numbers, vcpus, number);
    if (name == "grid")
        return grid(vcpus, number);
    return *traffic_of(*parse_traffic_source(kind), vcpus);
}

class AgainstScotch : public testing::TestWithParam<LargeCase> {};

TEST_P(AgainstScotch, CostsNoMore) {
    if (!has_scotch())
        GTEST_SKIP() << "built without Scotch";
    const auto& [source, vcpus, kind] = GetParam();
    SplitMix64 numbers{vcpus};
    const auto traffic = traffic_named(kind, numbers, vcpus);
    const auto host = discover(source);
    ASSERT_TRUE(host);
    const auto problem = make_problem(shuffled(traffic, numbers), *host, *usable_part(*host));
    const auto start = std::chrono::steady_clock::now();
    const auto ours = map(problem);
    const auto middle = std::chrono::steady_clock::now();
    // What it draws depends on a seed, so it may try as often as suffices to see its best.
    auto theirs = map_with_scotch(problem);
    const auto end = std::chrono::steady_clock::now();
    ASSERT_TRUE(theirs) << theirs.error().message();
    ASSERT_TRUE(is_fair(problem, ours.pus));
    ASSERT_TRUE(is_fair(problem, theirs->pus));
    ASSERT_EQ(map_with_scotch(problem)->pus, theirs->pus);
    for (std::uint32_t seed = 2; seed <= 3; ++seed)
        if (auto again = map_with_scotch(problem, seed); again && again->cost < theirs->cost)
            theirs = std::move(again);
    // The optimum of these is known to both. Where neither has it, another version of Scotch draws otherwise,
    // and 1 % more than the one at hand is as good.
    const bool is_regular = kind == "ring" || kind == "pairs" || kind.starts_with("grid") ||
                            kind.starts_with("groups") || kind.starts_with("client-server");
    EXPECT_LE(ours.cost * 1000, theirs->cost * (is_regular ? 1000 : 1010));
    using Seconds = std::chrono::duration<double>;
    std::fputs(
        fmt::format("{:<34} {:>5} {:<16} ours {:>14} in {:.2f} s, Scotch's {:>14} in {:.2f} s: {:.3f}\n",
                    source, vcpus, kind, ours.cost, Seconds{middle - start}.count(), theirs->cost,
                    Seconds{end - middle}.count(),
                    static_cast<double>(ours.cost) / static_cast<double>(theirs->cost))
            .c_str(),
        stdout);
}

// Every kind at one size; of the larger ones those that are hard, on hosts of 4 to 16 nodes.
std::vector<LargeCase> large_cases() {
    std::vector<LargeCase> cases;
    for (const auto* kind : {"ring", "pairs", "groups:8", "groups:5", "client-server:4", "random", "dense",
                             "power", "clustered:12", "clustered:6", "clustered:20", "grid:8"})
        cases.push_back({"numa:4 l3:2 core:4 pu:2", 64, kind});
    for (const auto* kind : {"clustered:12", "grid:10", "groups:7"})
        cases.push_back({"pack:7 [numa] l3:2 core:4 pu:2", 100, kind});
    for (const auto* kind : {"clustered:12", "power"})
        cases.push_back({"pack:6 numa:2 l3:2 core:4 pu:2", 100, kind});
    for (const auto* kind : {"dense", "clustered:12"})
        cases.push_back({"pack:8 [numa] l3:2 core:8 pu:2", 256, kind});
    for (const auto* kind : {"ring", "groups:10", "random", "clustered:12"})
        cases.push_back({"pack:8 [numa] l3:2 core:8 pu:2", 200, kind}); // fewer than PUs
    cases.push_back({"pack:12 [numa] l3:4 core:8 pu:1", 288, "clustered:20"});
    for (const auto* kind : {"clustered:12", "grid:32", "ring"})
        cases.push_back({"pack:16 [numa] l3:2 core:16 pu:2", 1024, kind});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(All, AgainstScotch, testing::ValuesIn(large_cases()), [](const auto& one) {
    auto name = fmt::format("{}_{}_{}", one.param.traffic, one.param.vcpus, one.index);
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '-' || c == ':'; }, '_');
    return name;
});

} // namespace
} // namespace nestbed::topology::mapping
