#include "report/comparison.hpp"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Document document(std::string name, RunResult run) {
    return {.name = std::move(name), .run = std::move(run), .figures = {}};
}

// One driver at one vCPU count, a repetition for each throughput; its latency is the inverse.
Document sweep_of(const std::vector<double>& throughputs, std::uint32_t vcpus = 4) {
    RunResult run;
    run.kind = "stress";
    run.sweep.emplace();
    for (std::uint32_t i = 0; i < throughputs.size(); ++i) {
        auto point = test::example_point("ipi.unicast", vcpus, i);
        point.seconds = 2;
        point.operations = 2 * throughputs[i];
        point.distributions[0].summary.median = 1e6 / throughputs[i];
        run.sweep->points.push_back(point);
    }
    return document("sweep.json", run);
}

Document check_of(Verdict verdict, const std::string& known = {}) {
    RunResult run;
    run.kind = "validate";
    CheckResult check;
    check.name = "ipi.broadcast";
    check.verdict = verdict;
    check.known = known;
    check.summary = "vCPU 3 got none";
    check.repeat = "nestbed validate --only ipi.broadcast";
    run.checks = {check};
    return document("run.json", run);
}

Document measured(Measurement measurement) {
    auto run = check_of(Verdict::pass);
    run.run.checks[0].measurements = {std::move(measurement)};
    return run;
}

Document bench_of(const std::vector<double>& ours, double ratio) {
    RunResult run;
    run.kind = "bench";
    auto result = document("bench.json", run);
    const BenchSummary summary{.count = ours.size(), .min = ours[0], .median = ours[1], .max = ours[2]};
    result.figures = {{.name = "exit/floor",
                       .what = "w",
                       .unit = "ticks",
                       .ours = summary,
                       .other = summary,
                       .ratio = BenchSummary{.count = 9, .min = ratio, .median = ratio, .max = ratio},
                       .at_most = false,
                       .target = 3,
                       .holds = true}};
    return result;
}

Change change_of(const Document& a, const Document& b, double threshold = 5) {
    const auto comparison = compare(a, b, threshold);
    EXPECT_TRUE(comparison) << comparison.error().message();
    return comparison->figures.at(0).change;
}

TEST(Comparison, TellsADifferenceFromNoise) {
    const std::vector<double> usual{100, 101, 99, 102};
    struct Case {
        const char* name;
        std::vector<double> b;
        Change change;
    };
    for (const auto& [name, b, change] :
         std::vector<Case>{{"the same", usual, Change::noise},
                           {"noise", {103, 100, 98, 100}, Change::noise},
                           {"one that is slow", {50, 100, 101, 99}, Change::noise},
                           {"slower", {79, 80, 81, 82}, Change::regression},
                           {"faster", {119, 120, 121, 122}, Change::improvement},
                           {"a little slower, for sure", {96, 97, 97.5, 98}, Change::difference},
                           {"slower, but by three only", {80, 81, 82}, Change::regression},
                           {"slower, but by two only", {80, 81}, Change::unknown}}) {
        const auto comparison = compare(sweep_of(usual), sweep_of(b), 5);
        ASSERT_TRUE(comparison) << name;
        // 3 against 4 is 1 of 35, which is more than 2.5 %.
        const auto expected = b.size() == 3 ? Change::unknown : change;
        for (const auto& figure : comparison->figures)
            EXPECT_EQ(figure.change, expected) << name << ", " << figure.name;
        EXPECT_EQ(comparison->figures.size(), 2U) << name;
        EXPECT_EQ(has_regression(*comparison), expected == Change::regression) << name;
    }
}

TEST(Comparison, HasAThresholdInPercent) {
    const auto a = sweep_of({100, 100.1, 100.2, 100.3}), b = sweep_of({90, 90.1, 90.2, 90.3});
    EXPECT_EQ(change_of(a, b, 5), Change::regression);
    EXPECT_EQ(change_of(a, b, 11), Change::regression); // the latency: 100 / 90 is 11.1 %
    EXPECT_EQ(change_of(a, b, 12), Change::difference);
    const auto halved = compare(a, sweep_of({50, 50.1, 50.2, 50.3}), 60);
    for (const auto& figure : halved->figures) // -50 % of one is +100 % of the other
        EXPECT_EQ(figure.change, figure.name == "throughput" ? Change::difference : Change::regression)
            << figure.name;
    EXPECT_EQ(change_of(b, a, 12), Change::difference);
    EXPECT_EQ(change_of(b, a, 11), Change::improvement);
}

