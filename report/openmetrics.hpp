// A run's state as OpenMetrics text 1.0.0, which Prometheus and others scrape.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/kvm/statistics.hpp"
#include "report/run_result.hpp"

namespace nestbed::report {

inline constexpr std::string_view openmetrics_content_type =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Gauge {
    std::string name; // "nestbed_sweep_points_done"
    std::string help; // one line
    double value = 0;
    std::map<std::string, std::string> labels; // {"driver", "ipi.unicast"}
};

// Names of statistics whose values only grow: those that KVM calls cumulative. All others are gauges.
[[nodiscard]] std::vector<std::string> cumulative_names(const kvm::StatisticsLayout& layout);

// "kvm_vcpu_exits_total{vcpu="3"} 17" for each vCPU and statistic, "kvm_vm_..." for those of the VM, then the
// gauges, one family for each name; ends in "# EOF". `cumulative` are names of KVM's statistics. Characters
// that a name may not have become '_'; units of seconds are in seconds and carry the suffix, as the format
// wants it.
[[nodiscard]] std::string to_openmetrics(const KvmStatistics& statistics,
                                         const std::vector<std::string>& cumulative,
                                         const std::vector<Gauge>& gauges);

} // namespace nestbed::report
