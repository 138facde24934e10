// Pseudo-random numbers that a seed repeats: splitmix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom
// Number Generators", 2014).
#pragma once

#include <cstdint>

namespace nestbed::guest {

constexpr std::uint64_t mix(std::uint64_t value) {
    value = (value ^ value >> 30) * 0xbf58'476d'1ce4'e5b9;
    value = (value ^ value >> 27) * 0x94d0'49bb'1331'11eb;
    return value ^ value >> 31;
}

class SplitMix {
public:
    constexpr explicit SplitMix(std::uint64_t seed) : _state{seed} {}
    constexpr std::uint64_t next() { return mix(_state += 0x9e37'79b9'7f4a'7c15); }
    // Below `limit`, which is far below 2^64.
    constexpr std::uint64_t below(std::uint64_t limit) { return next() % limit; }

private:
    std::uint64_t _state;
};

} // namespace nestbed::guest
