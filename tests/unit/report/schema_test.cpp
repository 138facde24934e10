#include "tests/support/schema.hpp"

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/json.hpp"
#include "report/json_file.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using Json = nlohmann::json;
using nestbed::test::run_schema;
using nestbed::test::violations;
using testing::IsEmpty;
using testing::Not;

// As a reader of the file sees it.
Json document_of(const RunResult& result) {
    return Json::parse(dump(to_json(result)));
}

Json full_document() {
    auto json = document_of(test::full_result());
    json["host"]["topology"] = Json::parse(to_json(test::example_host(2, 4), PuList::include).dump());
    return json;
}

RunResult failed_early(ErrorKind kind) {
    RunResult result;
    result.kind = "validate";
    result.outcome = outcome_of(kind);
    result.error = Error{.kind = kind, .asked = "--vcpus 0", .found = "no vCPUs", .remedy = ""};
    return result;
}

Json resolve(const Json& schema, const Json& root) {
    const auto ref = schema.find("$ref");
    return ref == schema.end() ? schema : root.at(Json::json_pointer(ref->get<std::string>().substr(1)));
}

// An object of the document that the schema closes, as a pointer into the document with its schema.
struct Site {
    Json::json_pointer at;
    Json schema;
};

// Every object of `value` together with what the schema says of it.
void collect(const Json& value, const Json& rule, const Json& root, const Json::json_pointer& at,
             std::vector<Site>& sites) {
    const auto schema = resolve(rule, root);
    if (value.is_array() && schema.contains("items")) {
        for (std::size_t i = 0; i < value.size(); ++i)
            collect(value[i], schema["items"], root, at / i, sites);
    } else if (value.is_object()) {
        sites.push_back({.at = at, .schema = schema});
        for (const auto& [name, member] : value.items()) {
            if (schema.contains("properties") && schema["properties"].contains(name))
                collect(member, schema["properties"][name], root, at / name, sites);
            else if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object())
                collect(member, schema["additionalProperties"], root, at / name, sites);
        }
    }
}

std::vector<Site> sites_of(const Json& document) {
    std::ifstream file{run_schema()};
    const auto root = Json::parse(file);
    std::vector<Site> sites;
    collect(document, root, root, Json::json_pointer{}, sites);
    return sites;
}

TEST(Schema, AcceptsAFullRun) {
    EXPECT_THAT(violations(full_document()), IsEmpty());
    EXPECT_THAT(violations(document_of(test::full_result(1024))), IsEmpty());
}

TEST(Schema, AcceptsARunThatEndedBeforeItBegan) {
    for (const auto kind : {ErrorKind::check_failed, ErrorKind::bad_input, ErrorKind::host_lacks,
                            ErrorKind::cancelled, ErrorKind::deadline})
        EXPECT_THAT(violations(document_of(failed_early(kind))), IsEmpty()) << nestbed::to_string(kind);
}

TEST(Schema, AcceptsAHostOfWhichLittleIsKnownAndFiguresThatAreNone) {
    auto result = failed_early(ErrorKind::host_lacks);
    result.host = HostFacts{};
    CheckResult check;
    check.name = "boot";
    check.reason = "this host has no /dev/kvm";
    check.measurements = {measure("nothing", "ns", {}, 0, RawSamples::keep)};
    result.checks = {check};
    EXPECT_THAT(violations(document_of(result)), IsEmpty());
}

// The list of sites comes from the schema, so this also shows that the example leaves none of its objects
// out.
TEST(Schema, WantsEachRequiredMember) {
    const auto document = full_document();
    std::size_t removed = 0;
    for (const auto& [at, schema] : sites_of(document)) {
        for (const auto& name : schema.value("required", Json::array())) {
            auto broken = document;
            broken[at].erase(name.get<std::string>());
            EXPECT_THAT(violations(broken), Not(IsEmpty())) << at.to_string() << " without " << name;
            ++removed;
        }
    }
    EXPECT_GT(removed, 100U);
}

