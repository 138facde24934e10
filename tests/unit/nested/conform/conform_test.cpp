#include "nested/conform/conform.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nested/conform/judge.hpp"
#include "report/json.hpp"
#include "report/json_file.hpp"
#include "tests/support/schema.hpp"

namespace nestbed::conform {
namespace {

using report::Verdict;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ConformRequest request_of(const std::vector<std::string>& names) {
    ConformRequest request;
    request.command = "nestbed conform run --where lab";
    for (const auto& name : names)
        request.cases.push_back(
            {.name = name, .title = "What must hold", .reference = "APM volume 2, 15.5", .needs = {}});
    return request;
}

report::CheckResult result_of(const std::string& name, Verdict verdict) {
    report::CheckResult result;
    result.name = name;
    result.verdict = verdict;
    if (verdict == Verdict::not_applicable)
        result.reason = "no such feature";
    return result;
}

nlohmann::json document_of(const report::RunResult& run) {
    return nlohmann::json::parse(report::dump(report::to_json(run)));
}

TEST(Complete, SaysHowATestIsRepeated) {
    auto result = result_of("svm.a.one", Verdict::pass);
    complete(request_of({}), result);
    EXPECT_EQ(result.repeat, "nestbed conform run --where lab 'svm.a.one'");
    EXPECT_EQ(result.known, "");
}

TEST(Complete, MarksWhatTheBaselineKnows) {
    auto request = request_of({});
    request.baseline = Baseline{.machine = "", .known = {{"svm.a.one", {"fail", "it forgets a bit"}}}};
    auto result = result_of("svm.a.one", Verdict::fail);
    complete(request, result);
    EXPECT_EQ(result.known, "it forgets a bit");
}

TEST(Finish, PutsTestsInOrderAndNamesThoseThatDidNotRun) {
    const auto request = request_of({"svm.a.one", "svm.b.two", "svm.c.three"});
    auto run = blank_run();
    run.error = Error{.kind = ErrorKind::cancelled, .asked = "run", .found = "SIGINT", .remedy = {}};
    run.checks = {result_of("svm.c.three", Verdict::pass), result_of("svm.a.one", Verdict::fail)};
    std::vector<std::string> told;
    finish(request, run, {.began = {}, .started = {}, .finished = [&](const report::CheckResult& check) {
                              told.push_back(check.name);
                          }});
    ASSERT_EQ(run.checks.size(), 3U);
    EXPECT_EQ(run.checks[0].name, "svm.a.one");
    EXPECT_EQ(run.checks[0].verdict, Verdict::fail);
    EXPECT_EQ(run.checks[1].name, "svm.b.two");
    EXPECT_EQ(run.checks[1].verdict, Verdict::not_run);
    EXPECT_EQ(run.checks[1].title, "What must hold");
    EXPECT_THAT(run.checks[1].reason, HasSubstr("SIGINT"));
    EXPECT_THAT(run.checks[1].repeat, HasSubstr("svm.b.two"));
    EXPECT_EQ(run.checks[2].name, "svm.c.three");
    EXPECT_THAT(told, ElementsAre("svm.b.two"));
    EXPECT_EQ(run.outcome, report::Outcome::cancelled);
    EXPECT_GE(run.duration_s, 0);
}

TEST(Finish, TakesTheOutcomeFromTheChecks) {
    struct Case {
        Verdict verdict;
        std::string known;
        report::Outcome outcome;
    };
    const std::vector<Case> cases{{Verdict::pass, "", report::Outcome::passed},
                                  {Verdict::fail, "", report::Outcome::failed},
                                  {Verdict::fail, "so", report::Outcome::passed},
                                  {Verdict::hang, "", report::Outcome::failed},
                                  {Verdict::crash, "so", report::Outcome::passed},
                                  {Verdict::not_applicable, "", report::Outcome::passed},
                                  {Verdict::not_run, "", report::Outcome::failed}};
    for (const auto& [verdict, known, outcome] : cases) {
        auto run = blank_run();
        run.checks = {result_of("svm.a.one", verdict)};
        run.checks[0].known = known;
        finish(request_of({"svm.a.one"}), run, {});
        EXPECT_EQ(run.outcome, outcome) << report::to_string(verdict) << " " << known;
    }
    auto run = blank_run();
    finish(request_of({"svm.a.one"}), run, {});
    EXPECT_EQ(run.outcome, report::Outcome::failed) << "a test without a result";
    EXPECT_EQ(run.checks.at(0).reason, "the run ended before it");
}

// Every verdict, as judge() and a run make them.
TEST(ConformDocument, KeepsToTheSchema) {
    auto request = request_of(
        {"svm.a.crash", "svm.a.fail", "svm.a.hang", "svm.a.known", "svm.a.na", "svm.a.none", "svm.a.pass"});
    request.baseline = Baseline{.machine = "", .known = {{"svm.a.known", {"fail", "it forgets a bit"}}}};
    nested::wire::Report held{};
    held.begun = 1;
    held.checks = 1;
    held.runs = 1;
    held.written[0x58] = 1;
    auto failed = held;
    failed.failures = 9;
    failed.frozen = 1;
    failed.failure[0].text[0] = '\xff';
    auto absent = held;
    absent.not_applicable[0] = 'x';
    const Outcome none;
    const Outcome hung{.error = Error{ErrorKind::deadline, "run", "no answer", ""},
                       .fatal_exit = {},
                       .stopped = false,
                       .diagnosis = {"vCPU 0: halted"}};
    const Outcome crashed{.error = Error{ErrorKind::check_failed, "run", "it died", ""},
                          .fatal_exit = 8,
                          .stopped = false,
                          .diagnosis = {}};
    auto run = blank_run();
    const auto add = [&](std::size_t index, const Outcome& outcome, const nested::wire::Report& report) {
        auto result = judge(request.cases[index], outcome, std::vector{report});
        complete(request, result);
        run.checks.push_back(std::move(result));
    };
    add(0, crashed, held);
    add(1, none, failed);
    add(2, hung, held);
    add(3, none, failed);
    add(4, none, absent);
    add(6, none, held);
    finish(request, run, {});
    std::vector<Verdict> verdicts;
    for (const auto& check : run.checks)
        verdicts.push_back(check.verdict);
    ASSERT_THAT(verdicts, ElementsAre(Verdict::crash, Verdict::fail, Verdict::hang, Verdict::fail,
                                      Verdict::not_applicable, Verdict::not_run, Verdict::pass));
    const auto document = document_of(run);
    EXPECT_THAT(test::violations(document), IsEmpty());
    EXPECT_EQ(document["kind"], "conform");
    EXPECT_EQ(document["checks"][3]["known"], "it forgets a bit");
    auto broken = document;
    broken["checks"][4].erase("reason");
    EXPECT_THAT(test::violations(broken), testing::Not(IsEmpty()));
}

TEST(ConformDocument, OfARunThatCouldNotBeginKeepsToTheSchema) {
    auto run = blank_run();
    run.error = Error{
        .kind = ErrorKind::host_lacks, .asked = "open /dev/kvm", .found = "there is none", .remedy = {}};
    finish(request_of({"svm.a.one"}), run, {});
    EXPECT_EQ(run.outcome, report::Outcome::host_lacks);
    EXPECT_THAT(test::violations(document_of(run)), IsEmpty());
}

} // namespace
} // namespace nestbed::conform
