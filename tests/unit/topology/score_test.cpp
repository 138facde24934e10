#include "topology/score.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "random_host.hpp"
#include "topology/placement.hpp"

namespace nestbed::topology {
namespace {

using testing::ElementsAre;

Plan plan_by(const std::string& policy, std::uint32_t vcpus, const Host& host) {
    auto made = plan({.vcpus = vcpus,
                      .memory_bytes = 512 * MiB,
                      .policy = parse_policy(policy).value(),
                      .page_size = PageSize::base,
                      .shape = {}},
                     host);
    EXPECT_TRUE(made) << made.error().message();
    return made.value_or(Plan{});
}

Score score_of(const std::string& policy, std::uint32_t vcpus, const Host& host, const std::string& traffic) {
    return *score(plan_by(policy, vcpus, host), host, *traffic_of(*parse_traffic_source(traffic), vcpus));
}

// PUs by vCPU.
std::vector<std::uint32_t> pus_by(const std::string& policy, std::uint32_t vcpus, const std::string& source) {
    std::vector<std::uint32_t> pus;
    for (const auto& vcpu : plan_by(policy, vcpus, *discover(source)).vcpus)
        pus.push_back(vcpu.pus.at(0));
    return pus;
}

TEST(NewPolicies, TakePusInTheirOrder) {
    const std::string host = "numa:2 l3:2 core:2 pu:2"; // 8 PUs a node, 4 a cache
    EXPECT_THAT(pus_by("llc", 6, host), ElementsAre(0, 2, 1, 3, 4, 6));
    EXPECT_THAT(pus_by("smt-avoid", 10, host), ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 1, 3));
    EXPECT_THAT(pus_by("smt-pair", 8, host), ElementsAre(0, 1, 8, 9, 4, 5, 12, 13));
    EXPECT_THAT(pus_by("interleave", 5, host), ElementsAre(0, 8, 1, 9, 2));
    EXPECT_EQ(pus_by("random:7", 16, host), pus_by("random:7", 16, host));
    EXPECT_NE(pus_by("random:7", 16, host), pus_by("random:8", 16, host));
    // Once around, and from the beginning again.
    EXPECT_THAT(pus_by("smt-avoid", 6, "core:2 pu:2"), ElementsAre(0, 2, 1, 3, 0, 2));
    EXPECT_THAT(pus_by("traffic:pairs", 4, host), testing::SizeIs(4));
}

TEST(Score, OfPlacementsThatAreKnown) {
    const auto host = *discover("numa:2(memory=8GB) l3:2 core:2 pu:2");
    const auto paired = score_of("compact", 8, host, "pairs");
    ASSERT_TRUE(paired.pairs);
    EXPECT_EQ(paired.pairs->mean_cost, 2);
    EXPECT_EQ(paired.pairs->shared_core, 1);
    EXPECT_EQ(paired.pairs->shared_llc, 1);
    EXPECT_EQ(paired.pairs->mean_numa_distance, 10);
    EXPECT_EQ(paired.stranded_cores, 4U);
    EXPECT_EQ(score_of("compact", 6, host, "pairs").stranded_cores, 3U) << "one for each that shares";
    const auto parted = score_of("interleave", 8, host, "pairs");
    EXPECT_EQ(parted.pairs->mean_cost, 20);
    EXPECT_EQ(parted.pairs->worst_numa_distance, 20U);
    EXPECT_EQ(parted.pairs->shared_llc, 0);
    const auto crowded = score_of("compact", 40, host, "ring");
    EXPECT_EQ(crowded.max_vcpus_per_pu, 3U);
    EXPECT_EQ(crowded.mean_vcpus_per_pu, 2.5);
    EXPECT_EQ(crowded.stranded_cores, 0U);
    EXPECT_THAT(crowded.memory_locality, ElementsAre(1, 1));
    const auto unpinned = score_of("none", 8, host, "ring");
    EXPECT_FALSE(unpinned.pairs);
    EXPECT_THAT(unpinned.memory_locality, ElementsAre(0));
    EXPECT_THAT(rank({unpinned, parted, paired}), ElementsAre(2, 1, 0));
}

TEST(Score, BothDirectionsOfASlitCount) {
    auto host = *discover("numa:2(memory=8GB) core:2 pu:1");
    host.distances = {{10, 20}, {31, 10}};
    const auto parted = score_of("interleave", 2, host, "pairs");
    ASSERT_TRUE(parted.pairs);
    EXPECT_EQ(parted.pairs->worst_numa_distance, 31U);
    EXPECT_EQ(parted.pairs->mean_numa_distance, 25.5);
}

TEST(Alternatives, TellWhatTheSecondBestCosts) {
    // Two pairs on the siblings of two cores: a vCPU beside its partner could only go away from it.
    const auto host = *discover("core:3 pu:2");
    const auto made = plan_by("compact", 4, host);
    const auto pairs = *traffic_of(*parse_traffic_source("pairs"), 4);
    const auto found = alternatives(made, host, pairs);
    ASSERT_TRUE(found);
    ASSERT_EQ(found->size(), 4U);
    for (const auto& each : *found) {
        EXPECT_DOUBLE_EQ(each.share, 0.25);
        EXPECT_DOUBLE_EQ(each.change, 0.75) << "from 2 to 5 within the cache, of 4 in all";
        EXPECT_EQ(each.pu, 4U);
        EXPECT_FALSE(each.partner);
    }
    const auto alone = alternatives(plan_by("compact", 1, *discover("core:1 pu:1")), *discover("core:1 pu:1"),
                                    *traffic_of(*parse_traffic_source("ring"), 1));
    EXPECT_FALSE(alone->front().pu);
}

TEST(Alternatives, AShareIsAsSmallAsTheTraffic) {
    const auto host = *discover("core:3 pu:2");
    Traffic skewed;
    skewed.of.resize(4);
    add_traffic(skewed, 0, 1, 1e12);
    add_traffic(skewed, 2, 3, 1);
    const auto found = alternatives(plan_by("compact", 4, host), host, skewed);
    ASSERT_TRUE(found);
    EXPECT_NEAR(found->at(0).share, 0.5, 1e-9);
    EXPECT_NEAR(found->at(2).share, 0.5e-12, 1e-20);
}

// Over hosts that nobody thought of: fair, where it is allowed, nothing lost, the same each time, and the
// traffic policy the cheapest of all.
TEST(AnyHost, PlansKeepTheirPromises) {
    int planned = 0;
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        SplitMix64 numbers{seed * 1000};
        const auto host = random_host(numbers, {});
        const auto usable = usable_part(host);
        ASSERT_TRUE(usable);
        std::map<std::uint32_t, const Pu*> pus;
        for (const auto& pu : host.pus)
            pus[pu.os_index] = &pu;
        const auto vcpus = 1 + static_cast<std::uint32_t>(numbers.below(40));
        const auto ring = *traffic_of(*parse_traffic_source("ring"), vcpus);
        double cheapest = 0;
        std::map<std::string, double> costs;
        for (const auto& policy : all_policies()) {
            SCOPED_TRACE(fmt::format("seed {}, {} vCPUs, {}", seed, vcpus, to_string(policy)));
            const PlanRequest request{.vcpus = vcpus,
                                      .memory_bytes = GiB,
                                      .policy = policy,
                                      .page_size = PageSize::base,
                                      .shape = {}};
            const auto made = plan(request, host);
            ASSERT_TRUE(made) << made.error().message();
            ASSERT_EQ(made->memory_bytes(), GiB);
            const auto again = plan(request, host);
            std::map<std::uint32_t, std::uint32_t> load;
            for (std::uint32_t i = 0; i < vcpus; ++i) {
                ASSERT_EQ(again->vcpus[i].pus, made->vcpus[i].pus);
                for (const auto pu : made->vcpus[i].pus) {
                    ASSERT_TRUE(pus.at(pu)->allowed);
                    ++load[pu];
                }
            }
            if (policy == Policy::none)
                continue;
            ASSERT_EQ(load.size(), std::min<std::size_t>(vcpus, usable->pus.size()));
            if (policy != Policy::numa) { // which is fair to nodes first
                ASSERT_LE(made->max_vcpus_per_pu, (vcpus + load.size() - 1) / load.size());
            }
            for (const auto& node : made->nodes)
                for (const auto& on_host : host.nodes)
                    if (on_host.os_index == node.host_node) {
                        ASSERT_TRUE(on_host.allowed && on_host.memory_bytes >= node.memory_bytes);
                    }
            const auto scored = score(*made, host, ring);
            ASSERT_TRUE(scored && scored->pairs);
            costs[to_string(policy)] = scored->pairs->mean_cost;
            cheapest =
                costs.size() == 1 ? scored->pairs->mean_cost : std::min(cheapest, scored->pairs->mean_cost);
            ++planned;
        }
        EXPECT_LE(costs["traffic:ring"], cheapest * 1.0001) << seed;
    }
    EXPECT_GT(planned, 200);
}

} // namespace
} // namespace nestbed::topology
