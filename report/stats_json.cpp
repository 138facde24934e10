#include "report/stats_json.hpp"

#include <cmath>

namespace nestbed::report {

using Json = nlohmann::ordered_json;

Json number(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json to_json(const Interval& interval) {
    return Json::array({number(interval.low), number(interval.high)});
}

Json to_json(const Summary& summary) {
    return {{"unit", summary.unit},
            {"warmup", summary.warmup},
            {"count", summary.count},
            {"min", number(summary.min)},
            {"median", number(summary.median)},
            {"p90", number(summary.p90)},
            {"p99", number(summary.p99)},
            {"max", number(summary.max)},
            {"mean", number(summary.mean)},
            {"median_ci95", summary.median_ci95 ? to_json(*summary.median_ci95) : Json(nullptr)}};
}

} // namespace nestbed::report
