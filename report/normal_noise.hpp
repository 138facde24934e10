// Normally distributed random numbers that are the same everywhere.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "topology/random_numbers.hpp"

namespace nestbed::report {

class NormalNoise {
public:
    explicit NormalNoise(std::uint64_t seed) : _numbers{seed} {}

    // Mean 0, standard deviation 1 (Box and Muller, 1958).
    [[nodiscard]] double next() {
        const double radius = std::sqrt(-2 * std::log(uniform()));
        return radius * std::cos(2 * std::numbers::pi * uniform());
    }

private:
    // In (0, 1]: 53 bits.
    double uniform() { return static_cast<double>((_numbers.next() >> 11) + 1) * 0x1p-53; }

    topology::SplitMix64 _numbers;
};

} // namespace nestbed::report
