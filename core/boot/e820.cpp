#include "core/boot/e820.hpp"

#include <algorithm>
#include <array>

namespace nestbed::boot {

namespace {

// Where an extent begins or ends. Where several lie over one another, the highest rank says what is there.
struct Edge {
    std::uint64_t address = 0;
    std::size_t rank = 0;
    bool begins = false;
};

constexpr std::array ranks{E820Type::usable, E820Type::reserved, E820Type::acpi};

} // namespace

std::vector<E820Entry> e820_map(std::span<const RamRange> ram, std::span<const Extent> acpi_tables) {
    std::vector<Edge> edges;
    const auto add = [&](std::uint64_t start, std::uint64_t bytes, std::size_t rank) {
        if (bytes == 0)
            return;
        edges.push_back({start, rank, true});
        edges.push_back({start + bytes, rank, false});
    };
    for (const auto& range : ram)
        add(range.address, range.bytes, 0);
    add(bios_area, bios_area_end - bios_area, 1);
    for (const auto& table : acpi_tables)
        add(table.address, table.bytes, 2);
    // Beginnings first, so that no count goes below zero.
    std::ranges::sort(edges, [](const Edge& a, const Edge& b) {
        return a.address != b.address ? a.address < b.address : a.begins && !b.begins;
    });

    std::array<std::size_t, ranks.size()> open{}; // extents of each rank at the address
    std::vector<E820Entry> map;
    for (std::size_t i = 0; i < edges.size(); ++i) {
        if (edges[i].begins)
            ++open[edges[i].rank];
        else
            --open[edges[i].rank];
        if (i + 1 == edges.size() || edges[i + 1].address == edges[i].address)
            continue;
        const auto top = std::find_if(open.rbegin(), open.rend(), [](std::size_t n) { return n > 0; });
        if (top == open.rend())
            continue;
        const auto type = ranks[static_cast<std::size_t>(open.rend() - top) - 1];
        const auto start = edges[i].address;
        const auto bytes = edges[i + 1].address - start;
        if (!map.empty() && map.back().end() == start && map.back().type == type)
            map.back().bytes += bytes;
        else
            map.push_back({start, bytes, type});
    }
    return map;
}

} // namespace nestbed::boot
