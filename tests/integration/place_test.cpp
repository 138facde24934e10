// `nestbed place`: what is measured, and what is seen of another nestbed that runs.
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/kvm/kvm.hpp"
#include "stress/bench/child_process.hpp"
#include "tests/support/schema.hpp"
#include "topology/kernel_numa.hpp"
#include "topology/watch.hpp"

namespace nestbed {
namespace {

using namespace std::chrono_literals;

const std::string program = NESTBED_PROGRAM;

class Place : public testing::Test {
protected:
    void SetUp() override {
        auto pattern = (std::filesystem::temp_directory_path() / "nestbed-place-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        _folder = pattern;
        if (const auto kvm = kvm::Kvm::open(); !kvm)
            GTEST_SKIP() << kvm.error().message();
    }
    void TearDown() override {
        if (_watched > 0) {
            ::kill(_watched, SIGINT);
            ::waitpid(_watched, nullptr, 0);
        }
        std::filesystem::remove_all(_folder);
    }

    static bench::ChildRun run(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), program);
        const auto child = bench::run_child(arguments, 120s);
        EXPECT_TRUE(child) << child.error().message();
        return child ? *child : bench::ChildRun{};
    }
    [[nodiscard]] std::string path(const std::string& name) const { return (_folder / name).string(); }
    [[nodiscard]] nlohmann::json document(const std::string& name) const {
        std::ifstream file{_folder / name};
        return nlohmann::json::parse(file, nullptr, false);
    }
    [[nodiscard]] std::string text(const std::string& name) const {
        std::ifstream file{_folder / name};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

    // A guest whose vCPUs are busy, each on a PU of its own. Empty where it does not come up.
    std::vector<topology::FoundMachine> start_guest() {
        std::vector<std::string> words{program,   "stress",   "run",     "memory",     "--vcpus",
                                       "2",       "--policy", "compact", "--duration", "60",
                                       "--where", "host",     "--json",  "-o",         path("guest")};
        std::vector<char*> arguments;
        for (auto& word : words)
            arguments.push_back(word.data());
        arguments.push_back(nullptr);
        posix_spawn_file_actions_t quiet{};
        ::posix_spawn_file_actions_init(&quiet);
        ::posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        EXPECT_EQ(::posix_spawn(&_watched, program.c_str(), &quiet, nullptr, arguments.data(), environ), 0);
        ::posix_spawn_file_actions_destroy(&quiet);
        for (int i = 0; i < 300; ++i) {
            if (auto found = topology::find_machines(_watched); found && !found->empty())
                return *found;
            std::this_thread::sleep_for(100ms);
        }
        return {};
    }
    // Returns the exit code.
    int watch(const std::string& seconds) {
        const auto child =
            bench::run_child({"/bin/sh", "-c",
                              program + " place watch --pid " + std::to_string(_watched) + " --duration " +
                                  seconds + " --json > " + path("watch.json")},
                             60s);
        EXPECT_TRUE(child) << child.error().message();
        return child ? child->exit_code : -1;
    }

private:
    std::filesystem::path _folder;
    pid_t _watched = 0;
};

TEST_F(Place, WatchSeesThreadsAndPagesWhereTheyWerePlanned) {
    const auto found = start_guest();
    ASSERT_EQ(found.size(), 1U);
    ASSERT_EQ(found[0].record.threads.size(), 2U);
    EXPECT_EQ(watch("2"), 0) << text("watch.json");
    const auto seen = document("watch.json");
    ASSERT_EQ(seen["machines"].size(), 1U);
    const auto& machine = seen["machines"][0];
    EXPECT_THAT(machine["drift"], testing::IsEmpty());
    for (std::size_t i = 0; i < 2; ++i) {
        const auto& vcpu = machine["vcpus"][i];
        EXPECT_EQ(vcpu["planned"], std::to_string(found[0].record.threads[i].pus.at(0)));
        EXPECT_EQ(vcpu["ran_on"].size(), 1U) << vcpu;
        EXPECT_TRUE(vcpu["ran_on"].contains(vcpu["planned"].get<std::string>())) << vcpu;
        EXPECT_GT(vcpu["run_ns"], 100'000'000);
    }
    std::uint64_t pages = 0;
    for (const auto& range : machine["memory"])
        for (const auto& [node, count] : range["pages"].items())
            pages += count.get<std::uint64_t>();
    EXPECT_GT(pages, 0U);
}

TEST_F(Place, WatchReportsAThreadThatWasMoved) {
    const auto found = start_guest();
    ASSERT_EQ(found.size(), 1U);
    const auto& threads = found[0].record.threads;
    const auto elsewhere = threads[1].pus.at(0);
    if (elsewhere == threads[0].pus.at(0))
        GTEST_SKIP() << "there is one PU only";
    const std::vector<std::uint32_t> pus{elsewhere};
    const auto set = topology::make_cpu_set(pus);
    ASSERT_TRUE(set);
    ASSERT_EQ(::sched_setaffinity(threads[0].tid, set->bytes, set->bits.get()), 0);
    EXPECT_EQ(watch("2"), 1);
    const auto seen = document("watch.json");
    std::vector<std::string> drifts;
    for (const auto& drift : seen["machines"][0]["drift"])
        drifts.push_back(drift["what"].get<std::string>() + ": " + drift["found"].get<std::string>());
    const auto pu = "PU " + std::to_string(elsewhere);
    EXPECT_THAT(drifts,
                testing::ElementsAre(testing::StartsWith("vCPU 0: where its thread ran: " + pu + " in "),
                                     "vCPU 0: affinity of its thread: " + pu));
}

TEST_F(Place, WatchStartsWhatItWatches) {
    const auto watch = [&](const std::string& vcpus) {
        return std::vector<std::string>{
            "place",   "watch", "--interval", "0.01", "--json",  "--",   "stress", "run",         "exits",
            "--vcpus", vcpus,   "--duration", "1",    "--where", "host", "-o",     path("inside")};
    };
    const auto done = run(watch("2"));
    EXPECT_EQ(done.exit_code, 0) << done.last_output;
    EXPECT_THAT(done.last_output, testing::HasSubstr("\"drift\": []"));
    EXPECT_EQ(document("inside/run.json")["outcome"], "passed");
    // What it exits with where it fails, here with bad input.
    EXPECT_EQ(run(watch("0")).exit_code, 2);
    EXPECT_EQ(run({"place", "watch", "--pid", "1", "--", "check"}).exit_code, 2);
    EXPECT_EQ(run({"place", "watch", "check"}).exit_code, 2);
}

TEST_F(Place, WatchEndsWhatItStartedAfterItsTime) {
    const auto done = run({"place", "watch", "--duration", "1", "--json", "--", "stress", "run", "exits",
                           "--vcpus", "2", "--duration", "300", "--where", "host", "-o", path("inside")});
    EXPECT_EQ(done.exit_code, 0) << done.last_output;
    EXPECT_EQ(document("inside/run.json")["outcome"], "cancelled");
}

TEST_F(Place, WatchSaysWhatItCannotWatch) {
    EXPECT_EQ(run({"place", "watch", "--pid", "2147483646"}).exit_code, 2);
    // A process without any machine is none that drifts.
    EXPECT_EQ(run({"place", "watch", "--pid", std::to_string(::getpid()), "--duration", "0.1"}).exit_code, 0);
}

TEST_F(Place, CompareMeasuresInBalancedRounds) {
    const auto done = run({"place", "compare", "--policies", "compact,numa", "--drivers", "memory", "--vcpus",
                           "2", "--repeat", "3", "--duration", "0.05", "--where", "host", "-o", path("")});
    EXPECT_EQ(done.exit_code, 0) << done.last_output;
    EXPECT_THAT(done.last_output,
                testing::HasSubstr("no winner: 3 rounds are too few to tell, 6 are needed"));
    const auto json = document("run.json");
    EXPECT_THAT(test::violations(json), testing::IsEmpty());
    EXPECT_EQ(json["kind"], "place");
    std::vector<std::string> order;
    for (const auto& point : json["sweep"]["points"])
        order.push_back(point["configuration"]["policy"]);
    ASSERT_EQ(order.size(), 6U);
    EXPECT_EQ(order[0], order[3]);
    EXPECT_EQ(order[1], order[2]);
    EXPECT_EQ(order[1], order[4]);
    const auto& verdict = json["place_comparison"]["drivers"].at(0);
    EXPECT_EQ(verdict["driver"], "memory");
    EXPECT_EQ(verdict["figure"], "local_bytes_per_second");
    EXPECT_EQ(verdict["places"].size(), 2U);
    EXPECT_EQ(verdict["places"][0]["rounds"], 3);
    EXPECT_GE(verdict["places"][0]["median"], verdict["places"][1]["median"]);
    ASSERT_EQ(run({"report", path("run.json"), "-o", path("report.html")}).exit_code, 0);
    EXPECT_THAT(text("report.html"), testing::HasSubstr("<h3>Placements</h3>"));
}

TEST_F(Place, ComparePlansEverythingBeforeAnythingRuns) {
    const auto done = run({"place", "compare", "--policies", "compact,none", "--topologies", "lying",
                           "--drivers", "memory", "--vcpus", "2", "--where", "host", "-o", path("")});
    EXPECT_EQ(done.exit_code, 2);
    EXPECT_THAT(done.last_output, testing::HasSubstr("nothing is pinned"));
    EXPECT_FALSE(std::filesystem::exists(path("run.json")));
}

} // namespace
} // namespace nestbed
