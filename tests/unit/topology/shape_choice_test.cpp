#include "topology/shape_choice.hpp"

#include <cstdint>
#include <optional>
#include <string>

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
}

} // namespace
} // namespace nestbed::topology
