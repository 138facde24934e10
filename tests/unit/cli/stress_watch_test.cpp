#include "cli/stress_watch.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace nestbed::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(MetricsText, SaysHowFarTheSweepIsAndWhatKvmCounted) {
    SweepState state;
    state.progress.fraction = 0.25;
    state.points = 7;
    state.bad = 2;
    EXPECT_THAT(metrics_text(state), Not(HasSubstr("last_throughput"))) << "no point is over";
    state.driver = "ipi.unicast";
    state.vcpus = 288;
    state.throughput = 1500;
    state.counted = {{{"exits", "", "cumulative", 0, 1}}, {{3}, {4}}, {}, {}};
    const auto text = metrics_text(state);
    for (const auto* const part :
         {"nestbed_sweep_done_ratio 0.25", "nestbed_sweep_points_done 7", "nestbed_sweep_points_bad 2",
          "1500", "driver=\"ipi.unicast\"", "vcpus=\"288\"", "kvm_vcpu_exits_total{vcpu=\"1\"} 4", "# EOF"})
        EXPECT_THAT(text, HasSubstr(part));
}

TEST(StressWatch, WritesATrackForEachVcpuAndOneForTheMachine) {
    using namespace std::chrono_literals;
    const auto path =
        std::filesystem::temp_directory_path() / ("nestbed-watch-" + std::to_string(::getpid()) + ".json");
    auto watch = StressWatch::start(path.string(), "");
    ASSERT_TRUE(watch) << watch.error().message();
    EXPECT_FALSE((*watch)->port());
    const auto start = supervise::Clock::now();
    (*watch)->phase({0, "create", start, start + 1ms});
    (*watch)->phase({0, "work", start + 1ms, start + 3ms});
    report::SweepPoint point;
    point.driver = "exits";
    point.vcpus = 2;
    point.unit = "exits";
    point.per_vcpu = {5, 6};
    point.verdict = report::Verdict::pass;
    (*watch)->finished(point);
    ASSERT_TRUE((*watch)->close());
    std::ifstream file{path};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    std::filesystem::remove(path);
    EXPECT_FALSE(nlohmann::json::parse(text, nullptr, false).is_discarded()) << text;
    for (const auto* const part : {"exits, 2 vCPUs", "create", "work", "vCPU 0", "vCPU 1", "2000"})
        EXPECT_THAT(text, HasSubstr(part));
}

TEST(StressWatch, TracesHowFastCountersGrowAndTheLastExits) {
    using namespace std::chrono_literals;
    const auto path =
        std::filesystem::temp_directory_path() / ("nestbed-rates-" + std::to_string(::getpid()) + ".json");
    auto watch = StressWatch::start(path.string(), "");
    ASSERT_TRUE(watch) << watch.error().message();
    const kvm::StatisticDescription exits{"exits", "", "cumulative", 0, 1};
    const kvm::StatisticDescription other{"pf_taken", "", "cumulative", 8, 1};
    const auto start = supervise::Clock::now();
    const auto tell = [&](std::uint32_t point, std::chrono::milliseconds at, std::uint64_t first,
                          std::uint64_t second) {
        const machine::MachineStatistics statistics{{exits, other}, {{first, 1}, {second, 2}}, {}, {}};
        (*watch)->sampled({point, start + at, statistics});
    };
    tell(0, 0ms, 100, 7);
    tell(0, 500ms, 200, 7);
    tell(1, 600ms, 5, 5); // another machine, whose counters began anew
    (*watch)->exits({1, {{}, {{start + 650ms, {KVM_EXIT_IO, 0x3f8}}}}});
    ASSERT_TRUE((*watch)->close());
    std::ifstream file{path};
    const auto events = nlohmann::json::parse(file, nullptr, false);
    std::filesystem::remove(path);
    ASSERT_TRUE(events.is_array());
    std::map<std::string, double> rates;
    std::vector<std::string> instants;
    for (const auto& event : events)
        if (event["ph"] == "C")
            rates[event["name"]] = event["args"]["value"];
        else if (event["ph"] == "i")
            instants.push_back(event["name"].get<std::string>() + " " +
                               event["args"]["detail"].get<std::string>() + " " + event["pid"].dump() + " " +
                               event["tid"].dump());
    EXPECT_EQ(rates, (std::map<std::string, double>{
                         {"vCPU 0 exits/s", 200}, {"vCPU 1 exits/s", 0}, {"exits/s", 200}}));
    EXPECT_THAT(instants, testing::ElementsAre("KVM_EXIT_IO 0x3f8 2 3"));
}

TEST(StressWatch, RefusesAFileThatCannotBe) {
    EXPECT_FALSE(StressWatch::start("/nonexistent/trace.json", ""));
    EXPECT_FALSE(StressWatch::start("", "no.such.host:80"));
}

} // namespace
} // namespace nestbed::cli
