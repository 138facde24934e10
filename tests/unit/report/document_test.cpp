#include "report/document.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/json.hpp"
#include "report/json_file.hpp"
#include "report/sweep_json.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

std::string full_text(std::uint32_t vcpus = 8) {
    return dump(to_json(test::full_result(vcpus)));
}

std::string objection_to(const std::string& text) {
    const auto document = parse_document(text, "a.json");
    if (document)
        return "none";
    EXPECT_EQ(document.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(document.error().asked, "read a.json");
    return document.error().found;
}

TEST(Document, IsTheRunThatWroteIt) {
    for (const auto vcpus : {1U, 2U, 254U, 255U, 256U, 257U, 288U, 1024U}) {
        const auto document = parse_document(full_text(vcpus), "a.json");
        ASSERT_TRUE(document) << document.error().message();
        EXPECT_EQ(document->name, "a.json");
        // Written once more it is the same text: nothing was lost but the number of PUs, which XML has.
        auto json = to_json(document->run);
        auto original = to_json(test::full_result(vcpus));
        for (const auto* name : {"pus", "allowed_pus"})
            json["host"]["topology"][name] = original["host"]["topology"][name];
        EXPECT_EQ(dump(json), dump(original)) << vcpus;
        EXPECT_TRUE(document->run.started_at == test::full_result().started_at);
    }
}

TEST(Document, MayEndEarly) {
    RunResult run;
    run.kind = "stress";
    run.outcome = Outcome::host_lacks;
    run.error = Error{.kind = ErrorKind::host_lacks, .asked = "a", .found = "b", .remedy = "c"};
    const auto document = parse_document(dump(to_json(run)), "a.json");
    ASSERT_TRUE(document) << document.error().message();
    EXPECT_FALSE(document->run.host || document->run.sweep || document->run.plan);
    EXPECT_EQ(document->run.error->remedy, "c");
}

TEST(Document, MayHaveMembersOfANewerProgram) {
    auto json = to_json(test::full_result());
    json["news"] = {{"a", 1}};
    json["sweep"]["points"][0]["news"] = "b";
    EXPECT_EQ(objection_to(dump(json)), "none");
}

TEST(Document, MayBeFiguresOfTheBenchmark) {
    const auto document = parse_document(
        R"({"schema_version": 1, "program": {"name": "nestbed", "version": "0.1.0"},
            "host": {"kernel": "6.1.0", "cpu_model": null},
            "figures": [
              {"name": "bringup/floor", "what": "w", "unit": "ms",
               "ours": {"count": 5, "min": 1, "median": 2, "max": 3},
               "other": {"count": 5, "min": 1, "median": 1.5, "max": 3},
               "ratio": {"count": 5, "min": 1, "median": 1.1, "max": 2},
               "target": {"at_most": 1.25}, "holds": true},
              {"name": "exit/floor", "what": "w", "unit": "ticks",
               "ours": {"count": 0, "min": null, "median": null, "max": null},
               "target": {"at_least": 3}, "holds": false}],
            "error": {"kind": "deadline", "asked": "a", "found": "b", "remedy": ""}})",
        "bench.json");
    ASSERT_TRUE(document) << document.error().message();
    EXPECT_EQ(document->run.kind, "bench");
    EXPECT_EQ(document->run.host->kernel, "6.1.0");
    EXPECT_EQ(document->run.outcome, Outcome::deadline);
    ASSERT_EQ(document->figures.size(), 2U);
    EXPECT_EQ(document->figures[0].ratio->median, 1.1);
    EXPECT_TRUE(document->figures[0].at_most && document->figures[0].holds);
    EXPECT_FALSE(document->figures[1].other || document->figures[1].at_most);
    EXPECT_EQ(document->figures[1].target, 3);
}

