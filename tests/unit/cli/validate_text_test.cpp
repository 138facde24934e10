#include "cli/validate_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"

namespace nestbed::cli {
namespace {

using report::Verdict;

report::CheckResult check(Verdict verdict) {
    report::CheckResult result;
    result.name = "ipi.unicast";
    result.verdict = verdict;
    result.seconds = 0.04;
    result.summary = "6 sent, 6 received";
    result.details = {"vCPU 3: none", "and 2 more"};
    result.repeat = "nestbed validate --only ipi.unicast";
    return result;
}

TEST(VerdictLine, TellsOfAFailureWhatRepeatsIt) {
    EXPECT_EQ(verdict_line(check(Verdict::pass), false), "pass  ipi.unicast           6 sent, 6 received\n");
    EXPECT_EQ(verdict_line(check(Verdict::fail), false),
              "FAIL  ipi.unicast           6 sent, 6 received\n"
              "        vCPU 3: none\n"
              "        and 2 more\n"
              "        repeat: nestbed validate --only ipi.unicast\n");
}

TEST(VerdictLine, GivesTheReasonOfWhatWasNotJudged) {
    auto skipped = check(Verdict::skipped);
    skipped.reason = "no such timer";
    EXPECT_EQ(verdict_line(skipped, true), "skip  ipi.unicast           no such timer\n");
    auto not_run = check(Verdict::not_run);
    not_run.reason = "stopped";
    EXPECT_EQ(verdict_line(not_run, true), "----  ipi.unicast           stopped\n");
}

TEST(VerdictLine, HasTheTimeWhereItIsWorthTelling) {
    auto slow = check(Verdict::pass);
    slow.seconds = 0.13;
    EXPECT_THAT(verdict_line(slow, false), testing::EndsWith("received  (0.1 s)\n"));
}

TEST(VerdictLine, IsColouredOnRequest) {
    EXPECT_THAT(verdict_line(check(Verdict::pass), true), testing::StartsWith("\x1b[32mpass\x1b[0m  "));
    EXPECT_THAT(verdict_line(check(Verdict::fail), true), testing::StartsWith("\x1b[31mFAIL\x1b[0m  "));
}

report::RunResult run() {
    report::RunResult result;
    result.outcome = report::Outcome::failed;
    result.duration_s = 12.34;
    result.checks = {check(Verdict::pass), check(Verdict::pass), check(Verdict::fail),
                     check(Verdict::skipped), check(Verdict::not_run)};
    result.host.emplace();
    result.host->kernel = "6.12.0";
    result.plan.emplace();
    result.plan->policy = topology::Policy::scatter;
    result.plan->shape = {.sockets = 1, .dies = 1, .cores = 2, .threads = 1};
    result.plan->vcpus.resize(2);
    result.plan->nodes.push_back(
        {.virtual_node = 0, .host_node = {}, .memory_bytes = 64 * MiB, .reason = {}});
    return result;
}

TEST(Conclusion, CountsEachKind) {
    EXPECT_EQ(conclusion(run(), "results/run.json"),
              "\nfailed: 2 checks held, 1 failed, 2 not judged, in 12.3 s; details in results/run.json\n");
}

TEST(Headline, NamesHostAndPlan) {
    EXPECT_EQ(headline(run()), "host: unknown CPU, Linux 6.12.0, KVM\n"
                               "plan: 2 vCPUs shown as 1x1x2x1 (sockets x dies x cores x threads), policy "
                               "scatter, 64 MiB on 1 node\n\n");
    auto crowded = run();
    crowded.plan->max_vcpus_per_pu = 3;
    crowded.plan->nodes.push_back(crowded.plan->nodes[0]);
    crowded.host->cpu_model = "AMD EPYC";
    crowded.host->kvm_module = "kvm_amd";
    EXPECT_EQ(headline(crowded), "host: AMD EPYC, Linux 6.12.0, kvm_amd\n"
                                 "plan: 2 vCPUs shown as 1x1x2x1 (sockets x dies x cores x threads), policy "
                                 "scatter, 128 MiB on 2 nodes, up to 3 vCPUs a PU\n\n");
}

} // namespace
} // namespace nestbed::cli
