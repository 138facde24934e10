// "tlb.shootdown", "nested.l2_tlb_*": pages are mapped elsewhere again and again while all vCPUs read them.
// Compiles freestanding.
//
// Each page of the window is mapped to a few pages in turn. Generation g writes `value_of(g, page)` to
// the next one, maps it, has all vCPUs drop their translations, and then overwrites the one
// before. A reader that has seen generation g completed must never read an older value, nor poison, which
// only a stale translation leads to.
#pragma once

#include <cstdint>

namespace nestbed::stress::wire::tlb {

inline constexpr std::uint8_t vector = 0xd4;
inline constexpr std::uint64_t window_pages = 8;
// Pages that each page of the window is mapped to in turn: what was mapped stays poisoned for so many
// generations but two, where a stale translation finds it.
inline constexpr std::uint64_t places = 4;
// Of each page these many words are used, this far apart: more would only take time where a store in ring 0
// does.
inline constexpr std::uint64_t words = 16;
inline constexpr std::uint64_t word_stride = 32;
inline constexpr std::uint64_t poison = 0xdead'dead'dead'dead;

constexpr std::uint64_t value_of(std::uint64_t generation, std::uint64_t page) {
    return generation << 16 | page;
}

// Shared by all vCPUs; the first one writes it, but for `answers`.
struct alignas(64) State {
    std::uint64_t begun;               // generation that may be seen
    std::uint64_t completed;           // generation that must be seen
    alignas(64) std::uint64_t answers; // vCPUs that have dropped their translations for `begun`
};

struct alignas(64) Counts {
    std::uint64_t reads;
    std::uint64_t stale;   // values that are too old, too new, or poison
    std::uint64_t dropped; // times that it dropped its translations
    std::uint64_t value;   // of the first stale one, and between which generations it had to be
    std::uint64_t completed;
    std::uint64_t begun;
    std::uint64_t ended; // 1
};

enum Argument {
    reports,      // of "nested.l2_tlb_*": GPA from which on memory is free, see nested/guest/memory.hpp
    stop,         // GPA of a u64 that the host makes 1
    state,        // GPA of State
    counts,       // GPA of Counts[vcpus]
    pages,        // GPA of 3 pages for page tables, then places * window_pages, zero at first
    seed,         //
    samples,      // GPA of u32[samples_each]: TSC ticks from the first entry that changes to the last answer
    samples_each, // the latest so many
};
inline constexpr std::uint64_t table_pages = 3;

} // namespace nestbed::stress::wire::tlb