TEST(Comparison, KnowsWhatIsBetter) {
    for (const auto* unit : {"s", "ms", "us", "ns", "cycles", "ticks", "bytes", "KiB"})
        EXPECT_EQ(better_of(unit), Better::less) << unit;
    for (const auto* unit : {"interrupts/s", "bytes/s", "/s"})
        EXPECT_EQ(better_of(unit), Better::more) << unit;
    for (const auto* unit : {"", "vCPUs", "%"})
        EXPECT_EQ(better_of(unit), Better::neither) << unit;
}

TEST(Comparison, LeavesOutPointsWhoseInvariantDidNotHold) {
    auto b = sweep_of({100, 101, 99, 102, 5000});
    b.run.sweep->points.back().verdict = Verdict::fail;
    b.run.sweep->points.back().summary = "1 lost";
    const auto comparison = compare(sweep_of({100, 101, 99, 102}), b, 5);
    EXPECT_EQ(comparison->figures.at(0).b_count, 4U);
    ASSERT_EQ(comparison->verdicts.size(), 1U);
    EXPECT_EQ(comparison->verdicts[0].change, Change::regression);
    EXPECT_EQ(comparison->verdicts[0].summary, "1 lost");
    EXPECT_TRUE(has_regression(*comparison));
}

TEST(Comparison, JudgesVerdicts) {
    struct Case {
        Document a, b;
        Change change;
    };
    const auto known = check_of(Verdict::fail, "KVM does not do this");
    for (const auto& [a, b, change] :
         std::vector<Case>{{check_of(Verdict::pass), check_of(Verdict::fail), Change::regression},
                           {check_of(Verdict::pass), check_of(Verdict::hang), Change::regression},
                           {check_of(Verdict::fail), check_of(Verdict::crash), Change::regression},
                           {check_of(Verdict::skipped), check_of(Verdict::fail), Change::regression},
                           {known, check_of(Verdict::fail), Change::regression},
                           {check_of(Verdict::fail), check_of(Verdict::pass), Change::improvement},
                           {check_of(Verdict::crash), check_of(Verdict::fail), Change::improvement},
                           {check_of(Verdict::fail), known, Change::improvement},
                           {check_of(Verdict::pass), check_of(Verdict::skipped), Change::difference},
                           {known, check_of(Verdict::pass), Change::difference}}) {
        const auto comparison = compare(a, b, 5);
        ASSERT_TRUE(comparison);
        ASSERT_EQ(comparison->verdicts.size(), 1U);
        EXPECT_EQ(comparison->verdicts[0].change, change)
            << to_string(comparison->verdicts[0].a) << " to " << to_string(comparison->verdicts[0].b);
        EXPECT_EQ(has_regression(*comparison), change == Change::regression);
    }
    const auto same = compare(check_of(Verdict::fail), check_of(Verdict::fail), 5);
    EXPECT_THAT(same->verdicts, IsEmpty());
    EXPECT_EQ(same->same_verdicts, 1U);
    EXPECT_FALSE(has_regression(*same));
}

TEST(Comparison, TakesSamplesOfMeasurementsOrTheirIntervals) {
    const std::vector<double> low{500, 1, 2, 3, 4, 5, 6}, high{1, 11, 12, 13, 14, 15, 16};
    for (const auto raw : {RawSamples::keep, RawSamples::drop}) {
        const auto a = measured(measure("latency", "us", low, 1, raw));
        const auto b = measured(measure("latency", "us", high, 1, raw));
        // Two runs of the same differ by more than the samples of either.
        EXPECT_EQ(change_of(a, b), Change::difference);
        EXPECT_EQ(change_of(b, a), Change::difference);
        EXPECT_EQ(change_of(a, a), Change::noise);
        EXPECT_FALSE(has_regression(*compare(a, b, 5)));
        EXPECT_THAT(format_comparison(*compare(a, b, 5)), HasSubstr("within one run each"));
    }
    // The interval of 5 samples says nothing.
    const auto few = measured(measure("latency", "us", std::vector{1.0, 2.0, 3.0, 4.0, 5.0}));
    EXPECT_EQ(change_of(few, measured(measure("latency", "us", high))), Change::unknown);
    // Neither more nor less is better.
    EXPECT_EQ(change_of(measured(measure("n", "", low, 1)), measured(measure("n", "", high, 1))),
              Change::difference);
}

