#include "core/boot/placement.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "core/boot/page_tables.hpp"
#include "core/boot/ram.hpp"
#include "core/wire/layout.hpp"
#include "core/wire/mailbox.hpp"
#include "core/wire/ring.hpp"

namespace nestbed::boot {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t image_end = 0x12'3456;

// vCPUs in equal runs over nodes of equal size.
topology::Plan make_plan(const topology::Shape& shape, std::uint32_t nodes, std::uint64_t node_bytes) {
    topology::Plan plan;
    plan.shape = shape;
    const auto vcpus = static_cast<std::uint32_t>(topology::vcpu_count(shape));
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        plan.vcpus.push_back({.vcpu = vcpu,
                              .apic_id = topology::apic_id_of(shape, vcpu),
                              .virtual_node = vcpu * nodes / vcpus,
                              .pus = {},
                              .reason = {}});
    for (std::uint32_t node = 0; node < nodes; ++node)
        plan.nodes.push_back(
            {.virtual_node = node, .host_node = {}, .memory_bytes = node_bytes, .reason = {}});
    return plan;
}

struct PlacementCase {
    topology::Shape shape;
    std::uint32_t nodes = 1;
    std::uint64_t node_bytes = 0;
    bool gib_pages = false;
};

std::string name_of(const testing::TestParamInfo<PlacementCase>& test_case) {
    const auto& one = test_case.param;
    return fmt::format("{}x{}x{}x{}_{}nodes_{}M{}", one.shape.sockets, one.shape.dies, one.shape.cores,
                       one.shape.threads, one.nodes, one.node_bytes / MiB, one.gib_pages ? "_1G" : "");
}

class Placement : public testing::TestWithParam<PlacementCase> {};

TEST_P(Placement, GivesEachPieceAPlaceOfItsOwn) {
    const auto& [shape, nodes, node_bytes, gib_pages] = GetParam();
    const auto plan = make_plan(shape, nodes, node_bytes);
    const auto ram = ram_ranges(plan.nodes);
    const auto placed = place_guest(plan, ram, image_end, gib_pages);
    ASSERT_TRUE(placed) << placed.error().message();

    struct Piece {
        Extent extent;
        std::uint64_t least;
    };
    const auto mapped_end = std::max(ram.back().end(), hole_end);
    std::vector<Piece> pieces{
        {placed->page_tables, identity_map_bytes(mapped_end, gib_pages)},
        {placed->percpu_table, (std::uint64_t{topology::max_apic_id(shape)} + 1) * 8},
        {placed->vcpu_blocks, plan.vcpus.size() * 8},
        {placed->header, sizeof(wire::Header)},
        {placed->ring, sizeof(wire::Ring)},
        {placed->scratch, 1},
    };
    ASSERT_EQ(placed->blocks.size(), plan.vcpus.size());
    for (const auto block : placed->blocks)
        pieces.push_back({{block, wire::percpu_bytes}, wire::percpu_bytes});

    const auto range_of = [&](const Extent& extent) -> const RamRange* {
        const auto found = std::ranges::find_if(ram, [&](const RamRange& range) {
            return extent.address >= range.address && extent.address + extent.bytes <= range.end();
        });
        return found == ram.end() ? nullptr : &*found;
    };
    for (const auto& [extent, least] : pieces) {
        EXPECT_GE(extent.bytes, least);
        EXPECT_EQ(extent.address % wire::page_bytes, 0U);
        EXPECT_GE(extent.address, image_end) << "not over the payload";
        EXPECT_NE(range_of(extent), nullptr) << std::hex << extent.address << " is no RAM";
    }
    std::ranges::sort(pieces, {}, [](const Piece& piece) { return piece.extent.address; });
    for (std::size_t i = 1; i < pieces.size(); ++i)
        ASSERT_GE(pieces[i].extent.address, pieces[i - 1].extent.address + pieces[i - 1].extent.bytes);

    EXPECT_LE(placed->page_tables.address + placed->page_tables.bytes, hole_end)
        << "CR3 has 32 bits on an AP's way";
    for (const auto& vcpu : plan.vcpus) {
        const auto* const range = range_of({placed->blocks[vcpu.vcpu], wire::percpu_bytes});
        ASSERT_NE(range, nullptr);
        ASSERT_EQ(range->virtual_node, vcpu.virtual_node) << "vCPU " << vcpu.vcpu;
    }
}

constexpr topology::Shape flat(std::uint32_t vcpus) {
    return {.sockets = 1, .dies = 1, .cores = vcpus, .threads = 1};
}

INSTANTIATE_TEST_SUITE_P(
    Counts, Placement, testing::ValuesIn([] {
        std::vector<PlacementCase> cases;
        for (const std::uint32_t vcpus : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 512U, 1024U})
            cases.push_back({flat(vcpus), 1, default_memory_bytes(vcpus), false});
        return cases;
    }()),
    name_of);