TEST(Document, SaysWhichMemberIsWrongAndWhatItFound) {
    struct Case {
        std::string at;
        Json value;
        std::string objection;
    };
    const auto original = to_json(test::full_result());
    for (const auto& [at, value, objection] : std::vector<Case>{
             {"/schema_version", 2, "version 2 of the format, this program reads version 1"},
             {"/schema_version", "1", "schema_version: asked for a whole number, found \"1\""},
             {"/started_at", "2026-13-22T03:11:04.250Z", "started_at: asked for a time"},
             {"/seed", -1, "seed: asked for a whole number, found -1"},
             {"/outcome", "ok", "outcome: asked for an outcome, found \"ok\""},
             {"/error/kind", "odd", "error.kind: asked for a kind of error"},
             {"/host/limits/nofile", "many", "host.limits.nofile: asked for a whole number"},
             {"/host/topology/distances", Json::array(), "host.topology.distances: asked for 2 rows"},
             {"/machine/shape/cores", 0, "machine.shape.cores: asked for 1 or more, found 0"},
             {"/plan/policy", "best", "plan.policy: asked for a policy, found \"best\""},
             {"/plan/vcpus/apic_id", Json::array({1}),
              "plan.vcpus: asked for columns of one length, found 8, 1"},
             {"/plan/vcpus/vcpu/1", 7, "plan.vcpus: asked for the vCPUs in their order"},
             {"/plan/vcpus/virtual_node/0", 2, "plan.vcpus: asked for a virtual node below 2, found 2"},
             {"/plan/vcpus/pus/0", "0-4000000000", "plan.vcpus.pus[0]: asked for numbers"},
             {"/plan/reasons/0/vcpus", "0-9", "plan.reasons[0].vcpus: asked for"},
             {"/plan/nodes/1/virtual_node", 0, "plan.nodes[1].virtual_node: asked for the nodes"},
             {"/checks/0/verdict", "passed", "checks[0].verdict: asked for a verdict, found \"passed\""},
             {"/checks/0/measurements/0/median", "3", "checks[0].measurements[0].median: asked for a number"},
             {"/checks/0/facts", 3, "checks[0].facts: asked for an object, found 3"},
             {"/kvm_stats/vcpu/exits/values/3", 0.5, "kvm_stats.vcpu.exits.values[3]: asked for"},
             {"/sweep/points/1/vcpus", 65'537,
              "sweep.points[1].vcpus: asked for a whole number of at most 65536"},
             {"/sweep/points/1/operations", -1, "sweep.points[1].operations: asked for 0 or more, found -1"},
             {"/sweep/points/0/distributions/0/histogram/bounds", Json::array({0, 2, 2, 3}),
              "sweep.points[0].distributions[0].histogram.bounds: asked for bounds that ascend"},
             {"/sweep/points/0/distributions/0/histogram/bounds", Json::array({0, 2}),
              "asked for one more bound than the 3 counts"},
             {"/sweep/points/1/matrices/0/values_f32", "AAAA", "asked for base64 of 16 numbers of 4 bytes"},
             {"/sweep/points/1/matrices/0/rows", 65'536, "asked for base64 of 262144 numbers"},
             {"/sweep/fits/0/lambda/ci95", Json::array({2, 1}),
              "sweep.fits[0].lambda.ci95: asked for two numbers"},
             {"/sweep/fits/0/knee", Json::array(), "sweep.fits[0].knee: asked for an object"},
             {"/timings/0/phase", nullptr, "timings[0].phase: asked for a string, found null"},
         }) {
        auto json = original;
        ASSERT_TRUE(json.contains(Json::json_pointer{at})) << at;
        json[Json::json_pointer{at}] = value;
        EXPECT_THAT(objection_to(dump(json)), HasSubstr(objection)) << at << " = " << value;
    }
}

TEST(Document, SaysWhichMemberIsMissing) {
    auto json = to_json(test::full_result());
    json["sweep"]["points"][1].erase("repeat");
    EXPECT_EQ(objection_to(dump(json)), "sweep.points[1].repeat: asked for it, found no such member");
}

TEST(Document, KeepsBytesOfItsOwnOutOfErrors) {
    auto json = to_json(test::full_result());
    json["outcome"] = "\x1b[31m" + std::string(1000, 'x');
    const auto objection = objection_to(dump(json));
    EXPECT_THAT(objection, HasSubstr("?[31mxxx"));
    EXPECT_LT(objection.size(), 120U);
}

TEST(Document, IsBounded) {
    EXPECT_THAT(objection_to(""), HasSubstr("no JSON"));
    EXPECT_THAT(objection_to("{\"a\": }"), HasSubstr("no JSON at byte 7"));
    EXPECT_THAT(objection_to(std::string(1'000'000, '[')), HasSubstr("more than 64 levels"));
    std::string zeros = "[0";
    for (int i = 0; i < 16'000'000; ++i)
        zeros += ",0";
    EXPECT_THAT(objection_to(zeros + "]"), HasSubstr("more than 16000000 values"));
    EXPECT_THAT(objection_to("[]"), HasSubstr("the document: asked for an object, found an array of 0"));
}

// 65536 times all vCPUs would be four thousand million strings.
TEST(Document, GivesEachVcpuOneReason) {
    auto json = to_json(test::full_result(288));
    json["plan"]["reasons"].push_back({{"vcpus", "0-287"}, {"reason", "again"}});
    EXPECT_THAT(objection_to(dump(json)), HasSubstr("plan.reasons[2].vcpus"));
}

TEST(Document, ThatCannotBeReadIsNamed) {
    const auto document = read_document("/nonexistent/run.json");
    ASSERT_FALSE(document);
    EXPECT_EQ(document.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(document.error().message(), HasSubstr("/nonexistent/run.json"));
}

TEST(Throughput, IsOfWhatWasMeasured) {
    struct Case {
        double operations, seconds;
        std::optional<double> expected;
    };
    const auto nan = Summary::nothing;
    for (const auto& [operations, seconds, expected] :
         std::vector<Case>{{10, 2, 5.0}, {0, 2, {}}, {10, 0, {}}, {nan, 2, {}}, {10, nan, {}}}) {
        SweepPoint point;
        point.operations = operations;
        point.seconds = seconds;
        EXPECT_EQ(throughput(point), expected) << operations << " in " << seconds;
    }
}

TEST(Utc, IsReadBack) {
    for (const auto* text :
         {"2026-11-22T03:11:04.250Z", "1970-01-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z"}) {
        const auto time = parse_utc(text);
        ASSERT_TRUE(time) << text;
        EXPECT_EQ(format_utc(*time), text);
    }
    for (const auto* text : {"", "2026-11-22", "2026-02-30T00:00:00.000Z", "2026-11-22T24:00:00.000Z",
                             "2026-11-22T03:61:04.250Z", "2026-11-22 03:11:04.250Z",
                             "9999-11-22T03:11:04.250Z", "2026-11-22T03:11:04.250Zx"})
        EXPECT_FALSE(parse_utc(text)) << text;
}

} // namespace
} // namespace nestbed::report
