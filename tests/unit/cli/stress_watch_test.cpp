#include "cli/stress_watch.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
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
    state.statistics.vcpu["exits"] = {"", {3, 4}};
    state.cumulative = {"exits"};
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

TEST(StressWatch, RefusesAFileThatCannotBe) {
    EXPECT_FALSE(StressWatch::start("/nonexistent/trace.json", ""));
    EXPECT_FALSE(StressWatch::start("", "no.such.host:80"));
}

} // namespace
} // namespace nestbed::cli
