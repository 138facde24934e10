#include "core/acpi/tables.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "core/acpi/numa.hpp"
#include "guest_eye.hpp"
#include "guests.hpp"

namespace nestbed::acpi::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class OfGuest : public testing::TestWithParam<Guest> {
protected:
    [[nodiscard]] static const Guest& guest() { return GetParam(); }
    [[nodiscard]] static SeenTable table(const std::string& signature) {
        return find_tables(tables_of(guest())).at(signature);
    }
};

TEST_P(OfGuest, AllTablesAreFound) {
    std::vector<std::string> signatures;
    for (const auto& [signature, table] : find_tables(tables_of(guest())))
        signatures.push_back(signature);
    EXPECT_THAT(signatures, ElementsAre("APIC", "DSDT", "FACP", "SLIT", "SRAT", "XSDT"));
}

TEST_P(OfGuest, HeadersSayWhoAndWhich) {
    const std::map<std::string, unsigned> revisions{{"APIC", 5}, {"DSDT", 2}, {"FACP", 6},
                                                    {"SLIT", 1}, {"SRAT", 3}, {"XSDT", 1}};
    for (const auto& [signature, table] : find_tables(tables_of(guest()))) {
        EXPECT_EQ(table.at(8, 1), revisions.at(signature)) << signature;
        EXPECT_EQ(text(table.bytes, 10, 14), "NSTBEDNESTBED ");
        EXPECT_EQ(table.at(24, 4), 1U);
        EXPECT_EQ(text(table.bytes, 28, 4), "NSTB");
        EXPECT_EQ(table.at(32, 4), 1U);
    }
}

TEST_P(OfGuest, TablesAreAlignedAndDoNotOverlap) {
    const auto found = find_tables(tables_of(guest()));
    std::vector<SeenTable> tables;
    for (const auto& [signature, table] : found) {
        EXPECT_EQ(table.address % 16, 0U) << signature;
        tables.push_back(table);
    }
    std::sort(tables.begin(), tables.end(),
              [](const auto& a, const auto& b) { return a.address < b.address; });
    for (std::size_t i = 1; i < tables.size(); ++i)
        EXPECT_LE(tables[i - 1].end(), tables[i].address);
}

TEST_P(OfGuest, LinuxCanMapEachTableWhileItBoots) {
    for (const auto& [signature, table] : find_tables(tables_of(guest())))
        EXPECT_LE(table.address % 4096 + table.bytes.size(), 64 * 4096U) << signature;
}

TEST_P(OfGuest, TablesAreWholePagesOfRamBelowFourGib) {
    const auto tables = tables_of(guest()).tables;
    const auto ram = boot::ram_ranges(plan_of(guest()).nodes);
    EXPECT_EQ(tables.address % 4096, 0U);
    EXPECT_EQ(tables.bytes.size() % 4096, 0U);
    EXPECT_EQ(tables.address + tables.bytes.size(), ram.front().end());
    EXPECT_LE(tables.address + tables.bytes.size(), 4 * GiB);
    EXPECT_EQ(tables.extent().address, tables.address);
    EXPECT_EQ(tables.extent().bytes, tables.bytes.size());
}

TEST_P(OfGuest, SameInputSameBytes) {
    EXPECT_EQ(tables_of(guest()).tables.bytes, tables_of(guest()).tables.bytes);
}

