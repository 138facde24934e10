#include "report/sweep.hpp"

#include <cmath>

namespace nestbed::report {

std::optional<double> throughput(const SweepPoint& point) {
    const bool was_measured = std::isfinite(point.operations) && std::isfinite(point.seconds) &&
                              point.operations > 0 && point.seconds > 0;
    return was_measured ? std::optional{point.operations / point.seconds} : std::nullopt;
}

} // namespace nestbed::report
