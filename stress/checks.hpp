// The checks of `nestbed validate`, in the order in which they run.
#pragma once

#include <span>
#include <string_view>

#include "base/error.hpp"
#include "stress/driver.hpp"

namespace nestbed::stress {

// Runs in the lab where this host cannot.
inline constexpr std::string_view l2_check = "nested.l2_exits";

struct Check {
    std::string_view name;
    std::string_view title;
    // Errors: the machine is dead or was stopped; the Error says how.
    Result<Finding> (*run)(const DriverContext& context);
    double weight = 1; // share of a run's time, roughly; for telling how much is left
};

[[nodiscard]] std::span<const Check> all_checks();

// Each in the file of its driver.
Result<Finding> check_cpuid_readback(const DriverContext& context);
Result<Finding> check_online(const DriverContext& context);
Result<Finding> check_answer(const DriverContext& context);
Result<Finding> check_threads(const DriverContext& context);
Result<Finding> check_memory(const DriverContext& context);
Result<Finding> check_topology(const DriverContext& context);
Result<Finding> check_unicast(const DriverContext& context);
Result<Finding> check_logical(const DriverContext& context);
Result<Finding> check_nmi(const DriverContext& context);
Result<Finding> check_broadcast(const DriverContext& context);
Result<Finding> check_nmi_broadcast(const DriverContext& context);
Result<Finding> check_tsc(const DriverContext& context);
Result<Finding> check_tsc_ring3(const DriverContext& context);
Result<Finding> check_timer(const DriverContext& context);
Result<Finding> check_exits(const DriverContext& context);
Result<Finding> check_nested_shown(const DriverContext& context);
Result<Finding> check_l2_exits(const DriverContext& context);
Result<Finding> check_spurious(const DriverContext& context);

} // namespace nestbed::stress
