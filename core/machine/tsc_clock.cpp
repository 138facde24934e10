#include "core/machine/tsc_clock.hpp"

namespace nestbed::machine {

std::optional<TscClock> TscClock::between(const TscSample& first, const TscSample& last) {
    if (last.tsc <= first.tsc || last.time <= first.time)
        return {};
    return TscClock{first, last};
}

std::optional<std::chrono::steady_clock::time_point> TscClock::time_of(std::uint64_t tsc) const {
    if (tsc < _first.tsc || tsc > _last.tsc)
        return {};
    // An hour at 4 GHz is 2^44 ticks and 2^42 ns: 64 bits do not hold the product.
    __extension__ using Wide = unsigned __int128;
    const auto span = std::chrono::nanoseconds{_last.time - _first.time}.count();
    const auto ns = Wide{tsc - _first.tsc} * static_cast<std::uint64_t>(span) / (_last.tsc - _first.tsc);
    return _first.time + std::chrono::nanoseconds{static_cast<std::int64_t>(ns)};
}

} // namespace nestbed::machine
