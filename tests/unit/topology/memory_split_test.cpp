#include "topology/memory_split.hpp"

#include <cstdint>
#include <numeric>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SplitMemory, Table) {
    struct Case {
        std::uint64_t bytes;
        PageSize page_size;
        std::vector<std::uint64_t> weights;
        std::vector<std::uint64_t> shares;
    };
    const Case cases[] = {
        {12 * KiB, PageSize::base, {1}, {12 * KiB}},
        {12 * KiB, PageSize::base, {1, 1}, {8 * KiB, 4 * KiB}},
        {4 * GiB, PageSize::base, {1, 3}, {GiB, 3 * GiB}},
        {4 * GiB, PageSize::huge_1g, {1, 1, 1}, {2 * GiB, GiB, GiB}},
        // Each virtual node gets a page, however few vCPUs it has.
        {3 * GiB, PageSize::huge_1g, {1, 100, 1}, {GiB, GiB, GiB}},
        {10 * MiB, PageSize::huge_2m, {1, 1}, {6 * MiB, 4 * MiB}},
        // Boundaries on 2 MiB, and what is left over goes to the last.
        {10 * MiB + 4 * KiB, PageSize::thp, {1, 1}, {6 * MiB, 4 * MiB + 4 * KiB}},
        {2 * MiB, PageSize::thp, {1, 1}, {MiB, MiB}},
    };
    for (const auto& [bytes, page_size, weights, shares] : cases)
        EXPECT_EQ(split_memory(bytes, page_size, weights), shares) << bytes << " " << to_string(page_size);
}

TEST(SplitMemory, ConservesEveryByte) {
    for (const auto page_size : {PageSize::base, PageSize::thp, PageSize::huge_2m, PageSize::huge_1g})
        for (const std::uint64_t pages : {24U, 25U, 1000U, 4097U})
            for (const auto& weights :
                 {std::vector<std::uint64_t>(24, 43), std::vector<std::uint64_t>{1, 1000, 3}}) {
                const auto bytes = pages * bytes_of(page_size);
                const auto shares = split_memory(bytes, page_size, weights);
                EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), std::uint64_t{0}), bytes);
                for (const auto share : shares) {
                    EXPECT_GT(share, 0U);
                    EXPECT_EQ(share % bytes_of(page_size), 0U);
                }
            }
}

Host two_nodes() {
    Host host;
    host.is_this_host = true;
    for (const std::uint32_t node : {0U, 3U})
        host.nodes.push_back({.os_index = node,
                              .memory_bytes = 8 * GiB,
                              .free_bytes = 6 * GiB,
                              .allowed = true,
                              .has_pus = true,
                              .huge_pages = {{.page_bytes = 2 * MiB, .total = 100, .free = 40}}});
    return host;
}

TEST(CheckTotal, CountsWhatIsFreeOnAllowedNodes) {
    auto host = two_nodes();
    EXPECT_TRUE(check_total(12 * GiB, PageSize::base, host));
    const auto too_much = check_total(12 * GiB + 4 * KiB, PageSize::base, host);
    ASSERT_FALSE(too_much);
    EXPECT_EQ(too_much.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(too_much.error().found, HasSubstr("16 GiB in 2 nodes, 12 GiB of it free"));
    EXPECT_THAT(too_much.error().remedy, HasSubstr("--memory 12288M"));
    host.nodes[1].allowed = false;
    EXPECT_FALSE(check_total(7 * GiB, PageSize::base, host));
    for (auto& node : host.nodes)
        node.memory_bytes = node.free_bytes = 0;
    EXPECT_TRUE(check_total(7 * GiB, PageSize::base, host)) << "unknown memory refuses nothing";
}

TEST(CheckTotal, HugePagesComeFromThePools) {
    const auto host = two_nodes();
    EXPECT_TRUE(check_total(160 * MiB, PageSize::huge_2m, host));
    const auto too_many = check_total(200 * MiB, PageSize::huge_2m, host);
    ASSERT_FALSE(too_many);
    EXPECT_EQ(too_many.error().remedy,
              "echo 220 | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    const auto no_pool = check_total(2 * GiB, PageSize::huge_1g, host);
    ASSERT_FALSE(no_pool);
    EXPECT_THAT(no_pool.error().found, HasSubstr("no pages of 1 GiB"));
}

TEST(CheckShares, NamesTheNodeAndWhatWouldFit) {
    const auto host = two_nodes();
    EXPECT_TRUE(
        check_shares({{.node = 0, .bytes = 6 * GiB}, {.node = 1, .bytes = 6 * GiB}}, PageSize::base, host));
    const auto full =
        check_shares({{.node = 0, .bytes = 3 * GiB, .weight = 1}, {.node = 1, .bytes = 9 * GiB, .weight = 3}},
                     PageSize::base, host);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(full.error().asked, HasSubstr("9 GiB from host node 3"));
    EXPECT_THAT(full.error().found, HasSubstr("6 GiB of it free"));
    EXPECT_THAT(full.error().remedy, HasSubstr("--memory 8192M")) << "6/9 of 12 GiB";
}

TEST(CheckShares, OneCommandReservesAllHugePagesThatLack) {
    const auto host = two_nodes();
    EXPECT_TRUE(check_shares({{.node = 0, .bytes = 80 * MiB}, {.node = 1, .bytes = 2 * MiB}},
                             PageSize::huge_2m, host));
    const auto lacking = check_shares({{.node = 0, .bytes = 82 * MiB}, {.node = 1, .bytes = 100 * MiB}},
                                      PageSize::huge_2m, host);
    ASSERT_FALSE(lacking);
    EXPECT_EQ(lacking.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(lacking.error().found, HasSubstr("node 0 has 40 free of 100, 41 needed"));
    EXPECT_EQ(lacking.error().remedy,
              "echo 101 | sudo tee /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages && "
              "echo 110 | sudo tee /sys/devices/system/node/node3/hugepages/hugepages-2048kB/nr_hugepages");
}

TEST(PagesAreKnown, OnlyWhereSomeoneTold) {
    auto host = two_nodes();
    EXPECT_TRUE(pages_are_known(PageSize::huge_1g, host)) << "this host's kernel tells all it has";
    host.is_this_host = false;
    EXPECT_FALSE(pages_are_known(PageSize::huge_1g, host));
    EXPECT_TRUE(pages_are_known(PageSize::huge_2m, host));
    EXPECT_TRUE(pages_are_known(PageSize::thp, host));
    EXPECT_TRUE(check_total(2 * GiB, PageSize::huge_1g, host));
}

} // namespace
} // namespace nestbed::topology
