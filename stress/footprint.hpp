// What of the kernel's this process holds, for telling whether a machine left anything behind.
#pragma once

#include <cstddef>

#include "base/error.hpp"

namespace nestbed::stress {

struct Footprint {
    std::size_t threads = 0;
    std::size_t descriptors = 0;

    [[nodiscard]] bool within(const Footprint& other) const {
        return threads <= other.threads && descriptors <= other.descriptors;
    }
};

// Errors: host_lacks where /proc cannot be read.
[[nodiscard]] Result<Footprint> footprint();

// The footprint once it is within `before`, or what it still is after two seconds: the kernel takes a moment
// to forget a thread that has been joined.
[[nodiscard]] Result<Footprint> settled_footprint(const Footprint& before);

} // namespace nestbed::stress
