// What is asked where placements are compared: which figure of each driver, and what the scores of the plans
// foretell.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "report/place_comparison.hpp"
#include "stress/drivers/stress_driver.hpp"
#include "stress/sweep/sweep.hpp"
#include "topology/host.hpp"
#include "topology/traffic.hpp"

namespace nestbed::stress {

// How a driver's work depends on the placement.
struct DriverPattern {
    std::string fact;                               // of a point, which is compared; empty: the throughput
    std::string unit;                               // of the fact
    std::optional<topology::TrafficSource> traffic; // who talks; empty: each vCPU with memory of its own node
};

[[nodiscard]] DriverPattern pattern_of(std::string_view driver);

// The machine that a driver gets at one point: what was not asked for is what vCPUs and driver need.
[[nodiscard]] MachineRequest machine_for(const StressDriver& driver, MachineRequest asked,
                                         std::uint32_t vcpus);

// A question for each driver, with all configurations. `traffic` is what all drivers are judged by; empty:
// each by its own pattern. Errors: those of topology::plan(), for any driver and configuration, and of
// traffic_of().
[[nodiscard]] Result<std::vector<report::PlaceQuestion>>
place_questions(std::span<const StressDriver* const> drivers,
                std::span<const SweepConfiguration> configurations, std::uint32_t vcpus,
                const topology::Host& host, const std::optional<topology::TrafficSource>& traffic);

} // namespace nestbed::stress
