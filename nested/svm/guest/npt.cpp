#include "nested/svm/guest/npt.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/l2.hpp"

namespace nestbed::svm {

namespace {

using namespace npt_bit;

constexpr std::uint64_t table_bits = present | write | user;

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

NestedPageTables::NestedPageTables(PageSize size) : _root{new_table()} {
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
        table[at >> shift_of(leaf_level) & 511] = at | table_bits | (leaf_level > 1 ? large : 0);
    }
}

std::uint64_t& NestedPageTables::entry(std::uint64_t at, unsigned level) {
    auto* table = table_at(_root);
    for (unsigned here = 4; here > level; --here) {
        auto& slot = table[at >> shift_of(here) & 511];
        if ((slot & present) == 0) {
            slot = new_table() | table_bits;
        } else if ((slot & large) != 0) {
            const auto below = new_table();
            const auto keep = slot & ~(address | large);
            const auto base = slot & address & ~((std::uint64_t{1} << shift_of(here)) - 1);
            for (std::uint64_t i = 0; i < 512; ++i)
                table_at(below)[i] = (base + (i << shift_of(here - 1))) | keep | (here - 1 > 1 ? large : 0);
            slot = below | table_bits;
        }
        table = table_at(slot);
    }
    return table[at >> shift_of(level) & 511];
}

void NestedPageTables::own_path(std::uint64_t at) {
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

NestedPageTables::Leaf NestedPageTables::leaf(std::uint64_t at) {
    auto* table = table_at(_root);
    for (unsigned level = 4;; --level) {
        auto& slot = table[at >> shift_of(level) & 511];
        if (level == 1 || (slot & present) == 0 || (level < 4 && (slot & large) != 0))
            return {&slot, level};
        table = table_at(slot);
    }
}

void NestedPageTables::use_in(L2& guest) const {
    guest.control().nested_ctl |= 1;
    guest.control().n_cr3 = _root;
}

} // namespace nestbed::svm
