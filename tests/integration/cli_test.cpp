// The program as people and scripts use it: exit codes, the document it leaves, signals.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/kvm/kvm.hpp"
#include "stress/bench/child_process.hpp"
#include "tests/support/schema.hpp"
#include "topology/policy.hpp"

namespace nestbed {
namespace {

using namespace std::chrono_literals;

const std::string program = NESTBED_PROGRAM;

class Cli : public testing::Test {
protected:
    void SetUp() override {
        auto pattern = (std::filesystem::temp_directory_path() / "nestbed-cli-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        _folder = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(_folder); }

    int run(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), program);
        const auto child = bench::run_child(arguments, 120s);
        EXPECT_TRUE(child) << child.error().message();
        return child ? child->exit_code : -1;
    }
    [[nodiscard]] std::string folder() const { return _folder.string(); }
    [[nodiscard]] nlohmann::json document(const std::string& name = "run.json") const {
        std::ifstream file{_folder / name};
        return nlohmann::json::parse(file, nullptr, false);
    }
    static bool usable_kvm() { return kvm::Kvm::open().has_value(); }

private:
    std::filesystem::path _folder;
};

TEST_F(Cli, ValidateHoldsAndLeavesAValidDocument) {
    if (!usable_kvm())
        GTEST_SKIP() << kvm::Kvm::open().error().message();
    EXPECT_EQ(run({"validate", "--vcpus", "6", "--topology", "1x3x2", "-o", folder()}), 0);
    const auto json = document();
    ASSERT_TRUE(json.is_object());
    EXPECT_THAT(test::violations(json), testing::IsEmpty());
    EXPECT_EQ(json["outcome"], "passed");
    EXPECT_EQ(json["machine"]["vcpus"], 6);
}

TEST_F(Cli, ADocumentIsLeftWhereTheGuestDoesNotFit) {
    if (!usable_kvm())
        GTEST_SKIP() << kvm::Kvm::open().error().message();
    EXPECT_EQ(run({"validate", "--vcpus", "4", "--memory", "1M", "-o", folder()}), 2);
    const auto json = document();
    ASSERT_TRUE(json.is_object());
    EXPECT_THAT(test::violations(json), testing::IsEmpty());
    EXPECT_EQ(json["outcome"], "bad_input");
}

TEST_F(Cli, MoreVcpusThanKvmAllowsIsTheHostsLack) {
    if (!usable_kvm())
        GTEST_SKIP() << kvm::Kvm::open().error().message();
    EXPECT_EQ(run({"validate", "--vcpus", "70000", "--memory", "20000M", "-o", folder()}), 3);
    EXPECT_THAT(test::violations(document()), testing::IsEmpty());
}

TEST_F(Cli, SigintEndsARunWithItsDocument) {
    if (!usable_kvm())
        GTEST_SKIP() << kvm::Kvm::open().error().message();
    // The shell sends the signal as a person would, a moment after the start.
    EXPECT_EQ(run({"sh", "-c", "true"}), 2) << "no such command of nestbed";
    const auto script = program + " validate --vcpus 200 -o " + folder() +
                        " >/dev/null 2>&1 & pid=$!; sleep 1; kill -INT $pid; wait $pid; exit $?";
    const auto child = bench::run_child({"/bin/bash", "-c", "set -m; " + script}, 120s);
    ASSERT_TRUE(child) << child.error().message();
    EXPECT_EQ(child->exit_code, 130);
    const auto json = document();
    ASSERT_TRUE(json.is_object());
    EXPECT_THAT(test::violations(json), testing::IsEmpty());
    EXPECT_EQ(json["outcome"], "cancelled");
}

TEST_F(Cli, ATraceOfIpisHasAnArrowForEachThatWasKept) {
    if (!usable_kvm())
        GTEST_SKIP() << kvm::Kvm::open().error().message();
    EXPECT_EQ(run({"stress", "run", "ipi.pairs", "ipi.broadcast", "--vcpus", "4", "--duration", "0.2",
                   "--where", "host", "--trace", folder() + "/trace.json", "-o", folder()}),
              0);
    double kept = 0;
    double backward = 0;
    const auto json = document();
    for (const auto& point : json["sweep"]["points"]) {
        for (const auto& count : point["per_vcpu"])
            kept += std::min(count.get<double>(), 1024.0);
        backward += point["facts"].value("tsc_backward", 0.0);
    }
    std::map<std::uint64_t, double> sent;
    std::map<std::uint64_t, double> taken;
    for (const auto& event : document("trace.json")) {
        const bool starts = event["ph"] == "s";
        if (!starts && event["ph"] != "f")
            continue;
        EXPECT_TRUE((starts ? sent : taken).emplace(event["id"], event["ts"]).second);
    }
    EXPECT_GT(sent.size(), 100U);
    EXPECT_NEAR(static_cast<double>(sent.size()), kept, backward);
    ASSERT_EQ(sent.size(), taken.size());
    for (const auto& [id, time] : sent) {
        ASSERT_TRUE(taken.contains(id)) << id;
        ASSERT_GE(taken[id], time);
    }
}

TEST_F(Cli, CheckPrintsAValidDocument) {
    const auto script = program + " check --json >" + folder() + "/check.json";
    const auto child = bench::run_child({"/bin/sh", "-c", script}, 60s);
    ASSERT_TRUE(child) << child.error().message();
    const auto json = document("check.json");
    ASSERT_TRUE(json.is_object());
    EXPECT_THAT(test::violations(json, test::check_schema()), testing::IsEmpty());
    EXPECT_EQ(child->exit_code, json["any_guest_runs"] ? 0 : 3);
}

TEST_F(Cli, BenchLeavesAValidDocument) {
    EXPECT_EQ(run({"bench", "plan", "-o", folder()}), 0);
    const auto json = document("bench.json");
    ASSERT_TRUE(json.is_object());
    EXPECT_THAT(test::violations(json, test::bench_schema()), testing::IsEmpty());
    EXPECT_EQ(json["figures"].size(), topology::all_policies().size());
}

TEST_F(Cli, BenchKeepsTheRoundsBeforeACommandThatFails) {
    if (!usable_kvm())
        GTEST_SKIP() << kvm::Kvm::open().error().message();
    // Works once.
    const auto marker = folder() + "/marker";
    const auto command = "test ! -e " + marker + " || { echo it was there >&2; exit 3; }; touch " + marker;
    EXPECT_EQ(
        run({"bench", "bringup", "--vcpus", "2", "--repeat", "5", "--against", command, "-o", folder()}), 2);
    const auto json = document("bench.json");
    ASSERT_TRUE(json.is_object());
    EXPECT_THAT(test::violations(json, test::bench_schema()), testing::IsEmpty());
    ASSERT_EQ(json["figures"].size(), 2U);
    EXPECT_EQ(json["figures"][0]["ratio"]["count"], 2)
        << "nestbed and the floor came before it in that round";
    EXPECT_EQ(json["figures"][1]["ratio"]["count"], 1) << "what fails is no sample";
    EXPECT_THAT(
        json["error"]["found"].get<std::string>(),
        testing::AllOf(testing::HasSubstr("exit code 3"), testing::HasSubstr("it said: it was there")));
}

struct UsageCase {
    std::string name;
    std::vector<std::string> arguments;
    int exit_code = 0;
};

class CliUsage : public testing::TestWithParam<UsageCase> {};

TEST_P(CliUsage, HasItsExitCode) {
    auto arguments = GetParam().arguments;
    arguments.insert(arguments.begin(), program);
    const auto child = bench::run_child(arguments, 60s);
    ASSERT_TRUE(child) << child.error().message();
    EXPECT_EQ(child->exit_code, GetParam().exit_code);
}

INSTANTIATE_TEST_SUITE_P(
    All, CliUsage,
    testing::Values(
        UsageCase{"Help", {"--help"}, 0}, UsageCase{"Version", {"--version"}, 0},
        UsageCase{"HelpOfACommand", {"validate", "--help"}, 0}, UsageCase{"NoCommand", {}, 2},
        UsageCase{"UnknownCommand", {"frobnicate"}, 2},
        UsageCase{"UnknownOption", {"plan", "--frobnicate"}, 2},
        UsageCase{"SeedBelowZero", {"validate", "--seed", "-1"}, 2},
        UsageCase{"NoVcpus", {"plan", "--vcpus", "0"}, 2},
        UsageCase{"VcpusThatAreNoNumber", {"plan", "--vcpus", "many"}, 2},
        UsageCase{"UnknownPolicy", {"plan", "--policy", "best"}, 2},
        UsageCase{"SizeThatIsNone", {"plan", "--memory", "1.5G"}, 2},
        UsageCase{"ShapeThatDoesNotMultiplyOut", {"plan", "--vcpus", "7", "--topology", "2x4"}, 2},
        UsageCase{"HostThatIsNone", {"plan", "--host", "frobnicate"}, 2},
        UsageCase{"HostThatIsNoFile", {"plan", "--host", "/nonexistent/host.xml"}, 2},
        UsageCase{"MoreMemoryThanTheHost",
                  {"plan", "--host", "numa:2(memory=1GB) core:2 pu:1", "--memory", "1T"},
                  3},
        UsageCase{"Plan", {"plan", "--host", "numa:2(memory=64GB) core:8 pu:2", "--vcpus", "32"}, 0},
        UsageCase{"PlanAsJson",
                  {"plan", "--host", "numa:2(memory=64GB) core:8 pu:2", "--vcpus", "32", "--json"},
                  0},
        UsageCase{"PlanExplained",
                  {"plan", "--host", "numa:2(memory=64GB) core:8 pu:2", "--vcpus", "8", "--policy",
                   "traffic:groups:2", "--explain", "--topology", "flat"},
                  0},
        UsageCase{"PlansCompared",
                  {"plan", "--host", "numa:2(memory=64GB) core:8 pu:2", "--vcpus", "8", "--compare",
                   "none,llc,random:3,traffic:ring", "--json"},
                  0},
        UsageCase{"ComparedWithNone", {"plan", "--vcpus", "8", "--compare", "numa,best"}, 2},
        UsageCase{"PlanFileThatIsNone", {"plan", "--plan", "/nonexistent/plan.toml"}, 2},
        UsageCase{"PlanFileAndPolicy", {"plan", "--plan", "/dev/null", "--policy", "llc"}, 2},
        UsageCase{"PictureThatCannotBeWritten", {"plan", "--vcpus", "2", "--svg", "/nonexistent/p.svg"}, 2},
        UsageCase{"FolderThatCannotBeMade", {"validate", "-o", "/proc/nestbed"}, 2},
        UsageCase{"UnknownCheck", {"validate", "--only", "frobnicate", "-o", "/tmp"}, 2},
        UsageCase{"UnknownBenchmark", {"bench", "frobnicate"}, 2},
        UsageCase{"RaceOfNobody", {"bench", "race"}, 2},
        UsageCase{"RaceOfOne", {"bench", "--command", "echo a", "--line", "a", "race"}, 2},
        UsageCase{"Race",
                  {"bench", "race", "--command", "echo a", "--line", "a", "--command", "echo a", "--repeat",
                   "2", "--json"},
                  0}),
    [](const auto& one) { return one.param.name; });

// The kernel that is none ends it before anything boots.
TEST(CliLab, WarnsOfSeveralEmulatedCpusWhereGuestsKeepThemBusy) {
    const auto says = [](const char* cpus, const char* command) {
        const auto child = bench::run_child(
            {program, "lab", "--cpus", cpus, "--kernel", "/nonexistent/kernel", "--", command}, 60s);
        EXPECT_TRUE(child) << child.error().message();
        EXPECT_NE(child->exit_code, 0);
        return child->last_output;
    };
    const auto warning = testing::HasSubstr("on several emulated CPUs guests end in a triple fault");
    EXPECT_THAT(says("2", "tower"), warning);
    EXPECT_THAT(says("1", "tower"), testing::Not(warning));
    EXPECT_THAT(says("2", "check"), testing::Not(warning));
}

} // namespace
} // namespace nestbed
