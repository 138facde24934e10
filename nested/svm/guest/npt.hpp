// Nested page tables (APM volume 2, 15.25), long-mode format, built by L1 for its L2.
#pragma once

#include <cstdint>

namespace nestbed::svm {

namespace npt_bit {
inline constexpr std::uint64_t present = 1U << 0;
inline constexpr std::uint64_t write = 1U << 1;
inline constexpr std::uint64_t user = 1U << 2;
inline constexpr std::uint64_t accessed = 1U << 5;
inline constexpr std::uint64_t dirty = 1U << 6;
inline constexpr std::uint64_t large = 1U << 7;
inline constexpr std::uint64_t no_execute = std::uint64_t{1} << 63;
inline constexpr std::uint64_t address = 0x000f'ffff'ffff'f000;
} // namespace npt_bit

// EXITINFO1 of a nested page fault (15.25.6).
namespace npf {
inline constexpr std::uint64_t present = 1U << 0;
inline constexpr std::uint64_t write = 1U << 1;
inline constexpr std::uint64_t user = 1U << 2;
inline constexpr std::uint64_t reserved = 1U << 3;
inline constexpr std::uint64_t fetch = 1U << 4;
inline constexpr std::uint64_t final = std::uint64_t{1} << 32; // the guest's final physical address
inline constexpr std::uint64_t walk = std::uint64_t{1} << 33;  // a guest page table
} // namespace npf

enum class PageSize : unsigned { k4 = 1, m2 = 2, g1 = 3 };

class L2;

class NestedPageTables {
public:
    // Maps guest-physical [0, 4 GiB), and all of L1's memory, to themselves: present, write, user, not yet
    // accessed, in pages of this size. 1 GiB pages want CPUID Fn8000_0001 EDX[26].
    explicit NestedPageTables(PageSize size = PageSize::m2);

    // For VMCB field N_CR3.
    [[nodiscard]] std::uint64_t root() const { return _root; }

    // The entry that maps `address` at `level`: 1 for a page table's, 2 for a page directory's, 3, 4. Larger
    // pages on the way there are split, so that only this entry's part changes. The TLB is the caller's to
    // flush.
    [[nodiscard]] std::uint64_t& entry(std::uint64_t address, unsigned level);

    // The entry at the lowest level that is there now, and that level.
    struct Leaf {
        std::uint64_t* entry;
        unsigned level;
    };
    [[nodiscard]] Leaf leaf(std::uint64_t address);

    // From now on the tables on the way to the page table's entry of `address` are its own; all others stay
    // shared with the tables that it was copied from, where that entry is there already.
    void own_path(std::uint64_t address);

    // Sets NP_ENABLE and N_CR3.
    void use_in(L2& guest) const;

private:
    std::uint64_t _root;
};

} // namespace nestbed::svm
