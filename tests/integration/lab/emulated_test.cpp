// `nestbed lab` with QEMU, once with Bochs, and the distribution's kernel.
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lab/kernel.hpp"
#include "lab/process.hpp"
#include "tests/integration/lab/in_lab.hpp"

namespace nestbed::lab {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class Emulated : public InLab {
protected:
    using InLab::InLab;

    // In the scratch folder.
    Finished nestbed(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), NESTBED_PROGRAM);
        return finish(std::move(arguments));
    }
    Finished finish(std::vector<std::string> command) {
        const auto finished = run_to_end({.arguments = std::move(command),
                                          .folder = folder().string(),
                                          .environment = {},
                                          .descriptors = {}},
                                         supervisor(), supervise::Clock::now() + 280s);
        EXPECT_TRUE(finished) << finished.error().message();
        return finished.value_or(Finished{.exit_code = -1, .out = {}, .err = {}});
    }
};

class EmulatedIntel : public Emulated {
protected:
    EmulatedIntel() : Emulated{Silicon::intel} {}
};

TEST_F(EmulatedIntel, CheckSeesAHostWithNestedVmx) {
    const auto checked = nestbed({"lab", "--silicon", "intel", "--", "check", "--json"});
    ASSERT_EQ(checked.exit_code, 0) << checked.err;
    const auto json = nlohmann::json::parse(checked.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << checked.out;
    EXPECT_EQ(json["nested"], "VMX");
    EXPECT_EQ(json["any_guest_runs"], true);
    EXPECT_EQ(json["host"]["kvm_module"], "kvm_intel");
    EXPECT_EQ(json["host"]["module_parameters"]["kvm_intel.nested"], "Y");
}

TEST_F(Emulated, DriversOfNestedGuestsHold) {
    const auto ran =
        nestbed({"lab", "--", "stress", "run", "l2-*", "--vcpus", "2", "--duration", "1", "--json"});
    ASSERT_EQ(ran.exit_code, 0) << ran.err << ran.out.substr(0, 4000);
    const auto json = nlohmann::json::parse(ran.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << ran.out.substr(0, 4000);
    std::vector<std::string> held;
    for (const auto& point : json["sweep"]["points"]) {
        EXPECT_EQ(point["verdict"], "pass")
            << point["driver"] << ": " << point["summary"] << point["details"];
        EXPECT_GT(point["operations"].get<double>(), 0) << point["driver"];
        held.push_back(point["driver"]);
    }
    EXPECT_THAT(
        held, testing::UnorderedElementsAre("l2-exits", "l2-kill", "l2-migrate-vcpu", "l2-swarm", "l2-tlb"));
}

TEST_F(Emulated, CheckSeesAHostWithNestedSvmAndItsNodes) {
    const auto checked = nestbed({"lab", "--nodes", "2", "--cpus", "3", "--", "check", "--json"});
    ASSERT_EQ(checked.exit_code, 0) << checked.err;
    const auto json = nlohmann::json::parse(checked.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << checked.out;
    EXPECT_EQ(json["nested"], "SVM");
    EXPECT_EQ(json["any_guest_runs"], true);
    EXPECT_EQ(json["host"]["kvm_module"], "kvm_amd");
}

TEST_F(Emulated, ValidateLeavesItsDocumentHere) {
    const auto validated = nestbed({"lab", "--", "validate", "--vcpus", "4", "-o", "out/here"});
    EXPECT_EQ(validated.exit_code, 0) << validated.out << validated.err;
    const auto json = nlohmann::json::parse(read(folder() / "out/here/run.json"), nullptr, false);
    ASSERT_TRUE(json.is_object());
    EXPECT_EQ(json["outcome"], "passed");
    const auto& parameters = json["host"]["module_parameters"];
    EXPECT_EQ(parameters["kvm_amd.nested"], "1");
    EXPECT_EQ(parameters["kvm.tsc_tolerance_ppm"], "100000"); // see lab/silicon.cpp
}

TEST_F(Emulated, FilesThatTheArgumentsNameGoInAndExitCodesComeOut) {
    write("host.hwloc", "no topology\n");
    const auto planned = nestbed({"lab", "--", "plan", "--host", "host.hwloc"});
    EXPECT_EQ(planned.exit_code, 2) << planned.out << planned.err;
    EXPECT_THAT(planned.err, HasSubstr("host.hwloc"));
    EXPECT_THAT(planned.err, testing::Not(HasSubstr("No such file")));
}

TEST_F(Emulated, APanicIsSaidWithTheKernelsWords) {
    const auto panicked = nestbed({"lab", "--append", "rdinit=/nonexistent", "--", "check"});
    EXPECT_EQ(panicked.exit_code, 1);
    EXPECT_THAT(panicked.err, HasSubstr("kernel panicked"));
    EXPECT_THAT(panicked.err, HasSubstr("Unable to mount root fs"));
}

TEST_F(Emulated, AKernelWithoutItsModulesHasNoKvm) {
    const auto cache = Cache::open_default();
    auto supervisor = supervise::Supervisor::create();
    const auto kernel = find_kernel(
        *cache, Silicon::amd, [](const std::string&) {}, **supervisor);
    ASSERT_TRUE(kernel);
    const auto checked = nestbed({"lab", "--kernel", kernel->image.string(), "--", "check"});
    EXPECT_EQ(checked.exit_code, 3);
    EXPECT_THAT(checked.err, HasSubstr("/dev/kvm"));
    EXPECT_THAT(checked.err, HasSubstr("--modules"));
}

TEST_F(Emulated, WhatIsNoKernelIsRefused) {
    const auto file = write("bzImage", "no kernel");
    const auto checked = nestbed({"lab", "--kernel", file.string(), "--", "check"});
    EXPECT_EQ(checked.exit_code, 2);
    EXPECT_THAT(checked.err, HasSubstr("bzImage"));
}

TEST_F(Emulated, TheTimeoutEndsIt) {
    const auto ended = nestbed({"lab", "--timeout", "1", "--", "check"});
    EXPECT_EQ(ended.exit_code, 1);
    EXPECT_THAT(ended.err, HasSubstr("--timeout"));
}

TEST_F(Emulated, SigintReachesTheCommandInside) {
    // Once the inside has spoken the command runs, for more than a minute if it were let.
    const auto script = std::string{"set -m; "} + NESTBED_PROGRAM +
                        " lab -- validate --vcpus 250 -o out >log 2>&1 & pid=$!; "
                        "for i in $(seq 600); do grep -q '^plan:' log && break; sleep 0.2; done; "
                        "kill -INT $pid; wait $pid; exit $?";
    const auto interrupted = finish({"bash", "-c", script});
    EXPECT_EQ(interrupted.exit_code, 130) << read(folder() / "log");
    const auto json = nlohmann::json::parse(read(folder() / "out/run.json"), nullptr, false);
    ASSERT_TRUE(json.is_object()) << read(folder() / "log");
    EXPECT_EQ(json["outcome"], "cancelled");
}

TEST_F(Emulated, NothingOutlivesAKilledNestbed) {
    const auto script = std::string{"set -m; "} + NESTBED_PROGRAM +
                        " lab -- check >log 2>&1 & pid=$!; "
                        "for i in $(seq 300); do kids=$(pgrep -P $pid qemu) && break; sleep 0.1; done; "
                        "kill -KILL $pid; sleep 2; [ -n \"$kids\" ] && "
                        // Dead, whether its new parent has taken note of it or not.
                        "! grep -qs '^State:[[:space:]]*[^Z]' /proc/$kids/status";
    EXPECT_EQ(finish({"bash", "-c", script}).exit_code, 0);
}

} // namespace
} // namespace nestbed::lab
