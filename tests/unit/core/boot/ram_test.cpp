#include "core/boot/ram.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::boot {
namespace {

struct RamCase {
    std::string name;
    std::vector<std::uint64_t> node_bytes;
    std::vector<RamRange> ranges;
};

class Ram : public testing::TestWithParam<RamCase> {};

TEST_P(Ram, LiesAroundTheHole) {
    std::vector<topology::NodePlacement> nodes;
    for (const auto bytes : GetParam().node_bytes)
        nodes.push_back({.virtual_node = static_cast<std::uint32_t>(nodes.size()),
                         .host_node = {},
                         .memory_bytes = bytes,
                         .reason = {}});
    EXPECT_THAT(ram_ranges(nodes), testing::ElementsAreArray(GetParam().ranges));
}

INSTANTIATE_TEST_SUITE_P(
    All, Ram,
    testing::Values(RamCase{"None", {}, {}}, RamCase{"Empty", {0}, {}}, RamCase{"One", {MiB}, {{0, MiB, 0}}},
                    RamCase{"UpToTheHole", {3 * GiB}, {{0, 3 * GiB, 0}}},
                    RamCase{"OnePageMore", {3 * GiB + 4096}, {{0, 3 * GiB, 0}, {4 * GiB, 4096, 0}}},
                    RamCase{"Two", {MiB, 2 * MiB}, {{0, MiB, 0}, {MiB, 2 * MiB, 1}}},
                    RamCase{"SecondBeginsAfterTheHole", {3 * GiB, GiB}, {{0, 3 * GiB, 0}, {4 * GiB, GiB, 1}}},
                    RamCase{"SecondSpansTheHole",
                            {2 * GiB, 2 * GiB, GiB},
                            {{0, 2 * GiB, 0}, {2 * GiB, GiB, 1}, {4 * GiB, GiB, 1}, {5 * GiB, GiB, 2}}},
                    RamCase{"NodeWithoutMemory", {GiB, 0, GiB}, {{0, GiB, 0}, {GiB, GiB, 2}}},
                    RamCase{"Large",
                            {512 * GiB, 512 * GiB},
                            {{0, 3 * GiB, 0}, {4 * GiB, 509 * GiB, 0}, {513 * GiB, 512 * GiB, 1}}}),
    [](const auto& test_case) { return test_case.param.name; });

} // namespace
} // namespace nestbed::boot
