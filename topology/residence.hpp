// Where vCPU threads and pages were while a guest ran, sample by sample, against what was planned. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "topology/machine_record.hpp"
#include "topology/proc_text.hpp"
#include "topology/verify.hpp"

namespace nestbed::topology {

// Of one thread at one time; empty is what could not be read.
struct ThreadSample {
    std::optional<std::uint32_t> processor;
    std::optional<SchedulerTimes> times;
    std::optional<std::uint64_t> migrations; // since the thread began
    std::vector<std::uint32_t> affinity;     // os indexes, ascending
};

struct VcpuResidence {
    std::map<std::uint32_t, std::uint64_t> ran_on; // PU -> samples since whose predecessor the thread had run
    std::uint64_t moves_seen = 0;                  // from one sample to the next: a lower bound of migrations
    std::optional<ThreadSample> first, last;
    std::vector<std::uint32_t> strange_affinity; // the last one that is not the planned one; empty: none
    std::uint64_t samples = 0;
};

// By the kernel's count where it has one.
[[nodiscard]] std::uint64_t migrations_of(const VcpuResidence& residence);
// Between the first and the last sample; 0 where the kernel does not say.
[[nodiscard]] SchedulerTimes times_of(const VcpuResidence& residence);

[[nodiscard]] VcpuResidence add_sample(VcpuResidence so_far, const MachineRecord::Thread& planned,
                                       ThreadSample sample);

// `vcpus` by vCPU, `memory` as last seen, a range each. Empty where all is as planned; what is not pinned,
// not bound or not present cannot differ.
[[nodiscard]] std::vector<Drift> drift_of(const MachineRecord& planned, std::span<const VcpuResidence> vcpus,
                                          std::span<const ObservedMemory> memory);

} // namespace nestbed::topology
