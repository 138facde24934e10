// What a running machine lets others know of it: which thread is which vCPU, where its RAM is in the process,
// and what was planned for both.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/error.hpp"

namespace nestbed::topology {

struct MachineRecord {
    struct Thread {
        pid_t tid = 0;                  // as the machine's own PID namespace counts
        std::vector<std::uint32_t> pus; // os indexes, planned; empty: any
    };
    struct Range {
        std::uint32_t virtual_node = 0;
        std::uint64_t address = 0;    // in the process
        std::uint64_t bytes = 0;      // whole pages
        std::uint64_t page_bytes = 0; // a power of two, 4 KiB or more
    };
    std::vector<Thread> threads;                          // by vCPU
    std::vector<std::optional<std::uint32_t>> host_nodes; // by virtual node: os index; empty: not bound
    std::vector<Range> ranges;
};

// The name of the memfd that holds a record, as memfd_create() takes it: /proc/PID/fd has
// "/memfd:nestbed-machine (deleted)".
inline constexpr std::string_view record_name = "nestbed-machine";

// Lines of words.
[[nodiscard]] std::string format_record(const MachineRecord& record);

// Errors: bad_input with the line for what format_record() does not write, and for more than 65536 vCPUs,
// 1024 nodes or 4096 ranges.
[[nodiscard]] Result<MachineRecord> parse_record(std::string_view text);

} // namespace nestbed::topology
