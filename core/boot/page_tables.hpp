// Identity-mapping page tables as values.
#pragma once

#include <cstdint>
#include <vector>

namespace nestbed::boot {

struct PageTables {
    std::uint64_t root = 0;             // guest-physical address of the PML4, for CR3
    std::vector<std::uint64_t> entries; // what to write at `root`, 512 to a table
};

// Maps guest-physical [0, end) to itself: present, writable, user (a payload's ring 3 part is no enemy of its
// ring 0), executable (SDM volume 3, 4.5; APM volume 2, 5.3). With 1 GiB pages where `gib_pages`, else 2 MiB
// ones, which is what `end` is rounded up to. `root` is a multiple of 4 KiB; the tables follow it. `end` is
// at most 2^47.
[[nodiscard]] PageTables identity_map(std::uint64_t root, std::uint64_t end, bool gib_pages);

// Bytes that identity_map() will need.
[[nodiscard]] std::uint64_t identity_map_bytes(std::uint64_t end, bool gib_pages);

} // namespace nestbed::boot
