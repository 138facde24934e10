#include "stress/drivers/stress_driver.hpp"

#include <utility>

namespace nestbed::stress {

Counted skipped(std::string why) {
    return {.verdict = report::Verdict::skipped, .reason = std::move(why)};
}

DriverContext on_machine(const StressContext& context) {
    return {*context.machine, context.seed, context.deadline};
}

} // namespace nestbed::stress
