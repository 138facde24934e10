#include "topology/plan.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>
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

// Whoever does as a refusal says is not refused again: the host as a whole may be named first, then a node.
void follow_remedies(PlanRequest request, const Host& host, int& followed) {
    constexpr std::string_view head = "use --memory ";
    for (int tries = 0; tries < 2; ++tries) {
        const auto made = plan(request, host);
        if (made)
            return;
        const auto& remedy = made.error().remedy;
        ASSERT_THAT(remedy, testing::StartsWith(std::string{head}));
        const auto size = parse_size(remedy.substr(head.size(), remedy.find(' ', head.size()) - head.size()));
        ASSERT_TRUE(size) << remedy;
        ASSERT_LT(*size, request.memory_bytes);
        request.memory_bytes = *size;
        ++followed;
    }
    const auto made = plan(request, host);
    ASSERT_TRUE(made) << made.error().message();
}

TEST(PlanRefusal, TheMemoryThatIsNamedFits) {
    int followed = 0;
    for (const auto* source : {"numa:2(memory=3GiB) core:4 pu:1", "numa:2(memory=2500MiB) core:4 pu:1",
                               "numa:3(memory=1537MiB) core:3 pu:1"})
        for (const std::uint64_t last_node : {0U, 1900U}) {
            auto host = discover(source);
            ASSERT_TRUE(host);
            if (last_node != 0)
                host->nodes.back().memory_bytes = host->nodes.back().free_bytes = last_node * MiB;
            for (const auto page_size : {PageSize::base, PageSize::thp, PageSize::huge_2m, PageSize::huge_1g})
                for (const auto policy : {Policy::numa, Policy::compact, Policy::scatter, Policy::none})
                    for (const std::uint32_t vcpus : {1U, 5U, 7U, 8U})
                        for (const std::uint64_t gib : {2U, 3U, 5U, 7U, 100U}) {
                            SCOPED_TRACE(fmt::format("{}, {}, {}, {} vCPUs, {} GiB", source,
                                                     to_string(page_size), to_string(policy), vcpus, gib));
                            follow_remedies({.vcpus = vcpus,
                                             .memory_bytes = gib * GiB,
                                             .policy = policy,
                                             .page_size = page_size,
                                             .shape = {}},
                                            *host, followed);
                            if (HasFatalFailure())
                                return;
                        }
        }
    EXPECT_GT(followed, 100);
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
