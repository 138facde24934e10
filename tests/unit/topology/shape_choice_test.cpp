#include "topology/shape_choice.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::topology {
namespace {

Result<Plan> plan_on(const std::string& source, std::uint32_t vcpus, Policy policy,
                     std::optional<Shape> shape = std::nullopt) {
    const auto host = discover(source);
    EXPECT_TRUE(host) << source;
    return plan(
        {.vcpus = vcpus, .memory_bytes = GiB, .policy = policy, .page_size = PageSize::base, .shape = shape},
        host.value_or(Host{}));
}

TEST(DeriveShape, FollowsThePlacement) {
    struct Case {
        std::string host;
        std::uint32_t vcpus;
        Policy policy;
        std::string shape;
    };
    const Case cases[] = {
        {"pack:8 [numa] core:18 pu:2", 288, Policy::numa, "8x1x18x2"},
        {"pack:8 [numa] core:18 pu:2", 288, Policy::compact, "8x1x18x2"},
        {"pack:8 [numa] core:18 pu:2", 288, Policy::none, "1x1x288x1"},
        {"pack:8 core:18 pu:2", 288, Policy::compact, "8x1x18x2"},       // packages in one node
        {"pack:8 core:18 pu:2", 18, Policy::compact, "1x1x9x2"},         // half a package
        {"pack:8 core:18 pu:2", 40, Policy::compact, "1x1x20x2"},        // packages filled unevenly
        {"pack:8 [numa] core:18 pu:2", 40, Policy::compact, "10x1x2x2"}, // 36 and 4: sockets of 4
        {"pack:2 [numa] core:4 pu:2", 32, Policy::numa, "2x1x16x1"},     // overcommitted: no siblings
        {"pack:2 [numa] core:4 pu:1", 8, Policy::numa, "2x1x4x1"},
        {"pack:1 [numa] [numa] core:4 pu:8", 32, Policy::numa, "1x1x4x8"},
        {"pack:2 [numa] core:4 pu:2", 7, Policy::numa, "7x1x1x1"}, // 4 and 3 have no common divisor
        {"pack:2 [numa] core:4 pu:2", 8, Policy::scatter, "8x1x1x1"},
        {"pack:2 core:4 pu:2", 8, Policy::scatter, "1x1x8x1"}, // one node: nothing to straddle
        {"core:4 pu:2", 3, Policy::compact, "1x1x3x1"},
        {"core:4 pu:4", 6, Policy::compact, "1x1x3x2"},
        {"core:1 pu:1", 1, Policy::numa, "1x1x1x1"},
    };
    for (const auto& [host, vcpus, policy, shape] : cases) {
        const auto made = plan_on(host, vcpus, policy);
        ASSERT_TRUE(made) << host << ": " << made.error().message();
        EXPECT_EQ(format_shape(made->shape), shape) << host << ", " << vcpus << " " << to_string(policy);
    }
}

TEST(DeriveShape, SaysWhyPackagesAreNoSockets) {
    struct Case {
        std::uint32_t vcpus;
        Policy policy;
        std::string reason;
    };
    for (const auto& [vcpus, policy, reason] :
         {Case{8, Policy::scatter, "since neighbours are in different packages"},
          Case{11, Policy::compact, "since the vCPUs divide unevenly over packages"},
          Case{8, Policy::compact, "since all vCPUs are in one host package"}}) {
        const auto made = plan_on("pack:2 core:4 pu:2", vcpus, policy);
        ASSERT_TRUE(made);
        EXPECT_THAT(made->notes, testing::Contains(testing::HasSubstr(reason))) << vcpus;
    }
}

TEST(DeriveShape, KeepsToVirtualNodesWhereNotAllIsPinned) {
    struct Case {
        std::vector<std::uint32_t> nodes; // by vCPU
        std::string shape, reason;
    };
    const Case cases[] = {
        {{0, 0, 0, 0}, "1x1x4x1", "one socket; one thread a core, since not every vCPU is pinned to one PU"},
        {{0, 0, 1, 1}, "2x1x2x1", "sockets of 2, so that none straddles two virtual nodes"},
        {{0, 0, 1, 1, 1, 1}, "3x1x2x1", "sockets of 2"},
        {{0, 1, 0, 1}, "4x1x1x1", "sockets of 1"},
    };
    for (const auto& [nodes, shape, reason] : cases) {
        std::vector<VcpuHome> homes;
        for (const auto node : nodes)
            homes.push_back({.virtual_node = node});
        const auto choice = derive_shape(homes, false);
        EXPECT_EQ(format_shape(choice.shape), shape);
        EXPECT_THAT(choice.reason, testing::StartsWith(reason));
    }
}

TEST(LyingTopology, ShowsTheTruthOfOtherThreads) {
    struct Case {
        std::string host;
        std::uint32_t vcpus;
        Policy policy;
        std::string shape;
        std::vector<std::uint32_t> nodes; // of the first vCPUs: shown, then true
        std::vector<std::uint32_t> homes;
    };
    const Case cases[] = {
        {"pack:2 [numa] core:4 pu:1", 8, Policy::compact, "2x1x4x1", {0, 0, 0, 0, 1}, {0, 1, 0, 1, 0}},
        // Shown is the host's order, whatever the policy's is.
        {"pack:2 [numa] core:4 pu:1", 8, Policy::scatter, "2x1x4x1", {0, 0, 0, 0, 1}, {0, 1, 0, 1, 0}},
        // Siblings, too.
        {"pack:2 [numa] core:2 pu:2", 8, Policy::numa, "2x1x2x2", {0, 0, 0, 0, 1}, {0, 1, 0, 1, 0}},
        // Overcommitted: each PU once before any a second time.
        {"pack:2 [numa] core:1 pu:1", 6, Policy::numa, "2x1x3x1", {0, 0, 0, 1}, {0, 1, 0, 1}},
        {"pack:8 [numa] core:18 pu:2", 257, Policy::compact, "257x1x1x1", {0, 0, 0}, {0, 1, 2}},
    };
    for (const auto& each : cases) {
        SCOPED_TRACE(each.host + " " + to_string(each.policy));
        const auto host = discover(each.host);
        ASSERT_TRUE(host);
        PlanRequest request{.vcpus = each.vcpus,
                            .memory_bytes = GiB,
                            .policy = each.policy,
                            .page_size = PageSize::base,
                            .shape = {},
                            .lying = true};
        const auto lie = plan(request, *host);
        ASSERT_TRUE(lie) << lie.error().message();
        request.lying = false;
        const auto truth = plan(request, *host);
        ASSERT_TRUE(truth);
        if (each.policy == Policy::compact) {
            EXPECT_EQ(format_shape(lie->shape), format_shape(truth->shape));
        }
        EXPECT_EQ(format_shape(lie->shape), each.shape);
        const auto node_of = [&](std::uint32_t os_index) {
            for (const auto& pu : host->pus)
                if (pu.os_index == os_index)
                    return host->nodes[pu.node.value_or(0)].os_index;
            return UINT32_MAX;
        };
        for (std::size_t i = 0; i < each.nodes.size(); ++i) {
            const auto& vcpu = lie->vcpus[i];
            EXPECT_EQ(*lie->nodes[vcpu.virtual_node].host_node, each.nodes[i]) << i;
            EXPECT_EQ(node_of(vcpu.pus.front()), each.homes[i]) << i;
            EXPECT_THAT(vcpu.reason, testing::StartsWith("by turns, not as the guest is shown"));
        }
        EXPECT_THAT(lie->nodes.front().reason, testing::HasSubstr("shown to be on this node"));
        // The same PUs, and the same memory from each node.
        const auto pus_of = [](const Plan& made) {
            std::multiset<std::uint32_t> pus;
            for (const auto& vcpu : made.vcpus)
                pus.insert(vcpu.pus.begin(), vcpu.pus.end());
            return pus;
        };
        const auto memory_of = [](const Plan& made) {
            std::map<std::uint32_t, std::uint64_t> bytes;
            for (const auto& node : made.nodes)
                bytes[*node.host_node] += node.memory_bytes;
            return bytes;
        };
        EXPECT_EQ(pus_of(*lie), pus_of(*truth));
        EXPECT_EQ(memory_of(*lie), memory_of(*truth));
        EXPECT_THAT(lie->notes, testing::Contains(testing::HasSubstr("run on another PU than the one")));
    }
}

TEST(LyingTopology, SaysWhereItIsNoLie) {
    const auto host = discover("core:2 pu:1");
    ASSERT_TRUE(host);
    const auto made = plan({.vcpus = 2,
                            .memory_bytes = GiB,
                            .policy = Policy::numa,
                            .page_size = PageSize::base,
                            .shape = {},
                            .lying = true},
                           *host);
    ASSERT_TRUE(made);
    EXPECT_THAT(made->notes, testing::Contains(testing::HasSubstr("topology lying: true here")));
}

TEST(LyingTopology, IsRefusedWhereNothingIsTrue) {
    const auto host = discover("pack:2 [numa] core:4 pu:1");
    ASSERT_TRUE(host);
    PlanRequest request{.vcpus = 8,
                        .memory_bytes = GiB,
                        .policy = Policy::none,
                        .page_size = PageSize::base,
                        .shape = {},
                        .lying = true};
    const auto unpinned = plan(request, *host);
    ASSERT_FALSE(unpinned);
    EXPECT_THAT(unpinned.error().found, testing::HasSubstr("nothing is pinned"));
    request.policy = Policy::compact;
    request.shape = Shape{.cores = 8};
    const auto shaped = plan(request, *host);
    ASSERT_FALSE(shaped);
    EXPECT_THAT(shaped.error().found, testing::HasSubstr("there is a shape"));
}

TEST(DeriveShape, NoSocketStraddlesVirtualNodesAndThreadsAreSiblings) {
    for (const auto* source :
         {"pack:8 [numa] core:18 pu:2", "pack:3 numa:2 core:5 pu:2", "numa:24 core:8 pu:2"}) {
        const auto host = discover(source);
        ASSERT_TRUE(host);
        for (const auto policy : {Policy::compact, Policy::scatter, Policy::numa})
            for (const std::uint32_t vcpus : {1U, 2U, 7U, 40U, 60U, 255U, 256U, 288U, 312U, 1024U}) {
                const auto made = plan_on(source, vcpus, policy);
                ASSERT_TRUE(made);
                ASSERT_EQ(vcpu_count(made->shape), vcpus);
                for (std::uint32_t i = 1; i < vcpus; ++i) {
                    const auto before = position_of(made->shape, i - 1);
                    const auto here = position_of(made->shape, i);
                    if (before.socket != here.socket)
                        continue;
                    ASSERT_EQ(made->vcpus[i].virtual_node, made->vcpus[i - 1].virtual_node)
                        << source << vcpus;
                    if (before.core == here.core) {
                        const auto core = [&](std::uint32_t vcpu) {
                            for (const auto& pu : host->pus)
                                if (pu.os_index == made->vcpus[vcpu].pus.at(0))
                                    return pu.core;
                            return ~0U;
                        };
                        ASSERT_EQ(core(i), core(i - 1)) << source << vcpus;
                        ASSERT_NE(made->vcpus[i].pus, made->vcpus[i - 1].pus);
                    }
                }
            }
    }
}

TEST(BrokenPromises, AreNotedForAGivenShape) {
    using testing::Contains;
    using testing::HasSubstr;
    const auto honest =
        plan_on("pack:2 [numa] core:4 pu:2", 16, Policy::numa, Shape{.sockets = 2, .cores = 4, .threads = 2});
    ASSERT_TRUE(honest);
    EXPECT_THAT(honest->notes, testing::Not(Contains(HasSubstr("given shape's"))));
    const auto one_socket = plan_on("pack:2 [numa] core:4 pu:2", 16, Policy::numa, Shape{.cores = 16});
    ASSERT_TRUE(one_socket);
    EXPECT_THAT(one_socket->notes, Contains(HasSubstr("socket 0 straddles virtual nodes 0 and 1")));
    const auto scattered = plan_on("core:4 pu:2", 8, Policy::scatter, Shape{.cores = 4, .threads = 2});
    ASSERT_TRUE(scattered);
    EXPECT_THAT(scattered->notes, Contains(HasSubstr("not siblings")));
    const auto turns = plan_on("core:1 pu:2", 4, Policy::scatter, Shape{.cores = 1, .threads = 4});
    ASSERT_TRUE(turns);
    EXPECT_THAT(turns->notes, Contains(HasSubstr("not siblings"))) << "four threads on two PUs, by turns";
}

} // namespace
} // namespace nestbed::topology
