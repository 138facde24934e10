#include "nested/vmx/guest/tables.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"

namespace nestbed::vmx {

namespace {

using namespace page_bit;

// Of both formats: an entry is there where any of them is set. All of a table's own are.
constexpr std::uint64_t any = 7;

std::uint64_t* table_at(std::uint64_t entry) {
    return guest::pointer_to<std::uint64_t>(entry & address);
}

constexpr unsigned shift_of(unsigned level) {
    return 12 + 9 * (level - 1);
}

std::uint64_t new_table() {
    return conform::physical(conform::allocate_pages(1));
}

} // namespace

const char* text_of(PageSize size) {
    switch (size) {
    case PageSize::k4:
        return "4 KiB";
    case PageSize::m2:
        return "2 MiB";
    default:
        return "1 GiB";
    }
}

FourLevelTables::FourLevelTables(PageSize size, std::uint64_t table_bits, std::uint64_t leaf_bits)
    : _root{new_table()}, _table{table_bits} {
    const auto leaf_level = static_cast<unsigned>(size);
    const auto step = std::uint64_t{1} << shift_of(leaf_level);
    constexpr std::uint64_t four_gib = std::uint64_t{4} << 30;
    // 4 KiB pages for all of 4 GiB would be 8 MiB of tables: L1's own memory is what L2 uses.
    const auto end = leaf_level == 1                    ? conform::memory_end()
                     : conform::memory_end() > four_gib ? conform::memory_end()
                                                        : four_gib;
    for (std::uint64_t at = 0; at < end; at += step) {
        auto* table = table_at(_root);
        for (unsigned level = 4; level > leaf_level; --level) {
            auto& slot = table[at >> shift_of(level) & 511];
            if (slot == 0)
                slot = new_table() | table_bits;
            table = table_at(slot);
        }
        table[at >> shift_of(leaf_level) & 511] = at | leaf_bits | (leaf_level > 1 ? large : 0);
    }
}

std::uint64_t& FourLevelTables::entry(std::uint64_t at, unsigned level) {
    auto* table = table_at(_root);
    for (unsigned here = 4; here > level; --here) {
        auto& slot = table[at >> shift_of(here) & 511];
        if ((slot & any) == 0) {
            slot = new_table() | _table;
        } else if ((slot & large) != 0) {
            const auto below = new_table();
            const auto keep = slot & ~(address | large);
            const auto base = slot & address & ~((std::uint64_t{1} << shift_of(here)) - 1);
            for (std::uint64_t i = 0; i < 512; ++i)
                table_at(below)[i] = (base + (i << shift_of(here - 1))) | keep | (here - 1 > 1 ? large : 0);
            slot = below | _table;
        }
        table = table_at(slot);
    }
    return table[at >> shift_of(level) & 511];
}

void FourLevelTables::own_path(std::uint64_t at) {
    const auto copy = [](std::uint64_t table) {
        const auto own = new_table();
        conform::copy_page(table_at(own), table_at(table));
        return own;
    };
    _root = copy(_root);
    auto* table = table_at(_root);
    for (unsigned level = 4; level > 1; --level) {
        auto& slot = table[at >> shift_of(level) & 511];
        slot = copy(slot) | (slot & ~address);
        table = table_at(slot);
    }
}

std::uint64_t FourLevelTables::leaf(std::uint64_t at) const {
    auto entry = _root;
    for (unsigned level = 4; level > 0; --level) {
        entry = table_at(entry)[at >> shift_of(level) & 511];
        if ((entry & any) == 0 || (entry & large) != 0)
            break;
    }
    return entry;
}

} // namespace nestbed::vmx
