#include "topology/placement.hpp"

#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "topology/apportion.hpp"

namespace nestbed::topology {
namespace {

using testing::ElementsAre;

Host host_of(const std::string& source) {
    auto host = discover(source);
    EXPECT_TRUE(host) << source;
    return host.value_or(Host{});
}

TEST(Apportion, SumsUpAndStaysWithinOneOfTheExactShare) {
    const std::vector<std::vector<std::uint64_t>> all_weights{
        {1}, {1, 1}, {1, 2, 3}, {16, 16, 16, 1}, {7, 0, 5}, std::vector<std::uint64_t>(24, 16)};
    for (const auto& weights : all_weights)
        for (const std::uint64_t total :
             {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{7}, std::uint64_t{1024},
              std::uint64_t{1} << 40, (std::uint64_t{1} << 52) + 3}) {
            const auto sum = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
            const auto shares = apportion(total, weights);
            ASSERT_EQ(shares.size(), weights.size());
            EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), std::uint64_t{0}), total);
            for (std::size_t i = 0; i < shares.size(); ++i) {
                const auto exact = static_cast<long double>(total) * static_cast<long double>(weights[i]) /
                                   static_cast<long double>(sum);
                EXPECT_LT(std::abs(static_cast<long double>(shares[i]) - exact), 1.0L) << total;
            }
        }
}

TEST(Apportion, OfEqualRemaindersTheFirstWins) {
    EXPECT_THAT(apportion(7, std::vector<std::uint64_t>{1, 1, 1, 1}), ElementsAre(2, 2, 2, 1));
    EXPECT_THAT(apportion(2, std::vector<std::uint64_t>{1, 1, 1, 1}), ElementsAre(1, 1, 0, 0));
    EXPECT_THAT(apportion(10, std::vector<std::uint64_t>{1, 2}), ElementsAre(3, 7));
    EXPECT_THAT(apportion(10, std::vector<std::uint64_t>{0, 0}), ElementsAre(0, 0));
}

TEST(ScatterOrder, TurnsOverPackagesThenNodesThenCachesThenCores) {
    const auto host = host_of("pack:2 numa:2 l3:2 core:2 pu:2");
    const auto usable = usable_part(host);
    ASSERT_TRUE(usable);
    const auto order = scatter_order(host, *usable);
    ASSERT_EQ(order.size(), 32U);
    // 16 PUs a package, 8 a node, 4 a cache, 2 a core.
    EXPECT_EQ(std::vector(order.begin(), order.begin() + 10),
              (std::vector<std::uint32_t>{0, 16, 8, 24, 4, 20, 12, 28, 2, 18}));
    std::set<std::uint32_t> cores;
    for (std::size_t i = 0; i < 16; ++i)
        EXPECT_TRUE(cores.insert(host.pus[order[i]].core).second) << "no sibling before every core has one";
    EXPECT_EQ(std::set(order.begin(), order.end()).size(), 32U);
}

TEST(ScatterOrder, SiblingsComeLastOnUnevenHostsToo) {
    const auto host = host_of(std::string{NESTBED_TEST_DATA} + "/hwloc/16em64t-4s2c2t-offlines.xml");
    const auto usable = usable_part(host);
    ASSERT_TRUE(usable);
    std::vector<std::uint32_t> os_indexes;
    for (const auto pu : scatter_order(host, *usable))
        os_indexes.push_back(host.pus[pu].os_index);
    EXPECT_THAT(os_indexes, ElementsAre(0, 1, 6, 3, 4, 15, 12)) << "PU 12 is the sibling of PU 4";
}

TEST(UsablePart, SmtWidthWhereItIsUniform) {
    EXPECT_EQ(usable_part(host_of("pack:2 core:4 pu:2"))->smt, 2U);
    EXPECT_EQ(usable_part(host_of("core:4 pu:8"))->smt, 8U);
    EXPECT_EQ(usable_part(host_of("core:4 pu:1"))->smt, 1U);
    auto host = host_of("core:4 pu:2");
    host.pus[3].allowed = false;
    EXPECT_EQ(usable_part(host)->smt, 1U);
}

TEST(UsablePart, NothingAllowedIsAHostThatLacks) {
    auto without_pus = host_of("core:2 pu:2");
    for (auto& pu : without_pus.pus)
        pu.allowed = false;
    auto without_nodes = host_of("numa:2 core:2 pu:2");
    for (auto& node : without_nodes.nodes)
        node.allowed = false;
    for (const auto& host : {without_pus, without_nodes, Host{}}) {
        const auto usable = usable_part(host);
        ASSERT_FALSE(usable);
        EXPECT_EQ(usable.error().kind, ErrorKind::host_lacks);
        EXPECT_FALSE(usable.error().remedy.empty());
    }
}

TEST(UsablePart, TheNearestNodeWithMemoryIsHome) {
    auto host = host_of("numa:3(memory=1GB) core:1 pu:1");
    host.distances = {{10, 30, 15}, {30, 10, 12}, {15, 12, 10}};
    host.nodes[0].memory_bytes = 0;
    EXPECT_THAT(usable_part(host)->home, ElementsAre(2, 1, 2));
    host.nodes[2].allowed = false;
    EXPECT_THAT(usable_part(host)->home, ElementsAre(1, 1, 1));
}

TEST(ChoosePus, NumaKeepsSiblingsTogetherWhereItCan) {
    const auto host = host_of("numa:4 core:4 pu:2");
    const auto usable = usable_part(host);
    ASSERT_TRUE(usable);
    // 10 vCPUs are 5 cores: 2, 1, 1, 1, and not 3, 3, 2, 2 PUs.
    EXPECT_THAT(choose_pus(Policy::numa, 10, 0, host, *usable),
                ElementsAre(0, 1, 2, 3, 8, 9, 16, 17, 24, 25));
    // A guest with one thread a core has no siblings to keep.
    EXPECT_THAT(choose_pus(Policy::numa, 10, 1, host, *usable),
                ElementsAre(0, 1, 2, 8, 9, 10, 16, 17, 24, 25));
    // An odd number cannot be paired.
    EXPECT_THAT(choose_pus(Policy::numa, 5, 0, host, *usable), ElementsAre(0, 1, 8, 16, 24));
}

TEST(ChoosePus, ACoreWithAnOddNumberOfPusPartsNoPairs) {
    auto lame = host_of("core:4 pu:2");
    lame.pus[1].allowed = false;
    const auto wide = host_of("core:2 pu:3");
    EXPECT_THAT(choose_pus(Policy::smt_pair, 7, 0, lame, usable_part(lame).value()),
                ElementsAre(2, 3, 4, 5, 6, 7, 0));
    EXPECT_THAT(choose_pus(Policy::smt_pair, 6, 0, wide, usable_part(wide).value()),
                ElementsAre(0, 1, 3, 4, 2, 5));
}

TEST(ChoosePus, OvercommittedInBlocksOrByTurns) {
    const auto host = host_of("core:3 pu:1");
    const auto usable = usable_part(host);
    ASSERT_TRUE(usable);
    EXPECT_THAT(choose_pus(Policy::compact, 7, 0, host, *usable), ElementsAre(0, 0, 0, 1, 1, 2, 2));
    EXPECT_THAT(choose_pus(Policy::scatter, 7, 0, host, *usable), ElementsAre(0, 1, 2, 0, 1, 2, 0));
    EXPECT_THAT(choose_pus(Policy::none, 7, 0, host, *usable), ElementsAre());
}

} // namespace
} // namespace nestbed::topology
