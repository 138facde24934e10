#include "core/device/exit_counter.hpp"

#include <algorithm>

namespace nestbed::device {

void ExitCounter::access(const PortAccess& access) {
    // One writer, its own vCPU thread: no locked instruction needed.
    auto& count = _counts[access.vcpu].value;
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (!access.out)
        std::fill(access.data.begin(), access.data.end(), std::byte{0xff});
}

} // namespace nestbed::device