// All else is required, so that a reader need not ask for it.
TEST(Schema, LeavesOnlyTheseMembersOptional) {
    std::set<std::string> optional;
    for (const auto& [at, schema] : sites_of(full_document())) {
        const auto required = schema.value("required", Json::array());
        const auto properties = schema.value("properties", Json::object());
        for (const auto& [name, rule] : properties.items())
            if (std::find(required.begin(), required.end(), name) == required.end())
                optional.insert(name);
    }
    EXPECT_THAT(optional,
                testing::ElementsAre("error", "host", "kappa", "knee", "known", "kvm_stats", "lambda",
                                     "machine", "place_comparison", "plan", "pu_list", "r_squared", "reason",
                                     "reference", "samples", "sigma", "sweep", "topology", "topology_xml",
                                     "why_no_correlation", "why_no_winner", "why_not"));
}

TEST(Schema, AllowsNoMemberThatItDoesNotName) {
    const auto document = full_document();
    std::vector<std::string> open;
    for (const auto& [at, schema] : sites_of(document)) {
        auto broken = document;
        broken[at]["surprise"] = Json::object({{"a", 1}});
        if (violations(broken).empty())
            open.push_back(at.to_string());
    }
    EXPECT_THAT(open, testing::ElementsAre("/checks/0/facts", "/checks/1/facts"));
}

TEST(Schema, RefusesValuesOfTheWrongKind) {
    struct Case {
        std::string at;
        Json value;
    };
    const std::vector<Case> cases{
        {"/schema_version", 2},
        {"/program/version", "1"},
        {"/kind", ""},
        {"/started_at", "2026-11-22 03:11:04"},
        {"/duration_s", -1},
        {"/seed", "7"},
        {"/outcome", "ok"},
        {"/exit_code", 4},
        {"/error/kind", "other"},
        {"/host/kernel", 6},
        {"/host/kvm_capabilities/KVM_CAP_MAX_VCPUS", "1024"},
        {"/host/limits/nofile", "unlimited"},
        {"/machine/vcpus", 1.5},
        {"/machine/shape/threads", 0},
        {"/plan/policy", "best"},
        {"/plan/page_size", "4M"},
        {"/plan/vcpus/apic_id/0", "0"},
        {"/plan/vcpus/pus/0", "0-"},
        {"/plan/distances/0", 10},
        {"/plan/nodes", Json::array()},
        {"/checks/0/verdict", "passed"},
        {"/checks/0/facts", Json::array()},
        {"/checks/0/measurements/0/median", "3"},
        {"/checks/0/measurements/0/median_ci95", Json::array({1})},
        {"/checks/0/measurements/0/count", -1},
        {"/kvm_stats/vcpu/exits/values/0", 0.5},
        {"/timings/0/seconds", "1"},
        {"/sweep/points/0/verdict", "passed"},
        {"/sweep/points/0/vcpus", -1},
        {"/sweep/points/0/facts/remote_ns", "130"},
        {"/sweep/points/0/kvm_stats/exits", 0.5},
        {"/sweep/points/0/matrices/0/values_f32", "AAAA AAA"},
        {"/sweep/points/0/distributions/0/histogram/counts/0", -1},
        {"/sweep/points/2/stuck/0/lines/0", 7},
        {"/sweep/fits/0/knee", 97},
        {"/sweep/fits/0/lambda/ci95", Json::array({1})},
        {"/sweep/fits/1/why_not", ""},
    };
    const auto document = full_document();
    for (const auto& [at, value] : cases) {
        auto broken = document;
        ASSERT_TRUE(broken.contains(Json::json_pointer{at})) << at;
        broken[Json::json_pointer{at}] = value;
        EXPECT_THAT(violations(broken), Not(IsEmpty())) << at << " = " << value;
    }
}

TEST(Schema, WantsTheReasonOfWhatDidNotRunAndTheErrorOfWhatCouldNot) {
    for (const auto verdict : {Verdict::skipped, Verdict::not_run}) {
        auto result = test::full_result();
        result.checks[1].verdict = verdict;
        EXPECT_THAT(violations(document_of(result)), IsEmpty());
        result.checks[1].reason.clear();
        EXPECT_THAT(violations(document_of(result)), Not(IsEmpty())) << to_string(verdict);
    }
    for (const auto kind : {ErrorKind::bad_input, ErrorKind::host_lacks}) {
        auto result = failed_early(kind);
        result.error.reset();
        EXPECT_THAT(violations(document_of(result)), Not(IsEmpty())) << nestbed::to_string(kind);
    }
}

TEST(Schema, ThatIsMissingIsAViolation) {
    EXPECT_THAT(violations(full_document(), "/nonexistent/schema.json"), Not(IsEmpty()));
}

} // namespace
} // namespace nestbed::report
