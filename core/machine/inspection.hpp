// What a machine turns out to be, from its threads, its pages and KVM's counters: for verdicts and diagnoses.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "core/kvm/statistics.hpp"
#include "core/kvm/vm.hpp"
#include "core/machine/guest_link.hpp"
#include "core/machine/guest_memory.hpp"
#include "core/machine/vcpu_thread.hpp"
#include "topology/plan.hpp"
#include "topology/verify.hpp"

namespace nestbed::machine {

using VcpuThreads = std::vector<std::unique_ptr<VcpuThread>>;

// Where threads and pages really are. Errors: check_failed when a thread is gone.
[[nodiscard]] Result<topology::Observation> observe(const VcpuThreads& threads, const GuestMemory& memory,
                                                    topology::PageSize page_size);

struct MachineStatistics {
    std::vector<kvm::StatisticDescription> entries;
    std::vector<std::vector<std::uint64_t>> vcpus; // raw words per vCPU; empty where they could not be read
    std::vector<kvm::StatisticDescription> vm_entries;
    std::vector<std::uint64_t> vm;
};
// Nothing where no vCPU has any. `words_of` has those of a vCPU, by `layout`.
[[nodiscard]] MachineStatistics
statistics_of(const kvm::Vm& vm, const kvm::VcpuStatisticsLayout& layout, const VcpuThreads& threads,
              const std::function<std::vector<std::uint64_t>(const VcpuThread&)>& words_of);

// Registers, mp_state, last exits and exceptions of the first of `suspects`, then how many more there are.
// After all threads have been joined, with snapshots.
[[nodiscard]] std::vector<std::string> describe_suspects(const std::vector<std::uint32_t>& suspects,
                                                         const topology::Plan& plan,
                                                         const VcpuThreads& threads, const GuestLink& guest);

// Registers, mp_state and last exits of the BSP and of the first others that neither wait for a SIPI nor are
// halted, then how many more there are. After all threads have been joined, with snapshots.
[[nodiscard]] std::vector<std::string> describe_busy(const topology::Plan& plan, const VcpuThreads& threads);

// The last lines that the guest logged, and how many were lost.
[[nodiscard]] std::vector<std::string> describe_log(const GuestLink& guest);

} // namespace nestbed::machine
