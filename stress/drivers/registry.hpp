// All stress drivers.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "report/usl.hpp"
#include "stress/drivers/stress_driver.hpp"

namespace nestbed::stress {

// In the order in which `nestbed stress list` shows them.
[[nodiscard]] std::span<const StressDriver> all_drivers();

// Those whose names match one of the shell patterns, each once, in the order of all_drivers(); "all" is all
// of them. Errors: bad_input for a pattern that none matches.
[[nodiscard]] Result<std::vector<const StressDriver*>>
select_drivers(const std::vector<std::string>& patterns);

// Those whose throughput no scaling law is fitted to, and why.
[[nodiscard]] const report::NotParallel& not_parallel_drivers();

// Each in the file of its drivers.
[[nodiscard]] std::span<const StressDriver> bringup_drivers();
[[nodiscard]] std::span<const StressDriver> ipi_drivers();
[[nodiscard]] std::span<const StressDriver> cache_line_drivers();
[[nodiscard]] std::span<const StressDriver> timer_drivers();
[[nodiscard]] std::span<const StressDriver> exit_drivers();
[[nodiscard]] std::span<const StressDriver> lock_drivers();
[[nodiscard]] std::span<const StressDriver> memory_drivers();
[[nodiscard]] std::span<const StressDriver> tlb_drivers();
[[nodiscard]] std::span<const StressDriver> dirty_drivers();
[[nodiscard]] std::span<const StressDriver> irqfd_drivers();
[[nodiscard]] std::span<const StressDriver> machine_drivers();
[[nodiscard]] std::span<const StressDriver> nested_drivers();

} // namespace nestbed::stress
