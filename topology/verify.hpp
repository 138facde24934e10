// What really happened, and how it differs from the plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.hpp"
#include "topology/plan.hpp"

namespace nestbed::topology {

struct ObservedThread {
    std::uint32_t vcpu = 0;
    std::vector<std::uint32_t> affinity;      // os indexes from sched_getaffinity(), ascending
    std::optional<std::uint32_t> last_ran_on; // os index, /proc/self/task/TID/stat field 39
};

struct ObservedMemory {
    std::uint32_t virtual_node = 0;
    std::map<int, std::uint64_t>
        pages; // host node (os index) -> pages found there; negative: -errno, not present
    std::uint64_t pages_asked = 0;
};

struct Observation {
    std::vector<ObservedThread> threads;
    std::vector<ObservedMemory> memory;
};

// Reads one thread's placement. Errors: check_failed when the thread is gone.
[[nodiscard]] Result<ObservedThread> observe_thread(std::uint32_t vcpu, pid_t tid);

// Asks move_pages() where the pages of a range are; beyond `max_pages` it asks for that many, evenly spread.
// `page_bytes` is the stride, not 0. Where the kernel has no move_pages() or a container forbids it, and
// memory is on node 0 only, mincore() tells what is present there. The range is one of `process`, which 0
// says is this one; of another nothing tells what is present then. Errors: host_lacks.
[[nodiscard]] Result<ObservedMemory> observe_memory(std::uint32_t virtual_node, const std::byte* start,
                                                    std::size_t bytes, std::size_t page_bytes,
                                                    std::size_t max_pages = std::size_t{1} << 20,
                                                    pid_t process = 0);

// One difference between plan and observation, in words: "vCPU 3 may run on PUs 0-1, planned PU 1".
struct Drift {
    std::string what;
    std::string planned;
    std::string found;
};

// Empty where all is as planned. What is pinned or bound and was not observed is a difference too; what is
// neither cannot differ.
[[nodiscard]] std::vector<Drift> compare(const Plan& plan, const Observation& observation);

} // namespace nestbed::topology
