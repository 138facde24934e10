// The drivers on a real KVM, for a moment each.
#include <csignal>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "stress/drivers/died.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/sweep/sweep.hpp"
#include "stress/wire/exit_mix.hpp"
#include "tests/support/machine.hpp"

namespace nestbed::stress {
namespace {

using namespace std::chrono_literals;
using report::Verdict;
using testing::HasSubstr;

class Sweeps : public test::MachineTest {
protected:
    static SweepRequest request_of(std::vector<const StressDriver*> drivers, std::string vcpus) {
        return {.drivers = std::move(drivers),
                .vcpus = std::move(vcpus),
                .configurations = {{{"numa", "4K", "auto", ""}, MachineRequest{}}},
                .duration = 100ms,
                .repeat = 1,
                .seed = 3,
                .mix = false,
                .timeout = test::patience};
    }
};

std::string text_of(const report::SweepPoint& point) {
    auto text = point.driver + ", " + std::to_string(point.vcpus) + " vCPUs: " + point.summary + point.reason;
    for (const auto& line : point.details)
        text += "\n  " + line;
    for (const auto& stuck : point.stuck)
        for (const auto& line : stuck.lines)
            text += "\n  " + line;
    return text;
}

class EachDriver : public Sweeps, public testing::WithParamInterface<std::string> {};

TEST_P(EachDriver, HoldsOnOneTwoAndEightVcpus) {
    const auto driver = select_drivers({GetParam()});
    ASSERT_TRUE(driver);
    const auto run = sweep(request_of(*driver, "1,2,8"), supervisor(), {});
    EXPECT_EQ(run.outcome, report::Outcome::passed) << (run.error ? run.error->message() : "");
    ASSERT_TRUE(run.sweep);
    EXPECT_EQ(run.sweep->points.size(), driver->front()->least_vcpus > 1 ? 2U : 3U);
    for (const auto& point : run.sweep->points) {
        EXPECT_THAT(point.verdict, testing::AnyOf(Verdict::pass, Verdict::skipped)) << text_of(point);
        if (point.verdict != Verdict::pass)
            continue;
        EXPECT_GT(point.operations, 0) << text_of(point);
        EXPECT_GT(point.seconds, 0) << text_of(point);
        EXPECT_FALSE(point.unit.empty());
        EXPECT_TRUE(point.per_vcpu.empty() || point.per_vcpu.size() == point.vcpus);
        for (const auto& matrix : point.matrices)
            EXPECT_EQ(matrix.values.size(), std::size_t{point.vcpus} * point.vcpus);
        EXPECT_THAT(point.repeat, HasSubstr(GetParam()));
    }
}

std::vector<std::string> own_drivers() {
    std::vector<std::string> names;
    for (const auto& driver : all_drivers())
        if (!driver.nested)
            names.emplace_back(driver.name);
    return names;
}

INSTANTIATE_TEST_SUITE_P(Drivers, EachDriver, testing::ValuesIn(own_drivers()), [](const auto& one) {
    auto name = one.param;
    std::ranges::replace_if(
        name, [](char c) { return c == '.' || c == '-'; }, '_');
    return name;
});

// A job that nobody tells to stop.
Result<Counted> run_for_ever(const StressContext& context) {
    namespace job = wire::exit_mix;
    Scratch scratch{*context.machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto counts = scratch.table<job::Counts>(context.machine->vcpus());
    const auto samples = scratch.table<std::uint32_t>(context.machine->vcpus() * job::kinds);
    auto& machine = *context.machine;
    auto request = on_all(on_machine(context), "stress.exits",
                          {stop->address, counts->address, samples->address, 1, UINT64_MAX});
    request.deadline = 200ms;
    if (auto ran = machine.run_job(request); !ran)
        return tl::unexpected{ran.error()};
    return Counted{.verdict = Verdict::pass};
}

TEST_F(Sweeps, TellOfAStuckVcpuAndGoOn) {
    const StressDriver stuck{
        .name = "stuck", .title = "", .invariant = "", .unit = "exits", .run = &run_for_ever};
    const auto good = select_drivers({"exits"});
    ASSERT_TRUE(good);
    const auto run = sweep(request_of({&stuck, good->front()}, "2"), supervisor(), {});
    EXPECT_EQ(run.outcome, report::Outcome::failed);
    ASSERT_EQ(run.sweep->points.size(), 2U);
    const auto& point = run.sweep->points[0];
    EXPECT_EQ(point.verdict, Verdict::hang);
    ASSERT_EQ(point.stuck.size(), 2U) << text_of(point);
    EXPECT_THAT(text_of(point), HasSubstr("rflags"));
    EXPECT_THAT(text_of(point), HasSubstr("last exits to user space"));
    if (::geteuid() == 0) {
        EXPECT_THAT(text_of(point), HasSubstr("kernel: "));
    }
    EXPECT_EQ(run.sweep->points[1].verdict, Verdict::pass) << text_of(run.sweep->points[1]);
}

TEST_F(Sweeps, KeepWhatTheyHaveWhereASignalEndsThem) {
    const auto driver = select_drivers({"exits"});
    ASSERT_TRUE(driver);
    auto request = request_of(*driver, "1");
    request.repeat = 1000;
    const auto run =
        sweep(request, supervisor(),
              {.started = {}, .progress = {}, .finished = [&](const auto&, const report::RunResult& all) {
                   if (all.sweep->points.size() == 2)
                       supervisor().cancel(SIGINT);
               }});
    EXPECT_EQ(run.outcome, report::Outcome::cancelled);
    ASSERT_EQ(run.sweep->points.size(), 2U);
    EXPECT_EQ(run.sweep->points[1].verdict, Verdict::pass) << text_of(run.sweep->points[1]);
}

// The sum over all vCPUs; empty where this KVM does not count that.
std::optional<std::uint64_t> counted(const machine::MachineStatistics& statistics, std::string_view name) {
    for (const auto& entry : statistics.entries)
        if (entry.name == name) {
            std::uint64_t sum = 0;
            for (const auto& words : statistics.vcpus)
                sum += kvm::value_of(entry, words);
            return sum;
        }
    return {};
}

TEST_F(Sweeps, SampleAMachineWhileItRuns) {
    const auto driver = select_drivers({"exits"});
    ASSERT_TRUE(driver);
    auto request = request_of(*driver, "2");
    request.duration = 1s;
    request.sample = 50ms;
    request.record_exits = true;
    std::vector<std::uint64_t> exits;
    std::vector<SweepExits> recorded;
    const auto start = supervise::Clock::now();
    const SweepObserver observer{.started = {},
                                 .progress = {},
                                 .finished = {},
                                 .phase = {},
                                 .sampled =
                                     [&](const SweepSample& sample) {
                                         if (const auto now = counted(sample.statistics, "exits"))
                                             exits.push_back(*now);
                                     },
                                 .exits = [&](const SweepExits& kept) { recorded.push_back(kept); }};
    const auto run = sweep(request, supervisor(), observer);
    ASSERT_EQ(run.outcome, report::Outcome::passed);
    ASSERT_EQ(recorded.size(), 1U);
    ASSERT_EQ(recorded[0].vcpus.size(), 2U);
    for (const auto& vcpu : recorded[0].vcpus) {
        ASSERT_GT(vcpu.size(), 100U);
        EXPECT_TRUE(std::ranges::is_sorted(vcpu, {}, &machine::TimedExit::time));
        EXPECT_GE(vcpu.front().time, start);
        EXPECT_NE(vcpu.back().exit.reason, 0U);
    }
    if (exits.empty())
        GTEST_SKIP() << "this KVM has no statistics of exits to read";
    EXPECT_GE(exits.size(), 4U);
    EXPECT_TRUE(std::ranges::is_sorted(exits));
    EXPECT_LT(exits.front(), exits.back() / 2) << "the first was read while it ran";
    exits.erase(std::ranges::unique(exits).begin(), exits.end());
    EXPECT_GE(exits.size(), 4U) << "they grow from one to the next";
}

// By vCPU that kept them: the sender, or the receiver of a broadcast.
std::vector<std::uint64_t> kept_by_vcpu(const SweepIpis& ipis, std::uint32_t vcpus, bool by_receiver) {
    std::vector<std::uint64_t> kept(vcpus);
    for (const auto& ipi : ipis.ipis)
        ++kept.at(by_receiver ? ipi.receiver : ipi.sender);
    return kept;
}

TEST_F(Sweeps, KeepTheLastIpisOfEachVcpu) {
    const auto drivers = select_drivers({"ipi.*", "ipi-matrix"});
    ASSERT_TRUE(drivers);
    constexpr std::uint32_t vcpus = 4;
    auto request = request_of(*drivers, std::to_string(vcpus));
    request.record_ipis = true;
    std::vector<SweepIpis> all;
    std::vector<SweepPhase> work;
    const SweepObserver observer{.started = {},
                                 .progress = {},
                                 .finished = {},
                                 .phase =
                                     [&](const SweepPhase& phase) {
                                         if (phase.phase == "work")
                                             work.push_back(phase);
                                     },
                                 .ipis = [&](const SweepIpis& ipis) { all.push_back(ipis); }};
    const auto run = sweep(request, supervisor(), observer);
    ASSERT_EQ(run.outcome, report::Outcome::passed);
    ASSERT_EQ(all.size(), drivers->size());
    ASSERT_EQ(work.size(), drivers->size());
    for (std::size_t i = 0; i < all.size(); ++i) {
        const auto& point = run.sweep->points[i];
        SCOPED_TRACE(point.driver);
        EXPECT_EQ(all[i].point, i);
        // Where TSCs differ, so that one seems taken before it was sent, it is left out.
        const auto backward = point.facts.find("tsc_backward");
        EXPECT_EQ(all[i].left_out, backward == point.facts.end() ? 0U : backward->second);
        const auto kept = kept_by_vcpu(all[i], vcpus, point.driver == "ipi.broadcast");
        std::uint64_t expected = 0;
        for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
            expected += std::min<std::uint64_t>(static_cast<std::uint64_t>(point.per_vcpu[vcpu]),
                                                ipi_ring_entries(vcpus));
        EXPECT_GT(all[i].ipis.size() + all[i].left_out, 0U);
        EXPECT_EQ(all[i].ipis.size() + all[i].left_out, expected);
        if (all[i].left_out == 0) {
            for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
                EXPECT_EQ(kept[vcpu],
                          std::min<std::uint64_t>(static_cast<std::uint64_t>(point.per_vcpu[vcpu]),
                                                  ipi_ring_entries(vcpus)));
        }
        for (const auto& ipi : all[i].ipis) {
            ASSERT_NE(ipi.sender, ipi.receiver);
            ASSERT_GE(ipi.taken, ipi.sent);
            // The guest's clock, brought to the host's, puts them where the host saw the work.
            ASSERT_GE(ipi.sent, work[i].start);
            ASSERT_LE(ipi.taken, work[i].end);
        }
    }
}

TEST_F(Sweeps, KeepNoIpisThatNobodyAskedFor) {
    const auto drivers = select_drivers({"ipi.pairs", "ipi.broadcast"});
    ASSERT_TRUE(drivers);
    bool told = false;
    const SweepObserver observer{
        .started = {}, .progress = {}, .finished = {}, .ipis = [&](const SweepIpis&) { told = true; }};
    EXPECT_EQ(sweep(request_of(*drivers, "2"), supervisor(), observer).outcome, report::Outcome::passed);
    EXPECT_FALSE(told);
}

TEST_F(Sweeps, GoOnWhereTheHostCannotDoOneConfiguration) {
    const auto driver = select_drivers({"exits"});
    ASSERT_TRUE(driver);
    auto request = request_of(*driver, "1");
    request.configurations.insert(request.configurations.begin(), request.configurations.front());
    request.configurations[0].machine.memory_bytes = std::uint64_t{1} << 60;
    const auto run = sweep(request, supervisor(), {});
    ASSERT_EQ(run.sweep->points.size(), 2U);
    EXPECT_EQ(run.sweep->points[0].verdict, Verdict::not_run);
    EXPECT_FALSE(run.sweep->points[0].reason.empty());
    EXPECT_EQ(run.sweep->points[1].verdict, Verdict::pass) << text_of(run.sweep->points[1]);
    EXPECT_NE(run.outcome, report::Outcome::passed);
}

TEST_F(Sweeps, MixDriversUntilTheTimeIsOver) {
    const auto drivers = select_drivers({"exits", "lock.*", "ipi.pairs"});
    ASSERT_TRUE(drivers);
    auto request = request_of(*drivers, "2,4");
    request.mix = true;
    request.duration = 3s;
    const auto run = sweep(request, supervisor(), {});
    EXPECT_EQ(run.outcome, report::Outcome::passed) << (run.error ? run.error->message() : "");
    EXPECT_GE(run.sweep->points.size(), 2U);
    EXPECT_LT(run.duration_s, 30);
}

} // namespace
} // namespace nestbed::stress
