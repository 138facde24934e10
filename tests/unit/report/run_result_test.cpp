#include "report/run_result.hpp"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::report {
namespace {

TEST(Outcomes, HaveTheExitCodesOfTheirErrors) {
    struct Case {
        ErrorKind kind;
        Outcome outcome;
        int code;
    };
    const std::vector<Case> cases{
        {ErrorKind::check_failed, Outcome::failed, 1},   {ErrorKind::bad_input, Outcome::bad_input, 2},
        {ErrorKind::host_lacks, Outcome::host_lacks, 3}, {ErrorKind::cancelled, Outcome::cancelled, 130},
        {ErrorKind::deadline, Outcome::deadline, 1},
    };
    for (const auto& [kind, outcome, code] : cases) {
        EXPECT_EQ(outcome_of(kind), outcome) << nestbed::to_string(kind);
        EXPECT_EQ(exit_code(outcome), code) << to_string(outcome);
    }
    EXPECT_EQ(exit_code(Outcome::passed), 0);
}

TEST(Outcomes, OfChecksFailWhereOneFailedOrDidNotRun) {
    struct Case {
        std::vector<Verdict> verdicts;
        Outcome expected;
    };
    const std::vector<Case> cases{
        {{}, Outcome::passed},
        {{Verdict::pass, Verdict::pass}, Outcome::passed},
        {{Verdict::pass, Verdict::skipped}, Outcome::passed},
        {{Verdict::pass, Verdict::fail, Verdict::pass}, Outcome::failed},
        {{Verdict::pass, Verdict::not_run}, Outcome::failed},
    };
    for (const auto& [verdicts, expected] : cases) {
        std::vector<CheckResult> checks;
        for (const auto verdict : verdicts)
            checks.emplace_back().verdict = verdict;
        EXPECT_EQ(outcome_of(checks), expected);
    }
}

TEST(Names, AreDistinct) {
    std::set<std::string_view> names;
    for (const auto outcome : {Outcome::passed, Outcome::failed, Outcome::bad_input, Outcome::host_lacks,
                               Outcome::cancelled, Outcome::deadline})
        names.insert(to_string(outcome));
    for (const auto verdict : {Verdict::pass, Verdict::fail, Verdict::skipped, Verdict::not_run})
        names.insert(to_string(verdict));
    EXPECT_EQ(names.size(), 10U);
    EXPECT_FALSE(names.contains("unknown"));
}

TEST(Measure, KeepsTheSamplesOnRequest) {
    const std::vector<double> samples{100, 1, 3};
    const auto dropped = measure("latency", "us", samples, 1);
    EXPECT_EQ(dropped.name, "latency");
    EXPECT_EQ(dropped.summary.unit, "us");
    EXPECT_EQ(dropped.summary.max, 3);
    EXPECT_EQ(dropped.summary.warmup, 1U);
    EXPECT_TRUE(dropped.samples.empty());
    EXPECT_EQ(measure("latency", "us", samples, 1, RawSamples::keep).samples, samples);
}

} // namespace
} // namespace nestbed::report