TEST_P(OfGuest, MadtHasEveryApicOnceInTheOrderThatLinuxWants) {
    const auto plan = plan_of(guest());
    std::vector<std::pair<std::uint64_t, std::uint64_t>> uid_and_id;
    bool long_seen = false;
    for (const auto& entry : entries(table("APIC"), 44)) {
        if (entry.type == 0) {
            ASSERT_EQ(entry.bytes.size(), 8U);
            EXPECT_FALSE(long_seen);
            EXPECT_LT(entry.at(3, 1), 255U);
            EXPECT_EQ(entry.at(4, 4), 1U);
            uid_and_id.emplace_back(entry.at(2, 1), entry.at(3, 1));
        } else if (entry.type == 9) {
            ASSERT_EQ(entry.bytes.size(), 16U);
            long_seen = true;
            EXPECT_GE(entry.at(4, 4), 255U);
            EXPECT_EQ(entry.at(8, 4), 1U);
            uid_and_id.emplace_back(entry.at(12, 4), entry.at(4, 4));
        }
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> planned;
    for (const auto& vcpu : plan.vcpus)
        planned.emplace_back(vcpu.vcpu, vcpu.apic_id);
    EXPECT_EQ(uid_and_id, planned); // vCPU 0, the BSP, is the first
}

TEST_P(OfGuest, MadtHasTheIoApicAndAnNmiOnLint1OfAllProcessors) {
    const auto madt = table("APIC");
    EXPECT_EQ(madt.at(36, 4), 0xfee00000U);
    EXPECT_EQ(madt.at(40, 4), 0U); // no 8259
    const auto found = entries(madt, 44);
    const auto any_long = std::any_of(found.begin(), found.end(), [](auto& e) { return e.type == 9; });
    std::multiset<unsigned> others;
    for (const auto& entry : found) {
        if (entry.type == 0 || entry.type == 9)
            continue;
        others.insert(entry.type);
        if (entry.type == 1) {
            EXPECT_EQ(entry.bytes.size(), 12U);
            EXPECT_EQ(entry.at(2, 1), 0U);
            EXPECT_EQ(entry.at(4, 4), 0xfec00000U);
            EXPECT_EQ(entry.at(8, 4), 0U);
        } else if (entry.type == 4) {
            EXPECT_EQ(entry.bytes.size(), 6U);
            EXPECT_EQ(entry.at(2, 1), 0xffU);
            EXPECT_EQ(entry.at(3, 2), 0U);
            EXPECT_EQ(entry.at(5, 1), 1U);
        } else if (entry.type == 10) {
            EXPECT_EQ(entry.bytes.size(), 12U);
            EXPECT_EQ(entry.at(2, 2), 0U);
            EXPECT_EQ(entry.at(4, 4), 0xffffffffU);
            EXPECT_EQ(entry.at(8, 1), 1U);
        }
    }
    EXPECT_EQ(others, any_long ? (std::multiset<unsigned>{1, 4, 10}) : (std::multiset<unsigned>{1, 4}));
}

TEST_P(OfGuest, SratHasEveryApicOnTheNodeOfThePlan) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> id_and_node;
    const auto srat = table("SRAT");
    EXPECT_EQ(srat.at(36, 4), 1U);
    for (const auto& entry : entries(srat, 48)) {
        if (entry.type == 0) {
            ASSERT_EQ(entry.bytes.size(), 16U);
            EXPECT_LT(entry.at(3, 1), 255U);
            EXPECT_EQ(entry.at(4, 4), 1U);
            id_and_node.emplace_back(entry.at(3, 1), entry.at(2, 1) | entry.at(9, 3) << 8);
        } else if (entry.type == 2) {
            ASSERT_EQ(entry.bytes.size(), 24U);
            EXPECT_GE(entry.at(8, 4), 255U);
            EXPECT_EQ(entry.at(12, 4), 1U);
            id_and_node.emplace_back(entry.at(8, 4), entry.at(4, 4));
        }
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> planned;
    for (const auto& vcpu : plan_of(guest()).vcpus)
        planned.emplace_back(vcpu.apic_id, vcpu.virtual_node);
    EXPECT_EQ(id_and_node, planned);
}

TEST_P(OfGuest, SratHasTheRamAndNothingElse) {
    std::vector<boot::RamRange> ranges;
    for (const auto& entry : entries(table("SRAT"), 48)) {
        if (entry.type != 1)
            continue;
        ASSERT_EQ(entry.bytes.size(), 40U);
        EXPECT_EQ(entry.at(28, 4), 1U); // enabled, not hot-pluggable
        ranges.push_back({entry.at(8, 8), entry.at(16, 8), static_cast<std::uint32_t>(entry.at(2, 4))});
    }
    EXPECT_EQ(ranges, boot::ram_ranges(plan_of(guest()).nodes));
}

TEST_P(OfGuest, SlitHasTheDistancesOfThePlan) {
    const auto slit = table("SLIT");
    const auto& distances = plan_of(guest()).distances;
    ASSERT_EQ(slit.at(36, 8), distances.size());
    ASSERT_EQ(slit.bytes.size(), 44 + distances.size() * distances.size());
    for (std::size_t from = 0; from < distances.size(); ++from)
        for (std::size_t to = 0; to < distances.size(); ++to)
            ASSERT_EQ(slit.at(44 + from * distances.size() + to, 1), distances[from][to]);
}

TEST_P(OfGuest, FadtIsOfAHardwareReducedMachine) {
    const auto found = find_tables(tables_of(guest()));
    const auto& fadt = found.at("FACP");
    ASSERT_EQ(fadt.bytes.size(), 276U);
    EXPECT_EQ(fadt.at(8, 1), 6U);
    EXPECT_EQ(fadt.at(131, 1), 3U);
    EXPECT_EQ(fadt.at(40, 4), found.at("DSDT").address);
    EXPECT_EQ(fadt.at(140, 8), found.at("DSDT").address);
    EXPECT_EQ(fadt.at(36, 4), 0U); // no FACS
    EXPECT_EQ(fadt.at(132, 8), 0U);
    EXPECT_EQ(fadt.at(109, 2), 0b100100U);                                    // no VGA, no RTC; no 8042
    EXPECT_EQ(fadt.at(112, 4), 1U << 20 | 1U << 10 | 1U << 5 | 1U << 4 | 1U); // reduced, reset register
    EXPECT_EQ(fadt.at(128, 1), 0x42U);
    EXPECT_GT(fadt.at(96, 2), 100U);  // no C2
    EXPECT_GT(fadt.at(98, 2), 1000U); // no C3
    EXPECT_EQ(text(fadt.bytes, 268, 8), std::string("NESTBED\0", 8));
    for (std::size_t offset = 46; offset < 96; ++offset) // SCI, SMI and the register blocks
        EXPECT_EQ(fadt.at(offset, 1), 0U) << offset;
    for (std::size_t offset = 148; offset < 244; ++offset)
        EXPECT_EQ(fadt.at(offset, 1), 0U) << offset;
    for (const auto& [offset, port] :
         {std::pair{116U, 0x602U}, std::pair{244U, 0x600U}, std::pair{256U, 0x601U}}) {
        EXPECT_EQ(fadt.at(offset, 4), 0x01000801U); // system I/O, 8 bits, as a byte
        EXPECT_EQ(fadt.at(offset + 4, 8), port);
    }
}

INSTANTIATE_TEST_SUITE_P(All, OfGuest, testing::ValuesIn(all_guests()),
                         [](const auto& test_case) { return test_case.param.name; });

TEST(Srat, DomainsHaveThirtyTwoBits) {
    topology::Plan plan;
    for (const auto id : {7U, 300U})
        plan.vcpus.push_back({.vcpu = 0, .apic_id = id, .virtual_node = 0x12345678, .pus = {}, .reason = {}});
    const auto found = entries({0, srat(plan, {})}, 48);
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].at(2, 1), 0x78U);
    EXPECT_EQ(found[0].at(9, 3), 0x123456U);
    EXPECT_EQ(found[1].at(4, 4), 0x12345678U);
}