INSTANTIATE_TEST_SUITE_P(Shapes, Placement,
                         testing::Values(PlacementCase{flat(312), 1, 128 * MiB, false},
                                         PlacementCase{{3, 1, 5, 2}, 3, 16 * MiB, false},
                                         PlacementCase{{8, 1, 36, 1}, 8, 16 * MiB, false},
                                         PlacementCase{{3, 3, 5, 7}, 3, 64 * MiB, false},
                                         PlacementCase{{2, 1, 2, 1}, 2, 3 * GiB, false},
                                         PlacementCase{{2, 1, 2, 1}, 2, 2 * GiB, true},
                                         PlacementCase{{4, 1, 72, 1}, 4, 512 * GiB, true},
                                         PlacementCase{{4, 1, 72, 1}, 4, 512 * GiB, false}),
                         name_of);

TEST(Placement, ScratchIsTheLargestStretchLeft) {
    // The second node has nothing but two blocks on it.
    const auto plan = make_plan({.sockets = 2, .dies = 1, .cores = 2, .threads = 1}, 2, 16 * MiB);
    const auto placed = place_guest(plan, ram_ranges(plan.nodes), image_end, false);
    ASSERT_TRUE(placed);
    EXPECT_EQ(placed->scratch.bytes, 16 * MiB - 2 * wire::percpu_bytes);
    EXPECT_EQ(placed->scratch.address, 16 * MiB + 2 * wire::percpu_bytes);
    // Of the first node what is left behind the payload and the tables; of the second all of the above.
    ASSERT_EQ(placed->node_scratch.size(), 2U);
    EXPECT_GE(placed->node_scratch[0].address, image_end);
    EXPECT_EQ(placed->node_scratch[0].address + placed->node_scratch[0].bytes, 16 * MiB);
    EXPECT_EQ(placed->node_scratch[1].address, placed->scratch.address);
    EXPECT_EQ(placed->node_scratch[1].bytes, placed->scratch.bytes);
}

