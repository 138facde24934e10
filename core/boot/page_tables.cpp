#include "core/boot/page_tables.hpp"

#include <algorithm>

#include "base/units.hpp"

namespace nestbed::boot {

namespace {

constexpr std::uint64_t table_entries = 512;
constexpr std::uint64_t table_bytes = 4096;
constexpr std::uint64_t bytes_per_pdpt = 512 * GiB;

constexpr std::uint64_t present_writable_user = 0x7;
constexpr std::uint64_t large = 0x80; // PS

struct Counts {
    std::uint64_t pdpts = 0;
    std::uint64_t directories = 0;
};

Counts count_tables(std::uint64_t end, bool gib_pages) {
    const auto mapped = std::max<std::uint64_t>(end, 1);
    return {round_up(mapped, bytes_per_pdpt) / bytes_per_pdpt, gib_pages ? 0 : round_up(mapped, GiB) / GiB};
}

} // namespace

std::uint64_t identity_map_bytes(std::uint64_t end, bool gib_pages) {
    const auto counts = count_tables(end, gib_pages);
    return (1 + counts.pdpts + counts.directories) * table_bytes;
}

PageTables identity_map(std::uint64_t root, std::uint64_t end, bool gib_pages) {
    const auto counts = count_tables(end, gib_pages);
    PageTables tables{root, std::vector<std::uint64_t>(identity_map_bytes(end, gib_pages) / 8)};
    // Order: the PML4, all PDPTs, all page directories; so each level is one array.
    auto* const pml4 = tables.entries.data();
    auto* const pdpt = pml4 + table_entries;
    auto* const directory = pdpt + counts.pdpts * table_entries;
    const auto address_of = [&](const std::uint64_t* table) {
        return root + static_cast<std::uint64_t>(table - pml4) * 8;
    };

    for (std::uint64_t i = 0; i < counts.pdpts; ++i)
        pml4[i] = address_of(pdpt + i * table_entries) | present_writable_user;
    const auto gib = round_up(std::max<std::uint64_t>(end, 1), GiB) / GiB;
    for (std::uint64_t i = 0; i < gib; ++i)
        pdpt[i] = gib_pages ? (i * GiB | present_writable_user | large)
                            : (address_of(directory + i * table_entries) | present_writable_user);
    if (!gib_pages) {
        const auto pages = round_up(std::max<std::uint64_t>(end, 1), 2 * MiB) / (2 * MiB);
        for (std::uint64_t i = 0; i < pages; ++i)
            directory[i] = i * 2 * MiB | present_writable_user | large;
    }
    return tables;
}

} // namespace nestbed::boot
