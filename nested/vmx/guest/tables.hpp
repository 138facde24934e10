// Paging structures of four levels that L1 builds: EPT's, and those of 64-bit mode for an L2 with tables of
// its own. They differ in the bits of an entry alone.
#pragma once

#include <cstdint>

namespace nestbed::vmx {

enum class PageSize : unsigned { k4 = 1, m2 = 2, g1 = 3 };
const char* text_of(PageSize size);

// SDM volume 3, "4-Level Paging and 5-Level Paging".
namespace page_bit {
inline constexpr std::uint64_t present = 1U << 0;
inline constexpr std::uint64_t write = 1U << 1;
inline constexpr std::uint64_t user = 1U << 2;
inline constexpr std::uint64_t accessed = 1U << 5;
inline constexpr std::uint64_t dirty = 1U << 6;
inline constexpr std::uint64_t large = 1U << 7; // the same in EPT
inline constexpr std::uint64_t global = 1U << 8;
inline constexpr std::uint64_t execute_disable = std::uint64_t{1} << 63;
inline constexpr std::uint64_t address = 0x000f'ffff'ffff'f000; // the same in EPT
inline constexpr std::uint64_t all = present | write | user;
} // namespace page_bit

class FourLevelTables {
public:
    [[nodiscard]] std::uint64_t root() const { return _root; }

    // The entry that maps `address` at `level`: 1 for a page table's, 2 for a page directory's, 3, 4. Larger
    // pages on the way there are split, so that only this entry's part changes. The TLB is the caller's to
    // flush.
    [[nodiscard]] std::uint64_t& entry(std::uint64_t address, unsigned level);

    // From now on the tables on the way to the page table's entry of `address` are its own; all others stay
    // shared with the tables that it was copied from, where that entry is there already.
    void own_path(std::uint64_t address);

    // The entry that maps `address` now, of whatever size.
    [[nodiscard]] std::uint64_t leaf(std::uint64_t address) const;

protected:
    // Maps [0, 4 GiB), and all of L1's memory, to themselves in pages of this size. `table` and `leaf` are
    // the bits of entries that refer to a table or map a page.
    FourLevelTables(PageSize size, std::uint64_t table, std::uint64_t leaf);

private:
    std::uint64_t _root;
    std::uint64_t _table;
};

// Of 64-bit mode: present, write, user. For an L2's CR3.
class LongModeTables : public FourLevelTables {
public:
    explicit LongModeTables(PageSize size = PageSize::m2)
        : FourLevelTables{size, page_bit::all, page_bit::all} {}
};

// The page, or table, that an entry names.
constexpr std::uint64_t page_of(std::uint64_t address) {
    return address & ~std::uint64_t{0xfff};
}

} // namespace nestbed::vmx
