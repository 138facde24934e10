// Jobs of the guest that run until they are told to stop.
#pragma once

#include <functional>

#include "base/error.hpp"
#include "core/machine/machine.hpp"
#include "stress/drivers/stress_driver.hpp"

namespace nestbed::stress {

// What a job ran for.
struct Paced {
    double seconds = 0; // from the start to the last vCPU's end
};

// Starts a job that looks at a stop word, sets that word once context.duration has passed, wakes every vCPU
// that may halt, and waits until all are done, for at most context.deadline more. A job that ends by itself
// is waited for no longer. The word is a u64 in guest memory that is 0 before. Errors: as Machine::run_job().
[[nodiscard]] Result<Paced> run_until_stopped(const StressContext& context,
                                              const machine::JobRequest& request,
                                              const Table<std::uint64_t>& stop);

// Runs `batch` with its number until context.duration has passed, once at least. Errors: those of `batch`.
[[nodiscard]] Result<Paced> repeat_until_over(const StressContext& context,
                                              const std::function<Status(std::uint64_t)>& batch);

} // namespace nestbed::stress