TEST(Comparison, TakesTheExtremesOfTheBenchmark) {
    const auto usual = bench_of({10, 11, 12, 0, 0}, 4);
    const auto comparison = compare(usual, bench_of({13, 14, 15, 0, 0}, 3), 5);
    ASSERT_EQ(comparison->figures.size(), 2U);
    for (const auto& figure :
         comparison->figures) // ours is more, and the ratio, of which more is better, less
        EXPECT_EQ(figure.change, Change::regression) << figure.name;
    EXPECT_EQ(change_of(usual, bench_of({12, 14, 15, 0, 0}, 4)), Change::noise);
    EXPECT_EQ(change_of(bench_of({10, 11, 12}, 4), bench_of({13, 14, 15}, 4)), Change::noise); // the ratio
    EXPECT_EQ(compare(bench_of({10, 11, 12}, 4), bench_of({13, 14, 15}, 4), 5)->figures.at(1).change,
              Change::unknown);
}

TEST(Comparison, ListsWhatIsOnOneSideAlone) {
    auto a = sweep_of({100, 100, 100, 100}, 4), b = sweep_of({100, 100, 100, 100}, 4);
    const auto more = sweep_of({100}, 8);
    b.run.sweep->points.push_back(more.run.sweep->points[0]);
    const auto comparison = compare(a, b, 5);
    EXPECT_THAT(comparison->only_in_a, IsEmpty());
    EXPECT_THAT(comparison->only_in_b, ElementsAre("ipi.unicast, numa 2M svm:-vgif 2x1x2x1,    8 vCPUs"));
}

TEST(Comparison, SaysHowManyRepetitionsDidNotHold) {
    auto a = sweep_of({100, 101, 99, 102}), b = a;
    a.run.sweep->points[0].verdict = Verdict::hang;
    for (auto& point : b.run.sweep->points)
        point.verdict = Verdict::hang;
    const auto comparison = compare(a, b, 5);
    ASSERT_EQ(comparison->verdicts.size(), 1U);
    EXPECT_EQ(comparison->same_verdicts, 0U);
    EXPECT_EQ(comparison->verdicts[0].change, Change::difference);
    EXPECT_THAT(format_comparison(*comparison), HasSubstr("4 of 4 did not hold, before 1 of 4"));
    EXPECT_EQ(compare(a, a, 5)->same_verdicts, 1U);
}

TEST(Comparison, TakesWhatWasNotReachedBeforeTheEndForNothing) {
    auto b = sweep_of({100, 101, 99, 102});
    b.run.sweep->points.back().verdict = Verdict::not_run;
    EXPECT_TRUE(has_regression(*compare(sweep_of({100, 101, 99, 102}), b, 5))) << "the host lacks something";
    b.run.outcome = Outcome::cancelled;
    const auto comparison = compare(sweep_of({100, 101, 99, 102}), b, 5);
    EXPECT_FALSE(has_regression(*comparison));
    EXPECT_EQ(comparison->same_verdicts, 1U);
    auto check = check_of(Verdict::not_run);
    check.run.outcome = Outcome::cancelled;
    EXPECT_FALSE(compare(check_of(Verdict::pass), check, 5)) << "there is nothing in common";
}

TEST(Comparison, NamesFiguresThatAreGone) {
    auto b = sweep_of({100, 101, 99, 102});
    for (auto& point : b.run.sweep->points)
        point.distributions.clear();
    const auto comparison = compare(sweep_of({100, 101, 99, 102}), b, 5);
    EXPECT_THAT(comparison->only_in_a, ElementsAre(HasSubstr("4 vCPUs: latency (median)")));
    EXPECT_THAT(comparison->only_in_b, IsEmpty());
}

