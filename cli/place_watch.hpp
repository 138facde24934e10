// `nestbed place watch`: where the vCPUs and pages of another nestbed's machines really are.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <sys/types.h>

#include "base/error.hpp"
#include "topology/machine_record.hpp"
#include "topology/residence.hpp"
#include "topology/verify.hpp"

namespace nestbed::cli {

struct PlaceWatchOptions {
    pid_t pid = 0;                      // 0: the only one
    std::vector<std::string> arguments; // of a nestbed to start and watch, instead
    double duration_s = 0;              // 0: until the process ends
    double interval_s = 0.2;            // between samples
    bool json = false;
};

// What was seen of one machine.
struct WatchedMachine {
    std::uint64_t inode = 0; // see topology::FoundMachine
    topology::MachineRecord record;
    std::vector<topology::VcpuResidence> vcpus;
    std::vector<topology::ObservedMemory> memory; // as last seen, a range each
    double seconds = 0;                           // from the first sample to the last
};

// Errors: bad_input where there is none or more than one, naming them.
[[nodiscard]] Result<pid_t> only_one(std::span<const pid_t> pids);

// "4 vCPUs on PUs 0-1, 2 migrations, run 1.98 PUs, steal 0.02; 4096 of 4096 pages on their nodes; no drift".
[[nodiscard]] std::string watch_line(const WatchedMachine& machine);
// A line for each vCPU, `most` at most, those that are not where they should be first; then one for each
// drift.
[[nodiscard]] std::string watch_table(const WatchedMachine& machine, std::size_t most);
[[nodiscard]] nlohmann::ordered_json watch_json(const WatchedMachine& machine);

// Returns the exit code: that of a command that was started and failed, else 1 where anything was not as
// planned.
int watch_places(const PlaceWatchOptions& options);

} // namespace nestbed::cli
