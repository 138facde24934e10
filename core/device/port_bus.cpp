#include "core/device/port_bus.hpp"

#include <algorithm>

namespace nestbed::device {

void PortBus::attach(std::uint16_t first, std::uint16_t count, PortDevice& device) {
    _entries.push_back({first, count, &device});
}

bool PortBus::dispatch_unclaimed(const PortAccess& access) {
    if (!access.out)
        std::fill(access.data.begin(), access.data.end(), std::byte{0xff});
    return false;
}

} // namespace nestbed::device
