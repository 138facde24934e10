#include "topology/plan.hpp"

#include <cstdint>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::topology {
namespace {

using testing::HasSubstr;

TEST(ParsePolicy, RoundTripAndRefusal) {
    EXPECT_EQ(all_policies().size(), 10U);
    for (const auto& policy : all_policies())
        EXPECT_EQ(parse_policy(to_string(policy)).value(), policy);
    for (const auto* wrong : {"", "Numa", "numa ", "close"}) {
        const auto parsed = parse_policy(wrong);
        ASSERT_FALSE(parsed) << wrong;
        EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input);
        for (const auto& policy : all_policies())
            EXPECT_THAT(parsed.error().remedy, HasSubstr(to_string(policy).substr(0, 6)));
    }
}

TEST(ParsePageSize, RoundTripAndRefusal) {
    struct Case {
        PageSize size;
        std::string name;
        std::uint64_t bytes;
    };
    const Case cases[] = {{PageSize::base, "4K", 4 * KiB},
                          {PageSize::thp, "thp", 4 * KiB},
                          {PageSize::huge_2m, "2M", 2 * MiB},
                          {PageSize::huge_1g, "1G", GiB}};
    for (const auto& [size, name, bytes] : cases) {
        EXPECT_EQ(to_string(size), name);
        EXPECT_EQ(parse_page_size(name).value(), size);
        EXPECT_EQ(bytes_of(size), bytes);
    }
    const auto wrong = parse_page_size("4M");
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().kind, ErrorKind::bad_input);
}

TEST(PlanRefusal, Table) {
    const std::string two_small_nodes = "numa:2(memory=1GiB) core:4 pu:1";
    struct Case {
        std::string what;
        std::string host;
        std::uint32_t vcpus;
        std::uint64_t memory;
        Policy policy;
        std::optional<Shape> shape;
        ErrorKind kind;
        std::string message; // a part of it
    };
    const Case cases[] = {
        {"no vCPUs", "core:4 pu:1", 0, GiB, Policy::numa, {}, ErrorKind::bad_input, "0 vCPUs"},
        {"too many", "core:4 pu:1", 2000000, GiB, Policy::numa, {}, ErrorKind::bad_input, "1048576"},
        {"no memory", "core:4 pu:1", 1, 0, Policy::numa, {}, ErrorKind::bad_input, "without memory"},
        {"no address",
         "core:4 pu:1",
         1,
         ~std::uint64_t{0},
         Policy::none,
         {},
         ErrorKind::bad_input,
         "52 bits"},
        {"wrong product", "core:4 pu:1", 256, GiB, Policy::numa,
         Shape{.sockets = 8, .cores = 18, .threads = 2}, ErrorKind::bad_input,
         "8x18x2 is 288 vCPUs, asked were 256"},
        {"a zero in the shape", "core:4 pu:1", 4, GiB, Policy::numa, Shape{.cores = 0}, ErrorKind::bad_input,
         "is 0 vCPUs"},
        {"with dies", "core:4 pu:1", 4, GiB, Policy::numa, Shape{.sockets = 2, .dies = 2, .cores = 2},
         ErrorKind::bad_input, "2x2x2x1 is 8 vCPUs"},
        {"more than all",
         two_small_nodes,
         8,
         3 * GiB,
         Policy::numa,
         {},
         ErrorKind::host_lacks,
         "2 GiB in 2 nodes"},
        {"more than all, unbound",
         two_small_nodes,
         8,
         3 * GiB,
         Policy::none,
         {},
         ErrorKind::host_lacks,
         "2 GiB in 2 nodes"},
        {"more than one node",
         two_small_nodes,
         4,
         3 * GiB / 2,
         Policy::compact,
         {},
         ErrorKind::host_lacks,
         "from host node 0"},
    };
    for (const auto& each : cases) {
        const auto host = discover(each.host);
        ASSERT_TRUE(host);
        const auto made = plan({.vcpus = each.vcpus,
                                .memory_bytes = each.memory,
                                .policy = each.policy,
                                .page_size = PageSize::base,
                                .shape = each.shape},
                               *host);
        ASSERT_FALSE(made) << each.what;
        EXPECT_EQ(made.error().kind, each.kind) << each.what;
        EXPECT_THAT(made.error().message(), HasSubstr(each.message)) << each.what;
    }
}

TEST(PlanRefusal, WhatOneNodeLacksTheOthersMayHave) {
    const auto host = discover("numa:2(memory=1GiB) core:4 pu:1");
    ASSERT_TRUE(host);
    for (const auto policy : {Policy::numa, Policy::scatter, Policy::none})
        EXPECT_TRUE(plan({.vcpus = 4,
                          .memory_bytes = 3 * GiB / 2,
                          .policy = policy,
                          .page_size = PageSize::base,
                          .shape = std::nullopt},
                         *host))
            << to_string(policy);
}

TEST(PlanRefusal, HugePagesThatAreNotReserved) {
    auto host = discover("numa:2(memory=8GiB) core:4 pu:1");
    ASSERT_TRUE(host);
    for (auto& node : host->nodes)
        node.huge_pages = {{.page_bytes = 2 * MiB, .total = 0, .free = 0}};
    const auto made = plan({.vcpus = 8,
                            .memory_bytes = GiB,
                            .policy = Policy::numa,
                            .page_size = PageSize::huge_2m,
                            .shape = std::nullopt},
                           *host);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(made.error().remedy, HasSubstr("nr_hugepages"));
}

} // namespace
} // namespace nestbed::topology
