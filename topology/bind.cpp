#include "topology/bind.hpp"

#include <cerrno>
#include <limits>
#include <vector>

#include <numaif.h>
#include <sched.h>
#include <sys/mman.h>

#include <fmt/format.h>

#include "base/ranges.hpp"
#include "base/units.hpp"
#include "topology/kernel_numa.hpp"

// Of Linux 5.14; the headers of older C libraries lack it.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace nestbed::topology {

namespace {

// Writes back what is there, so that the page is private and present and its content stays.
void touch(std::byte* start, std::size_t bytes, std::size_t page_bytes) {
    for (std::size_t at = 0; at < bytes; at += page_bytes) {
        volatile std::byte& cell = start[at];
        cell = static_cast<std::byte>(cell);
    }
}

// Of no bytes it does nothing, and EINVAL tells that the kernel does not know it (madvise(2)).
bool knows_populate() {
    return ::madvise(nullptr, 0, MADV_POPULATE_WRITE) == 0;
}

} // namespace

Status pin_this_thread(std::span<const std::uint32_t> pus) {
    if (pus.empty())
        return {};
    const auto asked = fmt::format("pin this thread to PUs {} (sched_setaffinity)", format_ranges(pus));
    const auto set = make_cpu_set(pus);
    if (!set)
        return fail(ErrorKind::host_lacks, asked, fmt::format("no PU has an index above {}", max_pu_index));
    if (::sched_setaffinity(0, set->bytes, set->bits.get()) != 0)
        return fail_errno(ErrorKind::host_lacks, asked,
                          "see which PUs this process may use (taskset -p, the cgroup's cpuset.cpus)");
    return {};
}

Status bind_memory(std::byte* start, std::size_t bytes, std::uint32_t node) {
    constexpr std::uint32_t bits = std::numeric_limits<unsigned long>::digits;
    // Linux ends at 1024 nodes; the bound keeps the mask from growing with nonsense.
    constexpr std::uint32_t max_node = 4095;
    const auto asked = fmt::format("bind {} to host node {} (mbind)", format_size(bytes), node);
    if (node > max_node)
        return fail(ErrorKind::host_lacks, asked, "there is no such node");
    std::vector<unsigned long> mask(node / bits + 1, 0);
    mask[node / bits] |= 1UL << (node % bits);
    // The kernel looks at one bit less than it is told (mm/mempolicy.c, get_nodes()).
    if (::mbind(start, bytes, MPOL_BIND, mask.data(), mask.size() * bits + 1, 0) == 0)
        return {};
    const int number = errno;
    if ((number == ENOSYS || number == EPERM) && is_only_memory_node(node))
        return {};
    return fail(ErrorKind::host_lacks, asked, errno_text(number),
                number == EPERM ? "in a container, allow it with --cap-add SYS_NICE; or use --policy none"
                                : "see which nodes have memory (numactl --hardware), or use --policy none");
}

Status prefault(std::byte* start, std::size_t bytes, std::size_t page_bytes) {
    if (bytes == 0 || page_bytes == 0)
        return {};
    int number = EINTR;
    while (number == EINTR || number == EAGAIN)
        number = ::madvise(start, bytes, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
    if (number == 0)
        return {};
    if (number != EINVAL || knows_populate())
        return fail(ErrorKind::host_lacks,
                    fmt::format("make {} of memory present (MADV_POPULATE_WRITE)", format_size(bytes)),
                    errno_text(number),
                    "ask for less memory, or for fewer huge pages than the node has free");
    touch(start, bytes, page_bytes);
    return {};
}

} // namespace nestbed::topology
