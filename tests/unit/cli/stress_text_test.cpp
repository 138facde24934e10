#include "cli/stress_text.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::cli {
namespace {

using report::Verdict;
using testing::HasSubstr;
using testing::Not;

TEST(RateText, HasThreeDigits) {
    EXPECT_EQ(rate_text(0.5), "0.5");
    EXPECT_EQ(rate_text(7.25), "7.25");
    EXPECT_EQ(rate_text(999), "999");
    EXPECT_EQ(rate_text(1000), "1 k");
    EXPECT_EQ(rate_text(850'000), "850 k");
    EXPECT_EQ(rate_text(12.34e6), "12.3 M");
    EXPECT_EQ(rate_text(3e9), "3 G");
}

report::SweepPoint point() {
    report::SweepPoint p;
    p.driver = "ipi.unicast";
    p.configuration = {"numa", "4K", "auto", ""};
    p.vcpus = 288;
    p.verdict = Verdict::pass;
    p.summary = "10 sent, 10 received, 0 wrong";
    p.unit = "interrupts";
    p.operations = 24'000;
    p.seconds = 2;
    p.repeat = "nestbed stress run ipi.unicast";
    return p;
}

TEST(PointLines, SayWhatHeldInOneLine) {
    EXPECT_EQ(point_lines(point(), false),
              "pass    ipi.unicast       288 vCPUs  numa  12 k interrupts/s  10 sent, "
              "10 received, 0 wrong\n");
}

TEST(PointLines, TellAllOfWhatDidNot) {
    auto bad = point();
    bad.verdict = Verdict::hang;
    bad.details = {"logged"};
    bad.stuck = {{7, {"vCPU 7: halted", "  kernel: kvm_vcpu_block"}}};
    const auto text = point_lines(bad, false);
    for (const auto* const part :
         {"hang", "logged", "vCPU 7: halted", "kvm_vcpu_block", "repeat: nestbed stress run"})
        EXPECT_THAT(text, HasSubstr(part));
}

TEST(PointLines, GiveTheReasonOfWhatWasNotRun) {
    auto skipped = point();
    skipped.verdict = Verdict::skipped;
    skipped.reason = "no SVM";
    EXPECT_THAT(point_lines(skipped, false), HasSubstr("no SVM"));
    EXPECT_THAT(point_lines(skipped, false), Not(HasSubstr("repeat")));
    skipped.configuration = {"scatter", "2M", "off", "2x2"};
    EXPECT_THAT(point_lines(skipped, false), HasSubstr("scatter 2M off 2x2"));
}

TEST(FitLines, LeaveOutWhatHasNoFit) {
    report::UslFit none;
    none.why_not = "fewer than 3 vCPU counts";
    EXPECT_EQ(fit_lines(std::vector{none}), "");
    report::UslFit fit;
    fit.driver = "exits";
    fit.configuration = {"numa", "4K", "auto", ""};
    fit.lambda.value = 125'000;
    fit.sigma.value = 0.05;
    fit.kappa.value = 0.0001;
    fit.knee = report::UslCoefficient{97, {80, 120}};
    EXPECT_THAT(fit_lines(std::vector{none, fit}),
                HasSubstr("exits, numa: 125 k a second by one vCPU, contention 0.05, coherency 0.0001, most "
                          "at 97 vCPUs (80 "
                          "to 120)"));
    fit.knee.reset();
    fit.kappa.ci95.high = 0.0001;
    EXPECT_THAT(fit_lines(std::vector{fit}), HasSubstr("no knee seen (one from"));
    fit.kappa.ci95.high = 0;
    EXPECT_THAT(fit_lines(std::vector{fit}), HasSubstr("no knee"));
}

TEST(SweepConclusion, Counts) {
    report::RunResult run;
    run.outcome = report::Outcome::failed;
    run.sweep.emplace();
    for (const auto verdict : {Verdict::pass, Verdict::pass, Verdict::hang, Verdict::skipped}) {
        run.sweep->points.push_back(point());
        run.sweep->points.back().verdict = verdict;
    }
    EXPECT_THAT(sweep_conclusion(run, "r/run.json"),
                HasSubstr("failed: 2 passed, 0 failed, 1 hung, 0 crashed, 1 skipped, 0 not run"));
    EXPECT_THAT(sweep_conclusion(run, "r/run.json"), HasSubstr("r/run.json"));
}

} // namespace
} // namespace nestbed::cli
