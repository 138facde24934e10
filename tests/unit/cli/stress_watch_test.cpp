#include "cli/stress_watch.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

#include <fmt/format.h>
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
    tell(0, 1000ms, 150, 10); // no counter shrinks, whatever it says
    tell(0, 1000ms, 160, 10); // in no time
    (*watch)->exits({0, {{}, {{start + 650ms, {KVM_EXIT_IO, 0x3f8}}}}});
    (*watch)->finished({});
    tell(1, 1600ms, 5, 5); // another machine, whose counters began anew
    (*watch)->exits({1, {{{start + 1650ms, {KVM_EXIT_HLT, 0}}}}});
    (*watch)->finished({});
    tell(2, 1700ms, 5, 5); // and one that never ended
    tell(2, 1800ms, 6, 5);
    ASSERT_TRUE((*watch)->close());
    std::ifstream file{path};
    const auto events = nlohmann::json::parse(file, nullptr, false);
    std::filesystem::remove(path);
    ASSERT_TRUE(events.is_array());
    std::vector<std::string> rates;
    std::vector<std::string> instants;
    const auto zero = events[0]["ts"].get<double>();
    for (const auto& event : events)
        if (event["ph"] == "C")
            rates.push_back(fmt::format(
                "{} {:.0f} ms {}: {}", event["pid"].dump(), (event["ts"].get<double>() - zero) / 1000,
                event["name"].get<std::string>(), event["args"]["value"].get<double>()));
        else if (event["ph"] == "i")
            instants.push_back(event["name"].get<std::string>() + " " +
                               event["args"]["detail"].get<std::string>() + " " + event["pid"].dump() + " " +
                               event["tid"].dump());
    // By machine, from when on.
    EXPECT_THAT(rates, testing::ElementsAre("1 0 ms vCPU 0 exits/s: 200", "1 0 ms vCPU 1 exits/s: 0",
                                            "1 0 ms exits/s: 200", "1 500 ms vCPU 0 exits/s: 0",
                                            "1 500 ms vCPU 1 exits/s: 6", "1 500 ms exits/s: 6",
                                            "1 1000 ms vCPU 0 exits/s: 0", "1 1000 ms vCPU 1 exits/s: 0",
                                            "1 1000 ms exits/s: 0", "3 1700 ms vCPU 0 exits/s: 10",
                                            "3 1700 ms vCPU 1 exits/s: 0", "3 1700 ms exits/s: 10"));
    EXPECT_THAT(instants, testing::ElementsAre("KVM_EXIT_IO 0x3f8 1 3", "KVM_EXIT_HLT 0x0 2 2"));
}

TEST(StressWatch, DrawsIpisAsArrowsBetweenSlices) {
    using namespace std::chrono_literals;
    const auto path =
        std::filesystem::temp_directory_path() / ("nestbed-ipis-" + std::to_string(::getpid()) + ".json");
    auto watch = StressWatch::start(path.string(), "");
    ASSERT_TRUE(watch) << watch.error().message();
    const auto start = supervise::Clock::now() + 1s;
    (*watch)->ipis({0, {{2, 5, start, start + 30us}, {0, 1, start + 5us, start + 9us}}, 0});
    (*watch)->ipis({1, {{0, 1, start, start + 2us}, {0, 3, start, start + 3us}}, 4});
    ASSERT_TRUE((*watch)->close());
    std::ifstream file{path};
    const auto events = nlohmann::json::parse(file, nullptr, false);
    std::filesystem::remove(path);
    ASSERT_TRUE(events.is_array());
    const auto of = [&](std::string_view phase) {
        std::vector<std::string> lines;
        const auto zero = events[0]["ts"].get<double>();
        for (const auto& event : events)
            if (event["ph"] == phase)
                lines.push_back(fmt::format("{}.{} {:.0f}: {}", event["pid"].dump(), event["tid"].dump(),
                                            event["ts"].get<double>() - zero,
                                            event.contains("id") ? event["id"].dump()
                                                                 : event["name"].get<std::string>()));
        return lines;
    };
    EXPECT_THAT(of("X"),
                testing::ElementsAre("1.4 0: IPI to vCPU 5", "1.2 5: IPI to vCPU 1", "1.3 9: IPI from vCPU 0",
                                     "1.7 30: IPI from vCPU 2", "2.2 0: IPI to 2 vCPUs",
                                     "2.3 2: IPI from vCPU 0", "2.5 3: IPI from vCPU 0"));
    EXPECT_THAT(of("s"), testing::ElementsAre("1.4 0: 0", "1.2 5: 1", "2.2 0: 2", "2.2 0: 3"));
    EXPECT_THAT(of("f"), testing::ElementsAre("1.3 9: 1", "1.7 30: 0", "2.3 2: 2", "2.5 3: 3"));
    EXPECT_THAT(events.dump(), HasSubstr("IPIs left out"));
    // Each end binds to the slice that was written before it.
    for (std::size_t i = 0; i < events.size(); ++i)
        if (events[i]["ph"] == "s" || events[i]["ph"] == "f") {
            ASSERT_GT(i, 0U);
            for (const auto* const member : {"pid", "tid", "ts"})
                EXPECT_EQ(events[i][member], events[i - 1][member]);
        }
}

TEST(StressWatch, RefusesAFileThatCannotBe) {
    EXPECT_FALSE(StressWatch::start("/nonexistent/trace.json", ""));
    EXPECT_FALSE(StressWatch::start("", "no.such.host:80"));
}

} // namespace
} // namespace nestbed::cli
