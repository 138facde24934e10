#include "stress/bench/child_process.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace nestbed::bench {
namespace {

using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr auto patience = 60s;

Result<ChildRun> shell(const std::string& script, std::chrono::milliseconds deadline = patience) {
    return run_child({"/bin/sh", "-c", script}, deadline);
}

TEST(RunChild, TellsTheFirstLineAndTheTimes) {
    const auto run = shell("echo one; echo two; sleep 0.2");
    ASSERT_TRUE(run) << run.error().message();
    EXPECT_EQ(run->line, "one");
    EXPECT_EQ(run->exit_code, 0);
    EXPECT_GT(run->seconds_to_line, 0);
    EXPECT_GT(run->seconds_to_end, run->seconds_to_line);
}

TEST(RunChild, JoinsALineThatComesInPieces) {
    const auto run = shell("printf on; sleep 0.1; printf 'e\\ntwo\\n'");
    ASSERT_TRUE(run);
    EXPECT_EQ(run->line, "one");
}

TEST(RunChild, TellsHowItEndedAndWhatItSaidLast) {
    const auto run = shell("echo out; sleep 0.1; echo err >&2; exit 3");
    ASSERT_TRUE(run);
    EXPECT_EQ(run->exit_code, 3);
    EXPECT_EQ(run->last_output, "out\nerr\n");
    EXPECT_THAT(ending_text(*run), StartsWith("exit code 3 after 0."));
    EXPECT_THAT(ending_text(*run), EndsWith("; it said: out | err"));
}

TEST(RunChild, TellsASignalByItsName) {
    const auto run = shell("kill -KILL $$");
    ASSERT_TRUE(run);
    EXPECT_EQ(run->exit_code, 128 + SIGKILL);
    EXPECT_THAT(ending_text(*run), StartsWith("exit code 137 (SIGKILL) after "));
    EXPECT_THAT(ending_text(*run), EndsWith("; it printed nothing"));
}

TEST(RunChild, KeepsTheEndOfMuchOutputAndBlocksNobody) {
    const auto run =
        shell("i=0; while [ $i -lt 20000 ]; do echo line $i; echo error $i >&2; i=$((i+1)); done");
    ASSERT_TRUE(run) << run.error().message();
    EXPECT_EQ(run->line, "line 0");
    EXPECT_LE(run->last_output.size(), 4096U);
    EXPECT_THAT(run->last_output, HasSubstr("error 19999\n"));
}

TEST(RunChild, KeepsTheStartOfALineWithoutEnd) {
    const auto run = shell("head -c 100000 /dev/zero");
    ASSERT_TRUE(run);
    EXPECT_EQ(run->line, std::string(4096, '\0'));
    EXPECT_EQ(run->seconds_to_line, 0);
}

TEST(RunChild, ShowsEachLineAndEndsAtTheLastThatIsWanted) {
    std::vector<std::string> lines;
    std::vector<double> at;
    const auto run =
        run_child({"/bin/sh", "-c",
                   "printf 'one\\r\\ntw'; sleep 0.1; printf 'o\\n\\n'; head -c 5000 /dev/zero | tr '\\0' x; "
                   "echo; echo last; sleep 60; echo never"},
                  patience, [&](std::string_view line, double seconds) {
                      lines.emplace_back(line);
                      at.push_back(seconds);
                      return line != "last";
                  });
    ASSERT_TRUE(run) << run.error().message();
    EXPECT_THAT(lines, testing::ElementsAre("one", "two", "", std::string(4096, 'x'), "last"));
    EXPECT_TRUE(std::ranges::is_sorted(at));
    EXPECT_GT(at[1], at[0] + 0.05);
    EXPECT_EQ(run->seconds_to_line, at[0]);
    EXPECT_EQ(run->exit_code, 128 + SIGKILL);
}

TEST(RunChild, DoesNotWaitForWhatTheChildLeavesRunning) {
    const auto run = shell("sleep 30 & echo started $!");
    ASSERT_TRUE(run) << run.error().message();
    EXPECT_LT(run->seconds_to_end, 20);
    ASSERT_THAT(run->line, StartsWith("started "));
    EXPECT_EQ(::kill(std::atoi(run->line.c_str() + 8), SIGKILL), 0)
        << "it is still there, being none of ours";
}

TEST(RunChild, EndsAChildAndItsGroupAtTheDeadline) {
    const auto run = shell("echo before; (sleep 30; echo never) & echo error >&2; wait", 300ms);
    ASSERT_FALSE(run);
    EXPECT_EQ(run.error().kind, ErrorKind::deadline);
    EXPECT_THAT(run.error().found, HasSubstr("no end within 0.3 s; it said: "));
    EXPECT_THAT(run.error().found, HasSubstr("before"));
    EXPECT_THAT(run.error().remedy, HasSubstr("--timeout"));
}

TEST(RunChild, EndsOneThatPrintsForeverAtTheDeadline) {
    const auto run = run_child({"yes"}, 300ms);
    ASSERT_FALSE(run);
    EXPECT_EQ(run.error().kind, ErrorKind::deadline);
}

TEST(RunChild, NamesAProgramThatCannotBeStarted) {
    const auto run = run_child({"/nonexistent/program"}, patience);
    ASSERT_FALSE(run);
    EXPECT_EQ(run.error().kind, ErrorKind::host_lacks);
    EXPECT_EQ(run.error().asked, "start /nonexistent/program");
    EXPECT_THAT(run.error().found, HasSubstr("ENOENT"));
}

TEST(RunChild, PassesACancellationOn) {
    // The signal is pending by the time that it is looked for; it stays blocked until then.
    sigset_t interrupts;
    sigset_t before;
    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &interrupts, &before);
    ::raise(SIGINT);
    const auto run = shell("sleep 30");
    const timespec at_once{};
    EXPECT_EQ(::sigtimedwait(&interrupts, nullptr, &at_once), -1) << "it was taken, and ends nobody else";
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ASSERT_FALSE(run);
    EXPECT_EQ(run.error().kind, ErrorKind::cancelled);
}

} // namespace
} // namespace nestbed::bench
