// Effects: puts the calling thread and memory where a plan says. The kernel may refuse; nothing is assumed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.hpp"

namespace nestbed::topology {

// Restricts the calling thread to these PUs (os indexes); empty leaves it as it is. CPU sets are as large as
// the host needs (no fixed-size cpu_set_t). Errors: host_lacks with the PUs and errno.
[[nodiscard]] Status pin_this_thread(std::span<const std::uint32_t> pus);

// mbind(MPOL_BIND) of a page-aligned range to one node, before its first touch. A kernel without CONFIG_NUMA
// or a container that forbids mbind() is no error where that node is the only one with memory: there is
// nowhere else. Errors: host_lacks.
[[nodiscard]] Status bind_memory(std::byte* start, std::size_t bytes, std::uint32_t node);

// Makes every page of the range present, in the calling thread (call it from a thread that is on the right
// node, one range per thread, to do it in parallel). `page_bytes` is the stride. Errors: host_lacks when the
// kernel has no page to give (MADV_POPULATE_WRITE, Linux 5.14; older kernels are served by touching).
[[nodiscard]] Status prefault(std::byte* start, std::size_t bytes, std::size_t page_bytes);

} // namespace nestbed::topology
