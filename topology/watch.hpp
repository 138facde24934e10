// Effects: looks at the machines of another process, without stopping it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <sys/types.h>

#include "base/error.hpp"
#include "topology/machine_record.hpp"
#include "topology/residence.hpp"
#include "topology/verify.hpp"

namespace nestbed::topology {

struct FoundMachine {
    std::uint64_t inode = 0; // of its record: other than that of each machine alive
    MachineRecord record;
};

// The machines that a process has now. Errors: host_lacks where it is gone or not ours to look into;
// bad_input for a record of another version.
[[nodiscard]] Result<std::vector<FoundMachine>> find_machines(pid_t pid);

// Processes that have a machine now, of those that we may look into, ascending.
[[nodiscard]] std::vector<pid_t> find_processes_with_machines();

enum class WithMigrations { no, yes };

// Nothing of what is gone.
[[nodiscard]] ThreadSample sample_thread(pid_t pid, pid_t tid, WithMigrations migrations);

// `most` pages of each range, evenly spread. Errors: host_lacks.
[[nodiscard]] Result<std::vector<ObservedMemory>> sample_memory(pid_t pid, const MachineRecord& record,
                                                                std::size_t most);

} // namespace nestbed::topology