TEST(Placement, RefusesTooLittleMemoryWithTheRemedy) {
    for (const std::uint64_t bytes : {std::uint64_t{0}, 4 * KiB, MiB, MiB + 512 * KiB, 8 * MiB}) {
        const auto plan = make_plan(flat(288), 1, bytes);
        const auto placed = place_guest(plan, ram_ranges(plan.nodes), image_end, false);
        ASSERT_FALSE(placed) << bytes;
        EXPECT_EQ(placed.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(placed.error().asked, HasSubstr("288 vCPUs"));
        EXPECT_EQ(placed.error().found.find("the payload") != std::string::npos, bytes < image_end) << bytes;
        EXPECT_THAT(placed.error().remedy,
                    HasSubstr(fmt::format("--memory {}M", default_memory_bytes(288) / MiB)));
    }
}

// The number in "use --memory 66M or more".
std::uint64_t memory_of(const std::string& remedy) {
    const auto number = remedy.find_first_of("0123456789");
    return number == std::string::npos ? 0 : std::stoull(remedy.substr(number)) * MiB;
}

TEST(Placement, TheRemedyIsEnoughAndMoreThanWasGiven) {
    struct Case {
        std::uint32_t vcpus;
        std::vector<std::uint64_t> nodes; // bytes of each
    };
    const std::vector<Case> cases{
        {16, {200 * MiB, 64 * KiB}},
        {16, {64 * KiB, 200 * MiB}},
        {16, {2 * MiB, 500 * MiB, 4 * KiB, 500 * MiB}},
        {288, {2 * MiB, 2 * MiB, 2 * MiB, 400 * MiB}},
        {1024, {8 * MiB, 8 * MiB}},
        {4, {MiB}},
    };
    for (const auto& [vcpus, nodes] : cases) {
        auto plan = make_plan(flat(vcpus), static_cast<std::uint32_t>(nodes.size()), 0);
        for (std::size_t i = 0; i < nodes.size(); ++i)
            plan.nodes[i].memory_bytes = nodes[i];
        const auto given = plan.memory_bytes();
        const auto refused = place_guest(plan, ram_ranges(plan.nodes), image_end, false);
        ASSERT_FALSE(refused) << vcpus;
        const auto enough = memory_of(refused.error().remedy);
        EXPECT_GT(enough, given) << refused.error().message();

        // Once the node that was too small has its share of it, something else may be, but never the same
        // with the same remedy: doing as told comes to an end.
        for (int tries = 0; tries < 8; ++tries) {
            const auto again = place_guest(plan, ram_ranges(plan.nodes), image_end, false);
            if (again)
                break;
            const auto factor = static_cast<double>(memory_of(again.error().remedy)) /
                                static_cast<double>(plan.memory_bytes());
            ASSERT_GT(factor, 1) << again.error().message();
            for (auto& node : plan.nodes)
                node.memory_bytes = round_up(
                    static_cast<std::uint64_t>(static_cast<double>(node.memory_bytes) * factor), 4 * KiB);
        }
        EXPECT_TRUE(place_guest(plan, ram_ranges(plan.nodes), image_end, false)) << vcpus;
    }
}

TEST(Placement, MoreMemoryIsNoRemedyWherePageTablesAreTooLarge) {
    constexpr std::uint64_t TiB = 1024 * GiB;
    const auto plan = make_plan(flat(2), 1, 800 * TiB);
    const auto placed = place_guest(plan, ram_ranges(plan.nodes), image_end, false);
    ASSERT_FALSE(placed);
    EXPECT_THAT(placed.error().found, HasSubstr("do not fit below 4 GiB"));
    EXPECT_THAT(placed.error().remedy, HasSubstr("less --memory"));
}

TEST(Placement, NamesTheNodeThatIsTooSmall) {
    auto plan = make_plan({.sockets = 2, .dies = 1, .cores = 8, .threads = 1}, 2, 16 * MiB);
    plan.nodes[1].memory_bytes = 3 * wire::percpu_bytes;
    const auto placed = place_guest(plan, ram_ranges(plan.nodes), image_end, false);
    ASSERT_FALSE(placed);
    EXPECT_EQ(placed.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(placed.error().found, HasSubstr("virtual node 1 has no 32 KiB left for vCPU 11"));
}

TEST(Placement, ANodeWithoutMemoryHasNoRoomForItsVcpus) {
    auto plan = make_plan({.sockets = 2, .dies = 1, .cores = 1, .threads = 1}, 2, 200 * MiB);
    plan.nodes[1].memory_bytes = 0;
    const auto placed = place_guest(plan, ram_ranges(plan.nodes), image_end, false);
    ASSERT_FALSE(placed);
    EXPECT_THAT(placed.error().found, HasSubstr("virtual node 1"));
    EXPECT_GT(memory_of(placed.error().remedy), 200 * MiB);
}

} // namespace
} // namespace nestbed::boot