TEST(Comparison, RefusesWhatCannotBeCompared) {
    const auto other_kind = compare(sweep_of({1}), check_of(Verdict::pass), 5);
    ASSERT_FALSE(other_kind);
    EXPECT_EQ(other_kind.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(other_kind.error().found,
                HasSubstr("one is of nestbed stress, the other of nestbed validate"));
    const auto nothing = compare(sweep_of({1}, 4), sweep_of({1}, 8), 5);
    ASSERT_FALSE(nothing);
    EXPECT_THAT(nothing.error().found, HasSubstr("no check, driver or figure is in both"));
}

TEST(Comparison, SaysInWhatTheHostsAreNotAlike) {
    auto a = check_of(Verdict::pass), b = check_of(Verdict::pass);
    a.run.host = test::full_result().host;
    b.run.host = a.run.host;
    EXPECT_THAT(compare(a, b, 5)->caveats, IsEmpty());
    b.run.host->kernel = "6.8.0";
    b.run.host->module_parameters["kvm.halt_poll_ns"] = "0";
    EXPECT_THAT(compare(a, b, 5)->caveats,
                ElementsAre("kernel: 6.1.0-18-amd64 and 6.8.0", "kvm.halt_poll_ns: 200000 and 0"));
    b.run.host.reset();
    EXPECT_THAT(compare(a, b, 5)->caveats, testing::Contains("kernel: 6.1.0-18-amd64 and not known"));
}

TEST(ComparisonText, HasRegressionsFirst) {
    auto a = sweep_of({100, 101, 99, 102}), b = sweep_of({79, 80, 81, 82});
    const auto faster = sweep_of({119, 120, 121, 122}, 8);
    const auto usual = sweep_of({100, 101, 99, 102}, 8);
    for (const auto& point : usual.run.sweep->points)
        a.run.sweep->points.push_back(point);
    for (const auto& point : faster.run.sweep->points)
        b.run.sweep->points.push_back(point);
    const auto text = format_comparison(*compare(a, b, 5));
    EXPECT_THAT(
        text,
        HasSubstr("    4 vCPUs: throughput 100.5 -> 80.5 interrupts/s, -19.9 % (95 %: -22.5 % to -17.2 %)"));
    const auto worse = text.find("\nWorse ("), better = text.find("\nBetter (");
    ASSERT_NE(worse, std::string::npos);
    ASSERT_NE(better, std::string::npos);
    EXPECT_LT(worse, better);
    EXPECT_THAT(text,
                HasSubstr("2 regressions, 2 improvements; 4 figures compared, 0 of them within the noise"));
}

TEST(ComparisonText, HasTheCommandThatRepeatsAFailureAndNoByteThatActs) {
    auto b = check_of(Verdict::fail);
    b.run.checks[0].summary = "\x1b[2J";
    b.name = "a\nb";
    const auto text = format_comparison(*compare(check_of(Verdict::pass), b, 5));
    EXPECT_THAT(text,
                HasSubstr("ipi.broadcast: pass -> fail, ?[2J\n    nestbed validate --only ipi.broadcast\n"));
    EXPECT_THAT(text, HasSubstr("run.json -> a?b\n"));
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(ComparisonAsJson, HasEveryFigure) {
    auto json = to_json(*compare(sweep_of({100, 101, 99, 102}), sweep_of({79, 80, 81, 82}), 5));
    EXPECT_TRUE(json["regression"].get<bool>());
    EXPECT_EQ(json["figures"].size(), 2U);
    EXPECT_EQ(json["figures"][0]["change"], "regression");
    EXPECT_EQ(json["figures"][0]["a_count"], 4);
    EXPECT_EQ(json["same_verdicts"], 1);
    EXPECT_TRUE(to_json(*compare(sweep_of({1}), sweep_of({1}), 5))["figures"][0]["ratio_ci95"].is_null());
}

} // namespace
} // namespace nestbed::report
