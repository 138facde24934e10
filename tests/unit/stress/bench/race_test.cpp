#include "stress/bench/race.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::bench {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

struct Raced {
    Status status;
    std::vector<Figure> figures;
    std::vector<std::string> progress;
    std::vector<double> fractions;
};
Raced race(const RaceRequest& request) {
    Raced raced;
    raced.status = run_race(
        request,
        [&](const std::string& what, double fraction) {
            raced.progress.push_back(what);
            raced.fractions.push_back(fraction);
        },
        [&](const Figure& figure) { raced.figures.push_back(figure); });
    return raced;
}

constexpr auto* at_once = "echo first; echo second; sleep 60";
constexpr auto* later = "echo first; sleep 0.5; echo a second line; sleep 60";

TEST(Race, ComparesTheFirstCommandWithEachOtherLineByLine) {
    const auto raced = race(
        {.commands = {at_once, later, at_once}, .lines = {"^fi", "second"}, .rounds = 2, .timeout = 60s});
    ASSERT_TRUE(raced.status) << raced.status.error().message();
    std::vector<std::string> names;
    for (const auto& figure : raced.figures)
        names.push_back(figure.name);
    EXPECT_THAT(names, ElementsAre("race/line-1:command-2", "race/line-1:command-3", "race/line-2:command-2",
                                   "race/line-2:command-3"));
    const auto& second = raced.figures[2];
    EXPECT_EQ(second.unit, "s");
    EXPECT_EQ(second.what, "echo to echo, from the start to a line with \"second\"");
    EXPECT_EQ(second.ratio->count, 2U);
    EXPECT_GT(second.other->min, 0.5);
    EXPECT_THAT(raced.progress, ElementsAre("race 1 of 2: echo", "race 1 of 2: echo", "race 1 of 2: echo",
                                            "race 2 of 2: echo", "race 2 of 2: echo", "race 2 of 2: echo"));
    EXPECT_THAT(raced.fractions, ElementsAre(0, 1 / 6.0, 2 / 6.0, 3 / 6.0, 4 / 6.0, 5 / 6.0));
}

TEST(Race, OneLineMayBeTwoOfThem) {
    const auto raced =
        race({.commands = {"echo a b", "echo a b"}, .lines = {"a", "b"}, .rounds = 1, .timeout = 60s});
    ASSERT_TRUE(raced.status) << raced.status.error().message();
    EXPECT_EQ(raced.figures.size(), 2U);
}

TEST(Race, WhoIsLateCountsAsTheDeadlineAndIsNamed) {
    const auto raced = race(
        {.commands = {"echo a", "/bin/sleep 60; echo a"}, .lines = {"a"}, .rounds = 1, .timeout = 300ms});
    ASSERT_TRUE(raced.status) << raced.status.error().message();
    ASSERT_EQ(raced.figures.size(), 1U);
    EXPECT_DOUBLE_EQ(raced.figures[0].other->median, 0.3);
    EXPECT_THAT(raced.figures[0].what,
                EndsWith("; 1 of 1 starts of sleep had none within 0.3 s and count as that"));
}

TEST(Race, WhoEndsWithoutTheLineEndsItAndTheRoundsBeforeStay) {
    auto folder = (std::filesystem::temp_directory_path() / "nestbed-race-XXXXXX").string();
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    const auto once = "mkdir " + folder + "/once && echo a"; // and not a second time
    const auto raced = race({.commands = {"echo a", once}, .lines = {"a"}, .rounds = 3, .timeout = 60s});
    std::filesystem::remove_all(folder);
    ASSERT_FALSE(raced.status);
    EXPECT_EQ(raced.status.error().kind, ErrorKind::check_failed);
    EXPECT_THAT(raced.status.error().found, HasSubstr("it ended without a line with \"a\": exit code 1"));
    ASSERT_EQ(raced.figures.size(), 1U);
    EXPECT_EQ(raced.figures[0].ratio->count, 1U);
}

TEST(Race, RefusesWhatCannotBeRaced) {
    for (const auto& request :
         {RaceRequest{.commands = {}, .lines = {"a"}}, RaceRequest{.commands = {"echo a"}, .lines = {"a"}},
          RaceRequest{.commands = {"echo a", "echo a"}, .lines = {}},
          RaceRequest{.commands = {"echo a", "echo a"}, .lines = {"("}}}) {
        const auto raced = race(request);
        ASSERT_FALSE(raced.status);
        EXPECT_EQ(raced.status.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(raced.progress, testing::IsEmpty());
    }
}

} // namespace
} // namespace nestbed::bench
