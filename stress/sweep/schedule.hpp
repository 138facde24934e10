// In which order the points of a sweep run. Values only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "stress/drivers/stress_driver.hpp"

namespace nestbed::stress {

struct PlannedPoint {
    const StressDriver* driver = nullptr;
    std::size_t configuration = 0; // index
    std::uint32_t vcpus = 1;
    std::uint32_t repetition = 0;
    std::uint64_t seed = 0;
};

struct Axes {
    std::span<const StressDriver* const> drivers;
    std::size_t configurations = 1;
    std::span<const std::uint32_t> vcpus;
    std::uint64_t seed = 0;
    bool balanced = false; // configurations take turns at being first, see order_of_round()
};

// In which order `count` things are measured in a round: all of them, in an order drawn from the seed that
// begins one later in each pair of rounds, and backwards in the second round of a pair. Of such a pair each
// has the same mean place, so that a drift of the host, which grows by as much from place to place, cancels.
[[nodiscard]] std::vector<std::size_t> order_of_round(std::size_t count, std::uint32_t round,
                                                      std::uint64_t seed);

// Every combination `repeat` times. A repetition of all comes before the next of any, and configurations are
// next to each other, so that what changes on the host while the sweep runs falls on all alike. The seed of a
// point is that of the sweep plus its repetition: configurations do the same work, and one point can be
// repeated alone. vCPU counts below what a driver needs are left out.
[[nodiscard]] std::vector<PlannedPoint> plan_sweep(const Axes& axes, std::uint32_t repeat);

// One round of a mix: each driver once, in an order and with vCPUs and a configuration that are drawn from
// the seed and the round.
[[nodiscard]] std::vector<PlannedPoint> plan_mix_round(const Axes& axes, std::uint32_t round);

// How long a machine takes to come up and to go, roughly, for telling how much time is left.
[[nodiscard]] double overhead_seconds(std::uint32_t vcpus);

// How long each driver of a mix works, so that each has its turn within `total`; at least 50 ms.
[[nodiscard]] std::chrono::milliseconds mix_slot(std::chrono::milliseconds total, std::size_t drivers);

} // namespace nestbed::stress
