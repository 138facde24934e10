#include "stress/drivers/memory_parts.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::stress {
namespace {

void expect_sound(const std::vector<boot::Extent>& free, const std::vector<std::size_t>& node_of_vcpu,
                  const std::vector<MemoryParts>& parts) {
    ASSERT_EQ(parts.size(), node_of_vcpu.size());
    std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
    const auto look = [&](const MemoryPart& part) {
        if (part.bytes == 0)
            return;
        EXPECT_TRUE(std::has_single_bit(part.bytes));
        EXPECT_GE(part.bytes, 4096U);
        EXPECT_EQ(part.address % 4096, 0U);
        const auto& extent = free[part.node];
        EXPECT_GE(part.address, extent.address + extent.bytes / 2) << "the first half is for tables";
        EXPECT_LE(part.address + part.bytes, extent.address + extent.bytes);
        taken.emplace_back(part.address, part.address + part.bytes);
    };
    for (std::size_t vcpu = 0; vcpu < parts.size(); ++vcpu) {
        EXPECT_EQ(parts[vcpu].local.node, node_of_vcpu[vcpu]);
        EXPECT_GT(parts[vcpu].local.bytes, 0U);
        look(parts[vcpu].local);
        look(parts[vcpu].remote);
        if (free.size() > 1) {
            EXPECT_NE(parts[vcpu].remote.node, node_of_vcpu[vcpu]);
            EXPECT_EQ(parts[vcpu].remote.bytes, parts[vcpu].local.bytes);
        }
    }
    std::ranges::sort(taken);
    for (std::size_t i = 1; i < taken.size(); ++i)
        EXPECT_LE(taken[i - 1].second, taken[i].first) << "parts overlap";
}

TEST(DivideMemory, GivesOneNodesVcpusNoRemotePart) {
    for (const std::size_t vcpus : {1U, 2U, 255U, 256U, 257U, 1024U}) {
        const std::vector<boot::Extent> free{{0x20'0000, 512 * MiB}};
        const std::vector<std::size_t> nodes(vcpus, 0);
        const auto parts = divide_memory(free, nodes, 16 * MiB);
        expect_sound(free, nodes, parts);
        EXPECT_EQ(parts[0].remote.bytes, 0U);
        EXPECT_EQ(parts[0].local.bytes, std::min<std::uint64_t>(16 * MiB, std::bit_floor(256 * MiB / vcpus)));
    }
}

TEST(DivideMemory, GivesEachVcpuAPartOfAnotherNode) {
    const std::vector<boot::Extent> free{{1 * MiB, 64 * MiB}, {4 * GiB + 123, 32 * MiB}, {8 * GiB, 64 * MiB}};
    std::vector<std::size_t> nodes;
    for (std::size_t vcpu = 0; vcpu < 288; ++vcpu)
        nodes.push_back(vcpu % 3);
    const auto parts = divide_memory(free, nodes, 16 * MiB);
    expect_sound(free, nodes, parts);
    EXPECT_EQ(parts[0].remote.node, 1U);
    EXPECT_EQ(parts[3].remote.node, 2U) << "the next vCPU of the node has the next other node";
}

TEST(DivideMemory, SaysWhereThereIsTooLittle) {
    EXPECT_TRUE(divide_memory(std::vector<boot::Extent>{{0, 1 * MiB}}, std::vector<std::size_t>(256, 0), MiB)
                    .empty());
    EXPECT_TRUE(
        divide_memory(std::vector<boot::Extent>{{0, MiB}, {}}, std::vector<std::size_t>{0}, MiB).empty())
        << "the remote node has none";
}

} // namespace
} // namespace nestbed::stress
