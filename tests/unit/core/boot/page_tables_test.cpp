#include "core/boot/page_tables.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::boot {
namespace {

constexpr std::uint64_t present = 1;
constexpr std::uint64_t writable = 2;
constexpr std::uint64_t user = 4;
constexpr std::uint64_t page_size_bit = 0x80;
constexpr std::uint64_t no_execute = std::uint64_t{1} << 63;
constexpr std::uint64_t address_bits = 0x000f'ffff'ffff'f000;

// The MMU's way through the tables in IA-32e mode (SDM volume 3, 4.5.4): empty for a page fault, whether for
// a missing entry, for a reserved bit or for a lack of rights in ring 3.
class Walker {
public:
    explicit Walker(const PageTables& tables) : _tables{tables} {}

    [[nodiscard]] std::optional<std::uint64_t> translate(std::uint64_t linear) const {
        const auto pml4e = entry(_tables.root, linear >> 39 & 511);
        if (!pml4e || (*pml4e & page_size_bit) != 0)
            return std::nullopt;
        const auto pdpte = entry(*pml4e & address_bits, linear >> 30 & 511);
        if (!pdpte)
            return std::nullopt;
        if ((*pdpte & page_size_bit) != 0)
            return page(*pdpte, GiB, linear);
        const auto pde = entry(*pdpte & address_bits, linear >> 21 & 511);
        if (!pde || (*pde & page_size_bit) == 0) // 4 KiB pages are not what was asked for
            return std::nullopt;
        return page(*pde, 2 * MiB, linear);
    }

private:
    [[nodiscard]] std::optional<std::uint64_t> entry(std::uint64_t table, std::uint64_t index) const {
        const auto at = (table - _tables.root) / 8 + index;
        if (table < _tables.root || table % 4096 != 0 || at >= _tables.entries.size())
            return std::nullopt;
        const auto value = _tables.entries[at];
        const auto wanted = present | writable | user;
        if ((value & wanted) != wanted || (value & no_execute) != 0)
            return std::nullopt;
        return value;
    }

    // Address bits below the page size, except the PAT bit 12, are reserved.
    static std::optional<std::uint64_t> page(std::uint64_t entry, std::uint64_t bytes, std::uint64_t linear) {
        if ((entry & (bytes - 1) & address_bits) != 0)
            return std::nullopt;
        return (entry & address_bits) + linear % bytes;
    }

    const PageTables& _tables;
};

class IdentityMap : public testing::TestWithParam<std::tuple<std::uint64_t, bool>> {};

TEST_P(IdentityMap, MapsEveryAddressToItselfAndNothingElse) {
    const auto [end, gib_pages] = GetParam();
    constexpr std::uint64_t root = 0x12'3000;
    const auto tables = identity_map(root, end, gib_pages);
    EXPECT_EQ(tables.root, root);
    EXPECT_EQ(tables.entries.size() * 8, identity_map_bytes(end, gib_pages));

    const Walker walker{tables};
    const auto page = gib_pages ? GiB : 2 * MiB;
    const auto mapped_end = round_up(std::max<std::uint64_t>(end, 1), page);
    for (std::uint64_t start = 0; start < mapped_end; start += 2 * MiB)
        for (const auto address : {start, start + 0x1f'fff8})
            ASSERT_EQ(walker.translate(address), address) << std::hex << address;
    for (const auto beyond :
         {mapped_end, mapped_end + 2 * MiB, mapped_end + GiB, round_up(mapped_end, 512 * GiB),
          2 * round_up(mapped_end, 512 * GiB), (std::uint64_t{1} << 47) - 1})
        EXPECT_EQ(walker.translate(beyond), std::nullopt) << std::hex << beyond;
}

INSTANTIATE_TEST_SUITE_P(Ends, IdentityMap,
                         testing::Combine(testing::Values(1, MiB, 2 * MiB, 2 * MiB + 1, GiB, 3 * GiB, 4 * GiB,
                                                          4 * GiB + 5 * MiB, 512 * GiB, 512 * GiB + 4096,
                                                          600 * GiB),
                                          testing::Bool()),
                         [](const auto& test_case) {
                             return fmt::format("{}_{}", std::get<0>(test_case.param),
                                                std::get<1>(test_case.param) ? "1G" : "2M");
                         });

TEST(IdentityMapSize, IsWhatTheManualsLevelsNeed) {
    EXPECT_EQ(identity_map_bytes(4 * GiB, true), 2U * 4096);
    EXPECT_EQ(identity_map_bytes(4 * GiB, false), 6U * 4096) << "PML4, PDPT, a directory a GiB";
    EXPECT_EQ(identity_map_bytes(4 * GiB + 1, false), 7U * 4096);
    EXPECT_EQ(identity_map_bytes(512 * GiB, true), 2U * 4096) << "one PDPT is just full";
    EXPECT_EQ(identity_map_bytes(600 * GiB, true), 3U * 4096);
    EXPECT_EQ(identity_map_bytes(600 * GiB, false), 603U * 4096);
}

} // namespace
} // namespace nestbed::boot