struct PlaceCase {
    std::string name;
    std::vector<boot::RamRange> ram;
    std::uint64_t bytes;
    std::optional<std::uint64_t> address;
};

class Place : public testing::TestWithParam<PlaceCase> {};

TEST_P(Place, AtTheEndOfTheLowestRange) {
    const auto& [name, ram, bytes, address] = GetParam();
    const auto placed = place(ram, bytes);
    ASSERT_EQ(placed.has_value(), address.has_value());
    if (!address) {
        EXPECT_EQ(placed.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(placed.error().message(), HasSubstr("--memory"));
        return;
    }
    EXPECT_EQ(placed->address, *address);
    EXPECT_EQ(placed->bytes, round_up(bytes, 4096));
}

INSTANTIATE_TEST_SUITE_P(
    All, Place,
    testing::Values(PlaceCase{"NoRam", {}, 4096, {}}, PlaceCase{"RamNotFromZero", {{4096, GiB, 0}}, 4096, {}},
                    PlaceCase{"OnePage", {{0, GiB, 0}}, 4096, GiB - 4096},
                    PlaceCase{"OneByteMore", {{0, GiB, 0}}, 4097, GiB - 8192},
                    PlaceCase{"EndInsideAPage", {{0, GiB + 1, 0}}, 4096, GiB - 4096},
                    PlaceCase{"UnderTheHole", {{0, 3 * GiB, 0}, {4 * GiB, GiB, 1}}, 4096, 3 * GiB - 4096},
                    PlaceCase{"BetweenNodes", {{0, GiB, 0}, {GiB, GiB, 1}}, 4096, GiB - 4096},
                    PlaceCase{"JustRoom", {{0, 2 * MiB + 4096, 0}}, 4096, 2 * MiB},
                    PlaceCase{"NoRoom", {{0, 2 * MiB + 4096, 0}}, 4097, {}},
                    PlaceCase{"TooSmall", {{0, MiB, 0}}, 1, {}},
                    PlaceCase{"LessThanAPage", {{0, 100, 0}}, 1, {}}),
    [](const auto& test_case) { return test_case.param.name; });

TEST(Build, SaysWhereMemoryIsTooSmall) {
    const auto plan = plan_of({"Small", {.cores = 4096}, 1, 2 * MiB + 64 * KiB});
    const auto tables = build(plan, boot::ram_ranges(plan.nodes), some_hardware());
    ASSERT_FALSE(tables);
    EXPECT_THAT(tables.error().message(), HasSubstr("--memory"));
}

TEST(Build, ChecksTheHardware) {
    const auto plan = plan_of(all_guests().front());
    auto hardware = some_hardware();
    hardware.virtio[0].gsi = 4; // COM1 has it
    const auto tables = build(plan, boot::ram_ranges(plan.nodes), hardware);
    ASSERT_FALSE(tables);
    EXPECT_THAT(tables.error().message(), HasSubstr("GSI 4"));
}

struct DistanceCase {
    std::string name;
    std::vector<std::vector<std::uint32_t>> planned;
    std::vector<int> seen;
};

class Distances : public testing::TestWithParam<DistanceCase> {};

TEST_P(Distances, AreWhatAcpiAndLinuxAllow) {
    topology::Plan plan;
    plan.nodes.resize(2);
    plan.distances = GetParam().planned;
    EXPECT_THAT(slit_distances(plan), testing::ElementsAreArray(GetParam().seen));
}

INSTANTIATE_TEST_SUITE_P(
    All, Distances,
    testing::Values(DistanceCase{"AsPlanned", {{10, 21}, {32, 10}}, {10, 21, 32, 10}},
                    DistanceCase{"LocalIsAlwaysTen", {{0, 21}, {32, 20}}, {10, 21, 32, 10}},
                    DistanceCase{"AsNearAsLocal", {{10, 10}, {0, 10}}, {10, 11, 11, 10}},
                    DistanceCase{"Unreachable", {{10, 255}, {4294967295, 10}}, {10, 254, 254, 10}},
                    DistanceCase{"Largest", {{10, 254}, {11, 10}}, {10, 254, 11, 10}},
                    DistanceCase{"None", {}, {10, 20, 20, 10}},
                    DistanceCase{"RowMissing", {{10, 31}}, {10, 31, 20, 10}},
                    DistanceCase{"ColumnMissing", {{10}, {31}}, {10, 20, 31, 10}}),
    [](const auto& test_case) { return test_case.param.name; });

} // namespace
} // namespace nestbed::acpi::test
