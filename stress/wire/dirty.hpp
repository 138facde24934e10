// "dirty.write": every vCPU writes pages at random. Compiles freestanding.
#pragma once

#include <cstdint>

namespace nestbed::stress::wire::dirty {

struct alignas(64) Counts {
    std::uint64_t own;    // stores to pages of its own
    std::uint64_t shared; // additions of 1 to words of pages that all vCPUs write
};

// The arena has pages_each pages for each vCPU, then as many that all of them share.
enum Argument {
    stop,       // GPA of a u64 that the host makes 1
    arena,      // GPA of the pages, zero at first
    pages_each, //
    seed,       //
    counts,     // GPA of Counts[vcpus]
    written,    // GPA of u64[vcpus * pages_each]: the last stamp that was stored in each of its own pages
};

// The word of a page that holds its stamp; any other may be written as well.
constexpr std::uint64_t stamp_word(std::uint64_t page) {
    return page * 7 % 512;
}

} // namespace nestbed::stress::wire::dirty
