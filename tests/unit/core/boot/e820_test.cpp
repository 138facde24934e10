#include "core/boot/e820.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::boot {
namespace {

struct E820Case {
    std::string name;
    std::vector<RamRange> ram;
    std::vector<Extent> acpi;
    std::vector<E820Entry> map;
};

class E820 : public testing::TestWithParam<E820Case> {};

TEST_P(E820, SaysWhatIsWhere) {
    EXPECT_THAT(e820_map(GetParam().ram, GetParam().acpi), testing::ElementsAreArray(GetParam().map));
}

constexpr E820Entry low{0, 0x9fc00, E820Type::usable};
constexpr E820Entry bios{0x9fc00, 0x60400, E820Type::reserved};
constexpr E820Entry usable(std::uint64_t address, std::uint64_t end) {
    return {address, end - address, E820Type::usable};
}
constexpr E820Entry tables(std::uint64_t address, std::uint64_t bytes) {
    return {address, bytes, E820Type::acpi};
}

std::vector<RamRange> nodes(std::uint32_t count, std::uint64_t bytes) {
    std::vector<RamRange> ram;
    for (std::uint32_t node = 0; node < count; ++node)
        ram.push_back({node * bytes, bytes, node});
    return ram;
}

INSTANTIATE_TEST_SUITE_P(
    All, E820,
    testing::Values(
        E820Case{"OneRange", {{0, GiB, 0}}, {}, {low, bios, usable(MiB, GiB)}},
        E820Case{"AroundTheHole",
                 {{0, hole_start, 0}, {hole_end, GiB, 0}},
                 {},
                 {low, bios, usable(MiB, hole_start), usable(hole_end, hole_end + GiB)}},
        E820Case{"NeighboursAreOne", nodes(1024, 2 * MiB), {}, {low, bios, usable(MiB, 2048 * MiB)}},
        E820Case{"TablesAtTheEnd",
                 {{0, GiB, 0}},
                 {{GiB - 64 * KiB, 64 * KiB}},
                 {low, bios, usable(MiB, GiB - 64 * KiB), tables(GiB - 64 * KiB, 64 * KiB)}},
        E820Case{"TablesAmongTheBiosAndInTheMiddle",
                 {{0, GiB, 0}},
                 {{512 * MiB, 4096}, {0xe0000, 36}},
                 {low,
                  {0x9fc00, 0x40400, E820Type::reserved},
                  tables(0xe0000, 36),
                  {0xe0024, 0x1ffdc, E820Type::reserved},
                  usable(MiB, 512 * MiB),
                  tables(512 * MiB, 4096),
                  usable(512 * MiB + 4096, GiB)}},
        E820Case{"TablesOverEachOther",
                 {{0, GiB, 0}},
                 {{2 * MiB, 4096}, {2 * MiB + 1024, 8192}, {3 * MiB, 0}},
                 {low, bios, usable(MiB, 2 * MiB), tables(2 * MiB, 9216), usable(2 * MiB + 9216, GiB)}},
        E820Case{"TablesOutsideRam",
                 {{0, GiB, 0}},
                 {{2 * GiB, 4096}},
                 {low, bios, usable(MiB, GiB), tables(2 * GiB, 4096)}},
        E820Case{"LittleRam", {{0, 64 * KiB, 0}}, {}, {usable(0, 64 * KiB), bios}},
        E820Case{"UpToTheEbda", {{0, 640 * KiB, 0}}, {}, {low, bios}}, E820Case{"NoRam", {}, {}, {bios}}),
    [](const auto& test_case) { return test_case.param.name; });

} // namespace
} // namespace nestbed::boot
