// Whether threads, pages and CPUID tables are where and what the plan says; the same for every guest.
#pragma once

#include "base/error.hpp"
#include "core/machine/chassis.hpp"
#include "stress/driver.hpp"

namespace nestbed::stress {

// While the vCPUs' threads are there. Errors: check_failed when one is gone.
[[nodiscard]] Result<Finding> threads_where_planned(const machine::Chassis& chassis);
// Pages that are not there fail where all were asked to be there.
[[nodiscard]] Result<Finding> memory_where_planned(const machine::Chassis& chassis,
                                                   machine::Presence presence);
[[nodiscard]] Finding cpuid_as_written(const machine::Chassis& chassis);

} // namespace nestbed::stress
