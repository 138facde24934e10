#include "report/openmetrics.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::report {
namespace {

using testing::HasSubstr;

TEST(OpenMetrics, IsTheTextThatTheFormatDescribes) {
    KvmStatistics stats;
    stats.vcpu = {{"exits", {.unit = "", .values = {17, 0xffff'ffff'ffff'ffff}}},
                  {"halt_poll_success_ns", {.unit = "ns", .values = {1'500'000'000, 0}}}};
    stats.vm = {{"max_mmu_page_hash_collisions", {.unit = "", .value = 4}}};
    EXPECT_EQ(
        to_openmetrics(stats, {"exits", "halt_poll_success_ns"},
                       {{.name = "nestbed_points", .help = "Points done.", .value = 3, .labels = {}}}),
        "# TYPE kvm_vcpu_exits counter\n"
        "# HELP kvm_vcpu_exits exits of KVM's binary statistics.\n"
        "kvm_vcpu_exits_total{vcpu=\"0\"} 17\n"
        "kvm_vcpu_exits_total{vcpu=\"1\"} 18446744073709551615\n"
        "# TYPE kvm_vcpu_halt_poll_success_ns_seconds counter\n"
        "# UNIT kvm_vcpu_halt_poll_success_ns_seconds seconds\n"
        "# HELP kvm_vcpu_halt_poll_success_ns_seconds halt_poll_success_ns of KVM's binary statistics.\n"
        "kvm_vcpu_halt_poll_success_ns_seconds_total{vcpu=\"0\"} 1.5\n"
        "kvm_vcpu_halt_poll_success_ns_seconds_total{vcpu=\"1\"} 0\n"
        "# TYPE kvm_vm_max_mmu_page_hash_collisions gauge\n"
        "# HELP kvm_vm_max_mmu_page_hash_collisions max_mmu_page_hash_collisions of KVM's binary "
        "statistics.\n"
        "kvm_vm_max_mmu_page_hash_collisions 4\n"
        "# TYPE nestbed_points gauge\n"
        "# HELP nestbed_points Points done.\n"
        "nestbed_points 3\n"
        "# EOF\n");
    EXPECT_EQ(to_openmetrics({}, {}, {}), "# EOF\n");
}

TEST(OpenMetrics, KeepsAFamilyTogetherAndEscapesLabels) {
    const std::vector<Gauge> gauges{
        {.name = "b", .help = "B", .value = 1, .labels = {{"driver", "a\"b\\c\nd"}}},
        {.name = "a-1", .help = "A", .value = std::nan(""), .labels = {}},
        {.name = "b", .help = "B", .value = HUGE_VAL, .labels = {{"driver", "x"}, {"policy", "numa"}}}};
    EXPECT_EQ(to_openmetrics({}, {}, gauges), "# TYPE a_1 gauge\n# HELP a_1 A\na_1 NaN\n"
                                              "# TYPE b gauge\n# HELP b B\n"
                                              "b{driver=\"a\\\"b\\\\c\\nd\"} 1\n"
                                              "b{driver=\"x\",policy=\"numa\"} +Inf\n# EOF\n");
}

TEST(OpenMetrics, HasALineForEachVcpu) {
    for (const auto vcpus : {1U, 255U, 256U, 1024U}) {
        KvmStatistics stats;
        stats.vcpu["exits"] = {.unit = "", .values = std::vector<std::uint64_t>(vcpus, 1)};
        const auto text = to_openmetrics(stats, {}, {});
        EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), vcpus + 3);
        EXPECT_THAT(text, HasSubstr("kvm_vcpu_exits{vcpu=\"" + std::to_string(vcpus - 1) + "\"} 1\n"));
    }
}

TEST(OpenMetrics, CountsWhatKvmCallsCumulative) {
    kvm::StatisticsLayout layout;
    for (const auto* kind : {"cumulative", "instant", "peak", "linear_histogram", "log_histogram"})
        layout.entries.push_back({.name = kind, .unit = "", .kind = kind});
    EXPECT_THAT(cumulative_names(layout),
                testing::ElementsAre("cumulative", "linear_histogram", "log_histogram"));
}

} // namespace
} // namespace nestbed::report
