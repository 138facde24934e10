// Dynamic masks for the system calls of placement, and what this kernel knows of nodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <sched.h>
#include <sys/types.h>

namespace nestbed::topology {

struct CpuSetDelete {
    void operator()(cpu_set_t* set) const noexcept { CPU_FREE(set); }
};

// As large as its largest PU needs; the fixed cpu_set_t ends at 1024.
struct CpuSet {
    std::unique_ptr<cpu_set_t, CpuSetDelete> bits;
    std::size_t bytes = 0;
};

// Larger indexes are nonsense: Linux on x86-64 ends at 8192.
inline constexpr std::uint32_t max_pu_index = 1U << 20;

// Empty for an index above max_pu_index or want of memory.
[[nodiscard]] std::optional<CpuSet> make_cpu_set(std::span<const std::uint32_t> pus);

// The os indexes that a thread may run on, ascending; 0 is the calling one. Empty with errno set where the
// kernel refuses.
[[nodiscard]] std::optional<std::vector<std::uint32_t>> read_affinity(pid_t tid);

// Whether there is no other memory node than this one: then every page is on it, whether or not the kernel
// (built without CONFIG_NUMA: ENOSYS) or a container's seccomp filter (EPERM) lets us ask.
[[nodiscard]] bool is_only_memory_node(std::uint32_t node);

} // namespace nestbed::topology
