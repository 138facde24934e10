#include "report/json.hpp"

#include <chrono>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "base/units.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using Json = nlohmann::ordered_json;

// Not const below: operator[] then gives null for a member that is missing, and the expectation says so.
TEST(PlanAsJson, HasAColumnForEachFieldOfAVcpu) {
    auto plan = test::example_plan(test::example_host(2, 4), 6);
    plan.vcpus[1].pus = {1, 2, 3, 7};
    plan.vcpus[2].pus = {};
    plan.vcpus[5].virtual_node = 0;
    auto json = to_json(plan);
    EXPECT_EQ(json["vcpus"]["vcpu"], Json({0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(json["vcpus"]["apic_id"], Json({0, 1, 2, 4, 5, 6})); // 3 cores need two bits
    EXPECT_EQ(json["vcpus"]["virtual_node"], Json({0, 0, 0, 1, 1, 0}));
    EXPECT_EQ(json["vcpus"]["pus"], Json({"0", "1-3,7", "", "4", "5", "6"}));
    EXPECT_EQ(json["shape"], (Json{{"sockets", 2}, {"dies", 1}, {"cores", 3}, {"threads", 1}}));
    EXPECT_EQ(json["policy"], "numa");
    EXPECT_EQ(json["page_size"], "2M");
    EXPECT_EQ(json["memory_bytes"], 2 * GiB);
    EXPECT_EQ(json["distances"], Json::parse("[[10, 20], [20, 10]]"));
    EXPECT_EQ(json["nodes"].size(), 2U);
    EXPECT_EQ(json["nodes"][1]["host_node"], 1);
    EXPECT_EQ(json["notes"].size(), 2U);
}

TEST(PlanAsJson, TellsEachReasonOnceInTheOrderOfTheVcpus) {
    auto plan = test::example_plan(test::example_host(2, 4), 5);
    const std::vector<std::string> reasons{"z", "a", "z", "z", "b"};
    for (std::size_t i = 0; i < reasons.size(); ++i)
        plan.vcpus[i].reason = reasons[i];
    EXPECT_EQ(to_json(plan)["reasons"], Json::parse(R"([{"vcpus": "0,2-3", "reason": "z"},
        {"vcpus": "1", "reason": "a"}, {"vcpus": "4", "reason": "b"}])"));
}

TEST(PlanAsJson, MarksMemoryThatIsNotBound) {
    auto plan = test::example_plan(test::example_host(1, 4), 1);
    plan.nodes[0].host_node.reset();
    EXPECT_TRUE(to_json(plan)["nodes"][0]["host_node"].is_null());
}

TEST(HostAsJson, IsASummaryUnlessThePusAreAskedFor) {
    auto host = test::example_host(2, 4);
    host.pus[5].allowed = false;
    host.pus[7].node.reset();
    auto summary = to_json(host);
    EXPECT_EQ(summary["pus"], 8);
    EXPECT_EQ(summary["allowed_pus"], 7);
    EXPECT_EQ(summary["packages"], 2);
    EXPECT_EQ(summary["nodes"][1]["memory_bytes"], 512 * GiB);
    EXPECT_EQ(summary["nodes"][1]["huge_pages"][0]["free"], 90);
    EXPECT_FALSE(summary.contains("pu_list"));
    EXPECT_FALSE(summary.contains("xml"));

    auto whole = to_json(host, PuList::include)["pu_list"];
    EXPECT_EQ(whole["os_index"], Json({0, 1, 2, 3, 4, 5, 6, 7}));
    EXPECT_EQ(whole["core"], Json({0, 0, 1, 1, 2, 2, 3, 3}));
    EXPECT_EQ(whole["node"], Json::parse("[0, 0, 0, 0, 1, 1, 1, null]"));
    EXPECT_EQ(whole["allowed"], Json::parse("[true, true, true, true, true, false, true, true]"));
}

TEST(RunAsJson, CarriesWhatRepeatsTheRun) {
    const auto result = test::full_result();
    auto json = to_json(result);
    EXPECT_EQ(json["schema_version"], 1);
    EXPECT_EQ(json["program"]["version"], std::string{program_version()});
    EXPECT_EQ(json["command_line"], Json({"nestbed", "validate", "--vcpus", "8"}));
    EXPECT_EQ(json["seed"], 0xffff'ffff'ffff'ffffU);
    EXPECT_EQ(json["outcome"], "failed");
    EXPECT_EQ(json["exit_code"], 1);
    EXPECT_EQ(json["error"]["found"], "a triple fault");
    EXPECT_EQ(json["host"]["topology_xml"], result.host->topology->xml);
    EXPECT_EQ(json["host"]["module_parameters"]["kvm_amd.nested"], "1");
    EXPECT_TRUE(json["host"]["limits"]["memlock"].is_null());
    EXPECT_EQ(json["host"]["limits"]["nofile"], 1024);
    EXPECT_EQ(json["kvm_stats"]["vcpu"]["exits"]["values"].size(), 8U);
    EXPECT_EQ(json["kvm_stats"]["vm"]["remote_tlb_flush"]["value"], 12);
    EXPECT_EQ(json["timings"][1], (Json{{"phase", "boot"}, {"seconds", 1.25}}));
}

TEST(RunAsJson, CarriesWhatTheChecksFound) {
    auto json = to_json(test::full_result());
    auto& failed = json["checks"][0];
    EXPECT_EQ(failed["verdict"], "fail");
    EXPECT_FALSE(failed.contains("reason"));
    EXPECT_EQ(failed["facts"], (Json{{"rounds", 10}}));
    auto& latency = failed["measurements"][0];
    EXPECT_EQ(latency["unit"], "us");
    EXPECT_EQ(latency["warmup"], 1);
    EXPECT_EQ(latency["count"], 6);
    EXPECT_EQ(latency["median"], 3);
    EXPECT_EQ(latency["median_ci95"], Json::parse("[1, 6]"));
    EXPECT_EQ(latency["samples"].size(), 7U);
    EXPECT_EQ(json["checks"][1]["reason"], "this KVM has no NMI");
}

TEST(RunAsJson, LeavesOutWhatIsNotThere) {
    auto json = to_json(RunResult{});
    for (const auto* name : {"error", "host", "machine", "plan", "kvm_stats"})
        EXPECT_FALSE(json.contains(name)) << name;
    EXPECT_TRUE(json["seed"].is_null());
    EXPECT_TRUE(json["checks"].is_array());
}

TEST(RunAsJson, HasNullForWhatIsNoNumberOrNotKnown) {
    RunResult result;
    result.duration_s = std::numeric_limits<double>::infinity();
    result.host = HostFacts{};
    CheckResult check;
    check.measurements = {measure("nothing", "ns", {})};
    check.measurements[0].samples = {std::numeric_limits<double>::quiet_NaN(), 1};
    result.checks = {check};
    auto json = to_json(result);
    EXPECT_TRUE(json["duration_s"].is_null());
    EXPECT_TRUE(json["host"]["kvm_module"].is_null());
    auto& measurement = json["checks"][0]["measurements"][0];
    EXPECT_EQ(measurement["count"], 0);
    for (const auto* figure : {"min", "median", "p90", "p99", "max", "mean", "median_ci95"})
        EXPECT_TRUE(measurement[figure].is_null()) << figure;
    EXPECT_EQ(measurement["samples"], Json::parse("[null, 1.0]"));
}

TEST(Utc, IsRfc3339WithMilliseconds) {
    using namespace std::chrono;
    struct Case {
        system_clock::time_point time;
        std::string expected;
    };
    const std::vector<Case> cases{
        {system_clock::time_point{}, "1970-01-01T00:00:00.000Z"},
        {sys_days{2024y / 2 / 29} + 23h + 59min + 59s + 999'999us, "2024-02-29T23:59:59.999Z"},
        {sys_days{2026y / 11 / 22} + 3h + 11min + 4s + 250ms, "2026-11-22T03:11:04.250Z"},
        {system_clock::time_point{} - 1ms, "1969-12-31T23:59:59.999Z"},
    };
    for (const auto& [time, expected] : cases)
        EXPECT_EQ(format_utc(time), expected);
}

} // namespace
} // namespace nestbed::report
