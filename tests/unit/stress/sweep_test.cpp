#include "stress/sweep/sweep.hpp"

#include <optional>

#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

using namespace std::chrono_literals;
using report::Outcome;
using report::Verdict;

report::Sweep sweep_of(std::initializer_list<Verdict> verdicts) {
    report::Sweep sweep;
    for (const auto verdict : verdicts) {
        sweep.points.emplace_back();
        sweep.points.back().verdict = verdict;
    }
    return sweep;
}

TEST(SweepOutcome, IsThatOfTheWorstThatHappened) {
    const Error lacks{ErrorKind::host_lacks, "", "", ""};
    const Error cancelled{ErrorKind::cancelled, "", "", ""};
    EXPECT_EQ(outcome_of(sweep_of({Verdict::pass, Verdict::skipped}), {}), Outcome::passed);
    EXPECT_EQ(outcome_of(sweep_of({Verdict::pass, Verdict::fail}), {}), Outcome::failed);
    EXPECT_EQ(outcome_of(sweep_of({Verdict::hang}), lacks), Outcome::failed);
    EXPECT_EQ(outcome_of(sweep_of({Verdict::crash}), {}), Outcome::failed);
    EXPECT_EQ(outcome_of(sweep_of({Verdict::pass, Verdict::not_run}), lacks), Outcome::host_lacks);
    EXPECT_EQ(outcome_of(sweep_of({Verdict::fail, Verdict::not_run}), cancelled), Outcome::cancelled);
    EXPECT_EQ(outcome_of(sweep_of({}), Error{ErrorKind::bad_input, "", "", ""}), Outcome::bad_input);
}

TEST(RepeatCommand, NamesWhatIsUnusual) {
    report::SweepPoint point;
    point.driver = "ipi.unicast";
    point.configuration = {"numa", "4K", "auto", ""};
    point.vcpus = 288;
    point.seed = 9;
    EXPECT_EQ(repeat_command(point, 2s), "nestbed stress run ipi.unicast --vcpus 288 --seed 9 --duration 2");
    point.configuration = {"traffic:my ipis.csv", "2M", "svm:-npt,-vgif", "2x72x2"};
    EXPECT_EQ(
        repeat_command(point, 50ms),
        "nestbed stress run ipi.unicast --vcpus 288 --seed 9 --duration 0.05 --policy 'traffic:my ipis.csv' "
        "--pages 2M --nested svm:-npt,-vgif --topology 2x72x2");
}

} // namespace
} // namespace nestbed::stress
