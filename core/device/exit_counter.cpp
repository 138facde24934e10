#include "core/device/exit_counter.hpp"

#include <algorithm>

namespace nestbed::device {

namespace {

// One writer, its own vCPU thread: no locked instruction needed.
void add_one(std::atomic<std::uint64_t>& count) {
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

} // namespace

void ExitCounter::access(const PortAccess& access) {
    add_one(_counts[access.vcpu].value);
    if (!access.out)
        std::fill(access.data.begin(), access.data.end(), std::byte{0xff});
}

void ExitCounter::access(const MmioAccess& access) {
    add_one(_counts[access.vcpu].value);
    if (!access.write)
        std::fill(access.data.begin(), access.data.end(), std::byte{0xff});
}

} // namespace nestbed::device
