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
};

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
