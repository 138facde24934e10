#include "nested/conform/judge.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>

#include "nested/svm/exit_code.hpp"
#include "nested/svm/vmcb.hpp"

namespace nestbed::conform {
namespace {

using nested::wire::Ending;
using nested::wire::Report;
using report::Verdict;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

constexpr std::uint64_t most = ~std::uint64_t{0};

Case a_test(Ending ending = Ending::returns) {
    return {.name = "svm.group.case",
            .title = "What must hold",
            .reference = "APM volume 2, 15.5",
            .needs = {},
            .vcpus = 1,
            .ending = ending};
}

// Of a vCPU on which the test ran and held.
Report good_report(std::uint64_t checks = 3) {
    Report report{};
    report.begun = 1;
    report.checks = checks;
    return report;
}

template<std::size_t N>
void put(char (&field)[N], std::string_view text) {
    std::memcpy(&field[0], text.data(), std::min(text.size(), N));
}

void add_failure(Report& report, std::string_view text, std::uint64_t expected, std::uint64_t seen) {
    auto& failure = report.failure[report.failures++];
    put(failure.text, text);
    put(failure.file, "tests/basic.cpp");
    failure.line = 42;
    failure.has_values = 1;
    failure.expected = expected;
    failure.seen = seen;
}

Outcome ended_by(ErrorKind kind, std::optional<std::uint32_t> fatal_exit = {}) {
    return {.error = Error{.kind = kind, .asked = "run the job", .found = "it did not", .remedy = {}},
            .fatal_exit = fatal_exit,
            .stopped = false,
            .diagnosis = {"vCPU 0: at 0x1000"}};
}

constexpr std::string_view error_text = "run the job: it did not";

struct VerdictCase {
    std::string name;
    Case test;
    Outcome outcome;
    std::vector<Report> reports;
    Verdict verdict = Verdict::pass;
    std::string summary;
};

void PrintTo(const VerdictCase& one, std::ostream* out) {
    *out << one.name;
}

Report with_ready(Report report) {
    report.ready = 1;
    return report;
}
Report with_failure(Report report) {
    add_failure(report, "RAX", 1, 2);
    return report;
}
Outcome stopped_by_the_host() {
    Outcome outcome;
    outcome.stopped = true;
    return outcome;
}

const std::string failure_text = "RAX: expected 0x1, saw 0x2 (tests/basic.cpp:42)";

const std::vector<VerdictCase> verdict_cases{
    {"Pass", a_test(), {}, {good_report(3)}, Verdict::pass, "3 expectations met"},
    {"PassOnManyVcpus", a_test(), {}, {good_report(3), good_report(4)}, Verdict::pass, "7 expectations met"},
    {"Fail", a_test(), {}, {with_failure(good_report())}, Verdict::fail, failure_text},
    {"FailOnTheSecondVcpu",
     a_test(),
     {},
     {good_report(), with_failure(good_report())},
     Verdict::fail,
     failure_text},
    {"NothingJudged",
     a_test(),
     {},
     {good_report(0)},
     Verdict::fail,
     "the test came to its end without judging anything"},
    {"NoReports", a_test(), {}, {}, Verdict::fail, "the test came to its end without judging anything"},
    {"Hang",
     a_test(),
     ended_by(ErrorKind::deadline),
     {good_report()},
     Verdict::hang,
     std::string{error_text}},
    {"HangBeforeItBegan",
     a_test(),
     ended_by(ErrorKind::deadline),
     {Report{}},
     Verdict::hang,
     std::string{error_text}},
    {"HangAtBoot", a_test(), ended_by(ErrorKind::deadline), {}, Verdict::hang, std::string{error_text}},
    {"Crash",
     a_test(),
     ended_by(ErrorKind::check_failed, KVM_EXIT_INTERNAL_ERROR),
     {good_report()},
     Verdict::crash,
     std::string{error_text}},
    {"ShutdownThatNobodyExpected",
     a_test(),
     ended_by(ErrorKind::check_failed, KVM_EXIT_SHUTDOWN),
     {with_ready(good_report())},
     Verdict::crash,
     std::string{error_text}},
    // What the guest found counts more than how it ended.
    {"FailureBeforeAHang",
     a_test(),
     ended_by(ErrorKind::deadline),
     {with_failure(good_report())},
     Verdict::fail,
     failure_text},
    {"FailureBeforeACrash",
     a_test(),
     ended_by(ErrorKind::check_failed, KVM_EXIT_SHUTDOWN),
     {with_failure(good_report())},
     Verdict::fail,
     failure_text},

    {"ShutdownSeen",
     a_test(Ending::shutdown),
     ended_by(ErrorKind::check_failed, KVM_EXIT_SHUTDOWN),
     {with_ready(good_report(0))},
     Verdict::pass,
     "the vCPU shut down, as it must"},
    {"ShutdownNotSeen",
     a_test(Ending::shutdown),
     {},
     {with_ready(good_report())},
     Verdict::fail,
     "expected the vCPU to shut down; it went on"},
    {"ShutdownBeforeItWasAnnounced",
     a_test(Ending::shutdown),
     ended_by(ErrorKind::check_failed, KVM_EXIT_SHUTDOWN),
     {good_report()},
     Verdict::crash,
     std::string{error_text}},
    {"ShutdownAfterAFailure",
     a_test(Ending::shutdown),
     ended_by(ErrorKind::check_failed, KVM_EXIT_SHUTDOWN),
     {with_ready(with_failure(good_report()))},
     Verdict::fail,
     failure_text},
    {"AnotherDeathThanTheShutdown",
     a_test(Ending::shutdown),
     ended_by(ErrorKind::check_failed, KVM_EXIT_FAIL_ENTRY),
     {with_ready(good_report())},
     Verdict::crash,
     std::string{error_text}},
    {"HangInsteadOfTheShutdown",
     a_test(Ending::shutdown),
     ended_by(ErrorKind::deadline),
     {with_ready(good_report())},
     Verdict::hang,
     std::string{error_text}},

    {"Stopped",
     a_test(Ending::stopped),
     stopped_by_the_host(),
     {with_ready(good_report(0))},
     Verdict::pass,
     "stopped while L2 ran"},
    {"StoppedAfterAFailure",
     a_test(Ending::stopped),
     stopped_by_the_host(),
     {with_ready(with_failure(good_report()))},
     Verdict::fail,
     failure_text},
    {"NeverReadyToBeStopped",
     a_test(Ending::stopped),
     ended_by(ErrorKind::deadline),
     {good_report()},
     Verdict::hang,
     std::string{error_text}},
    {"DeadBeforeItWasStopped",
     a_test(Ending::stopped),
     ended_by(ErrorKind::check_failed, KVM_EXIT_SHUTDOWN),
     {with_ready(good_report())},
     Verdict::crash,
     std::string{error_text}},
};

class JudgeVerdict : public testing::TestWithParam<VerdictCase> {};

TEST_P(JudgeVerdict, IsThatOfTheReportsAndTheEnding) {
    const auto& one = GetParam();
    const auto result = judge(one.test, one.outcome, one.reports);
    EXPECT_EQ(report::to_string(result.verdict), report::to_string(one.verdict));
    EXPECT_EQ(result.summary, one.summary);
    EXPECT_EQ(result.reason, "");
    EXPECT_EQ(result.known, "");
    EXPECT_EQ(result.name, "svm.group.case");
    EXPECT_EQ(result.title, "What must hold");
    EXPECT_EQ(result.reference, "APM volume 2, 15.5");
    if (one.verdict == Verdict::pass) {
        EXPECT_THAT(result.details, IsEmpty());
    } else {
        EXPECT_THAT(result.details, Contains("held to: APM volume 2, 15.5"));
        EXPECT_EQ(std::ranges::count(result.details, "vCPU 0: at 0x1000"),
                  static_cast<std::ptrdiff_t>(one.outcome.diagnosis.size()));
    }
}

INSTANTIATE_TEST_SUITE_P(All, JudgeVerdict, testing::ValuesIn(verdict_cases),
                         [](const auto& one) { return one.param.name; });

TEST(Judge, CountsTheChecksOfAllVcpus) {
    const std::vector reports{good_report(2), with_failure(good_report(3))};
    EXPECT_EQ(judge(a_test(), {}, reports).facts["checks"], 5);
}

TEST(Judge, TakesTheTestsWordThatItDoesNotApply) {
    auto report = good_report(0);
    put(report.not_applicable, "the vCPU has no 1 GiB pages");
    const auto result = judge(a_test(), {}, std::vector{good_report(1), report});
    EXPECT_EQ(result.verdict, Verdict::not_applicable);
    EXPECT_EQ(result.reason, "the vCPU has no 1 GiB pages");
    EXPECT_EQ(result.name, "svm.group.case");
    EXPECT_THAT(result.summary, IsEmpty());
    EXPECT_THAT(result.details, IsEmpty());
}

// Neither a death nor what was found before is excused by saying so.
TEST(Judge, DoesNotApplyOnlyWhereNothingElseHappened) {
    auto report = good_report(1);
    put(report.not_applicable, "no such feature");
    EXPECT_EQ(
        judge(a_test(), ended_by(ErrorKind::check_failed, KVM_EXIT_SHUTDOWN), std::vector{report}).verdict,
        Verdict::crash);
    EXPECT_EQ(judge(a_test(), ended_by(ErrorKind::deadline), std::vector{report}).verdict, Verdict::hang);
    const auto failed = judge(a_test(), {}, std::vector{report, with_failure(good_report())});
    EXPECT_EQ(failed.verdict, Verdict::fail);
    EXPECT_EQ(failed.summary, failure_text);
    EXPECT_EQ(failed.reason, "");
}

TEST(Judge, TellsEachFailureWithItsVcpuWhereThereAreSeveral) {
    auto first = good_report();
    add_failure(first, "RAX", 0x10, 0x11);
    auto second = good_report();
    add_failure(second, "RBX", most, 0);
    second.failure[0].has_values = 0;
    EXPECT_THAT(judge(a_test(), {}, std::vector{first}).details,
                Contains("RAX: expected 0x10, saw 0x11 (tests/basic.cpp:42)"));
    const auto details = judge(a_test(), {}, std::vector{first, second}).details;
    EXPECT_THAT(details, Contains("vCPU 0: RAX: expected 0x10, saw 0x11 (tests/basic.cpp:42)"));
    EXPECT_THAT(details, Contains("vCPU 1: RBX (tests/basic.cpp:42)"));
}

TEST(Judge, SaysOnHowManyVcpusItBegan) {
    const std::vector reports{good_report(), Report{}, Report{}};
    EXPECT_THAT(judge(a_test(), ended_by(ErrorKind::deadline), reports).details,
                Contains("the test began on 1 of 3 vCPUs"));
    EXPECT_THAT(judge(a_test(), ended_by(ErrorKind::deadline), std::vector{good_report()}).details,
                Not(Contains(StartsWith("the test began on"))));
}

TEST(Judge, KeepsAsManyFailuresAsThereIsRoomFor) {
    auto report = good_report();
    for (std::size_t i = 0; i < nested::wire::most_failures; ++i)
        add_failure(report, "failure " + std::to_string(i), i, 0);
    auto details = judge(a_test(), {}, std::vector{report}).details;
    EXPECT_THAT(details, Contains(StartsWith("failure 7: ")));
    EXPECT_THAT(details, Not(Contains(HasSubstr("more"))));
    report.failures += 5;
    details = judge(a_test(), {}, std::vector{report}).details;
    EXPECT_THAT(details, Contains(StartsWith("failure 7: ")));
    EXPECT_THAT(details, Contains("and 5 more"));
}

// 2^64 of anything is what a guest says that has gone wild.
TEST(Judge, IsNotTalkedOutOfAFailureByAbsurdCounters) {
    auto one = good_report();
    add_failure(one, "RAX", 1, 2);
    auto wild = good_report(most);
    wild.failures = most;
    for (const auto& reports : {std::vector{one, wild}, std::vector{wild, one}, std::vector{wild}}) {
        const auto result = judge(a_test(), {}, reports);
        EXPECT_EQ(result.verdict, Verdict::fail);
        EXPECT_THAT(result.details, Contains(HasSubstr("and 18446744073709551607 more")));
        EXPECT_LT(result.details.size(), 100U);
    }
    const std::vector reports{good_report(most), good_report(1)};
    EXPECT_EQ(judge(a_test(), {}, reports).verdict, Verdict::pass);
    EXPECT_EQ(judge(a_test(), {}, reports).facts["checks"], most);
}

TEST(Judge, TakesAnyNumberForYes) {
    auto report = good_report(0);
    report.begun = most;
    report.ready = 0xff00'0000'0000'0000;
    const auto result = judge(a_test(Ending::shutdown), ended_by(ErrorKind::check_failed, KVM_EXIT_SHUTDOWN),
                              std::vector{report});
    EXPECT_EQ(result.verdict, Verdict::pass);
}

TEST(Judge, ShowsNoUnprintableByteAndReadsNoFurtherThanTheField) {
    auto report = good_report();
    add_failure(report, "", 1, 2);
    std::memset(&report.failure[0].text[0], 'a', sizeof report.failure[0].text); // no zero behind them
    std::memset(&report.failure[0].file[0], 'b', sizeof report.failure[0].file);
    report.failure[0].text[0] = '\x1b';
    report.failure[0].text[1] = '\n';
    report.failure[0].text[2] = '\xff';
    report.failure[0].text[3] = '\x7f';
    const auto result = judge(a_test(), {}, std::vector{report});
    EXPECT_EQ(result.summary, "????" + std::string(nested::wire::text_bytes - 4, 'a') +
                                  ": expected 0x1, saw 0x2 (" + std::string(64, 'b') + ":42)");

    Report silent = good_report();
    std::memset(&silent.not_applicable[0], '\x01', sizeof silent.not_applicable);
    EXPECT_EQ(judge(a_test(), {}, std::vector{silent}).reason, std::string(nested::wire::text_bytes, '?'));
}

TEST(Judge, StaysOneLineWithoutAText) {
    auto report = good_report();
    report.failures = 1;
    EXPECT_EQ(judge(a_test(), {}, std::vector{report}).summary, " (:0)");
}

class JudgeL2 : public testing::Test {
protected:
    static Report entered(std::uint64_t runs) {
        auto report = good_report();
        report.runs = runs;
        svm::Vmcb vmcb{};
        vmcb.control.asid = 1;
        vmcb.save.rip = 0x1000;
        std::memcpy(&report.written[0], &vmcb, sizeof vmcb);
        vmcb.control.exit_code = static_cast<std::uint64_t>(svm::ExitCode::cpuid);
        vmcb.save.rip = 0x1002;
        std::memcpy(&report.after[0], &vmcb, sizeof vmcb);
        report.l2.rbx = 0x2222;
        report.l1.rip = 0x1111;
        return report;
    }
};

TEST_F(JudgeL2, IsShownWhereATestFailed) {
    auto report = entered(7);
    add_failure(report, "RAX", 1, 2);
    report.frozen = 1;
    const auto result = judge(a_test(), {}, std::vector{report});
    EXPECT_THAT(result.details, Contains("vCPU 0: VMCB as L1 wrote it -> after exit 7"));
    EXPECT_THAT(result.details, Contains("  EXITCODE               0x0 -> 0x72  (CPUID)"));
    EXPECT_THAT(result.details, Contains("  GUEST_ASID             0x1"));
    EXPECT_THAT(result.details, Contains("vCPU 0: L2's registers after that exit"));
    EXPECT_THAT(result.details, Contains(HasSubstr("RBX 0000000000002222")));
    EXPECT_THAT(result.details, Contains("vCPU 0: L1's registers where that was seen"));
    EXPECT_THAT(result.details, Contains(HasSubstr("RIP 0000000000001111")));
    EXPECT_EQ(result.facts["vmcb"], nlohmann::json::parse(R"({"EXITCODE": ["0x0", "0x72"],
        "GUEST_ASID": ["0x1", "0x1"], "RIP": ["0x1000", "0x1002"]})"));
}

TEST_F(JudgeL2, IsNotShownWhereTheTestHeldOrNeverEnteredIt) {
    EXPECT_FALSE(judge(a_test(), {}, std::vector{entered(7)}).facts.contains("vmcb"));
    const auto failed = judge(a_test(), {}, std::vector{with_failure(entered(0))});
    EXPECT_FALSE(failed.facts.contains("vmcb"));
    EXPECT_THAT(failed.details, Each(Not(HasSubstr("VMCB"))));
}

TEST_F(JudgeL2, IsOfTheFirstVcpuThatFailed) {
    const std::vector reports{entered(1), with_failure(entered(2)), with_failure(entered(3))};
    const auto details = judge(a_test(), {}, reports).details;
    EXPECT_THAT(details, Contains("vCPU 1: VMCB as L1 wrote it -> after exit 2"));
    EXPECT_EQ(std::ranges::count_if(details, [](const auto& line) { return line.find("VMCB") != line.npos; }),
              1);
}

TEST_F(JudgeL2, IsOfTheFirstVcpuThatEnteredItWhereItHung) {
    auto inside = entered(5);
    inside.in_l2 = 1;
    const auto outcome = ended_by(ErrorKind::deadline);
    const auto details = judge(a_test(), outcome, std::vector{good_report(), inside, entered(9)}).details;
    EXPECT_THAT(details,
                Contains("vCPU 1: VMCB as L1 wrote it -> after the exit before (L2 has not come back)"));
    EXPECT_EQ(std::ranges::count_if(details, [](const auto& line) { return line.find("VMCB") != line.npos; }),
              1);
    EXPECT_THAT(details, Each(Not(HasSubstr("L1's registers")))) << "nothing was seen by L1";
    EXPECT_EQ(details.back(), "vCPU 0: at 0x1000");
}

// What was kept at the first failure is of an exit that is over, wherever L2 is by now.
TEST_F(JudgeL2, IsAsOfTheFailureWhereItWasFrozen) {
    auto report = with_failure(entered(5));
    report.in_l2 = 1;
    report.frozen = 1;
    EXPECT_THAT(judge(a_test(), ended_by(ErrorKind::deadline), std::vector{report}).details,
                Contains("vCPU 0: VMCB as L1 wrote it -> after exit 5"));
}

} // namespace
} // namespace nestbed::conform
