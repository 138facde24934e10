// When a loop of slow rounds has gone on for long enough.
#pragma once

#include <cstdint>

#include "core/guest/runtime.hpp"

namespace nestbed::guest {

class Patience {
public:
    // From now on, in TSC ticks; 0: without end.
    Patience(std::uint64_t ticks, std::uint64_t least) : _start{rdtsc()}, _ticks{ticks}, _least{least} {}

    [[nodiscard]] bool ends_before(std::uint64_t round) const {
        return _ticks != 0 && round >= _least && rdtsc() - _start > _ticks;
    }

private:
    std::uint64_t _start;
    std::uint64_t _ticks;
    std::uint64_t _least;
};

} // namespace nestbed::guest
