// What a process holds that machines may leave behind: threads, descriptors, mappings, memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "stress/footprint.hpp"

namespace nestbed::stress {

struct ProcessUse {
    Footprint footprint;
    std::uint64_t mappings = 0;       // lines of /proc/self/maps
    std::uint64_t resident_bytes = 0; // of memory of its own: RssAnon and RssShmem
};

// Errors: host_lacks where /proc cannot be read.
[[nodiscard]] Result<ProcessUse> process_use();
// The same after the kernel has had its moment to forget threads; see settled_footprint().
[[nodiscard]] Result<ProcessUse> settled_process_use(const ProcessUse& before);

// RssAnon and RssShmem of /proc/self/status, in bytes; 0 for what is not there.
[[nodiscard]] std::uint64_t resident_bytes(std::string_view status);

// A line for each that has grown over the life of `machines`. Threads and descriptors come back exactly. The
// C library keeps stacks and heaps for later, so of mappings and memory it takes growth with each machine:
// more than half a mapping, or more than 4 KiB, beyond what it keeps once.
[[nodiscard]] std::vector<std::string> judge_process_use(const ProcessUse& before, const ProcessUse& after,
                                                         std::uint64_t machines);

} // namespace nestbed::stress
