#include "core/device/mmio_bus.hpp"

#include <algorithm>

namespace nestbed::device {

void MmioBus::attach(std::uint64_t first, std::uint64_t bytes, MmioDevice& device) {
    const auto place = std::ranges::upper_bound(_entries, first, {}, &Entry::first);
    _entries.insert(place, {first, first + (bytes - 1), &device});
}

bool MmioBus::dispatch(const MmioAccess& access) const {
    auto entry = std::ranges::upper_bound(_entries, access.address, {}, &Entry::first);
    if (entry != _entries.begin() && !access.data.empty()) {
        --entry;
        // Subtractions, since an address at the end of the space plus a width is a small number.
        if (access.address <= entry->last && access.data.size() - 1 <= entry->last - access.address) {
            entry->device->access(access);
            return true;
        }
    }
    if (!access.write)
        std::ranges::fill(access.data, std::byte{0xff});
    return false;
}

} // namespace nestbed::device
