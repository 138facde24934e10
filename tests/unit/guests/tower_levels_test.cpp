#include "guests/tower_levels.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "cli/tower_text.hpp"

namespace nestbed::guests {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names_of(const std::vector<report::CheckResult>& checks) {
    std::vector<std::string> names;
    for (const auto& check : checks)
        names.push_back(check.name);
    return names;
}

json check(const char* name, const char* verdict = "pass") {
    return {{"name", name}, {"verdict", verdict}, {"repeat", "nestbed validate --only x"}};
}

TEST(ChecksOf, AreNamedForTheLevelThatTheyAreAbout) {
    struct Case {
        const char* kind;
        unsigned ran_at;
        const char* name;
        const char* becomes;
    };
    for (const auto& [kind, ran_at, name, becomes] : {
             Case{"boot", 0, "boot.ending", "level1.boot.ending"},
             Case{"validate", 1, "ipi.unicast", "level2.ipi.unicast"},
             Case{"tower", 1, "level0.nested", "level1.nested"},
             Case{"tower", 1, "level2.ipi.unicast", "level3.ipi.unicast"},
             // Only a tower names levels.
             Case{"validate", 1, "level0.nested", "level2.level0.nested"},
             Case{"tower", 1, "no.level", "level2.no.level"},
             Case{"tower", 1, "level.x", "level2.level.x"},
             Case{"tower", 1, "level1.", "level2.level1."},
             Case{"tower", 1, "levelx.y", "level2.levelx.y"},
         }) {
        const auto checks = checks_of({{"kind", kind}, {"checks", {check(name)}}}, ran_at);
        ASSERT_TRUE(checks) << checks.error().message();
        EXPECT_THAT(names_of(*checks), ElementsAre(becomes)) << kind;
    }
}

TEST(ChecksOf, AreFitForATerminalAndNotToBeRepeatedThere) {
    auto hostile = check("a\x1b[2J");
    hostile["summary"] = "b\x1b[2J";
    hostile["details"] = {"c\x1b[2J"};
    const auto checks = checks_of({{"kind", "validate"}, {"checks", {hostile}}}, 1);
    ASSERT_TRUE(checks);
    EXPECT_EQ(checks->at(0).name, "level2.a?[2J");
    EXPECT_EQ(checks->at(0).summary, "b?[2J");
    EXPECT_THAT(checks->at(0).details, ElementsAre("c?[2J"));
    EXPECT_EQ(checks->at(0).repeat, "");
}

TEST(ChecksOf, WhatIsNoDocumentIsRefused) {
    for (const auto& document : {json(nullptr), json::array(), json::object(), json{{"checks", 3}},
                                 json{{"checks", {3}}}, json{{"checks", {{{"name", "x"}}}}}})
        EXPECT_FALSE(checks_of(document, 1)) << document;
}

TEST(JudgeCommand, BelievesAPassOnlyWhereCodeAndDocumentAgree) {
    struct Case {
        int exit_code;
        json document;
        bool good;
    };
    for (const auto& [exit_code, document, good] : {
             Case{0, {{"outcome", "passed"}}, true},
             Case{1, {{"outcome", "passed"}}, false},
             Case{0, {{"outcome", "failed"}}, false},
             Case{0, {{"outcome", 0}}, false},
             Case{0, json::object(), false},
             Case{0, nullptr, false},
         }) {
        const auto judged = judge_command("validate", 1, exit_code, document);
        EXPECT_EQ(judged.name, "level1.command");
        EXPECT_EQ(judged.verdict == report::Verdict::pass, good) << exit_code << document;
        EXPECT_EQ(judged.details.empty(), good);
    }
}

TEST(JudgeCommand, TellsWhatEndedIt) {
    const json document{{"outcome", "host_lacks"},
                        {"error", {{"asked", "open /dev/kvm"}, {"found", "none"}}}};
    EXPECT_THAT(judge_command("validate", 1, 3, document).details,
                testing::Contains(HasSubstr("open /dev/kvm: none")));
}

TEST(VerdictsByLevel, CountWhatIsKnownAsHeld) {
    const auto made = [](const char* name, report::Verdict verdict, const char* known = "") {
        report::CheckResult result;
        result.name = name;
        result.verdict = verdict;
        result.known = known;
        return result;
    };
    using report::Verdict;
    EXPECT_THAT(verdicts_by_level({made("level2.a", Verdict::pass), made("level0.a", Verdict::pass),
                                   made("level2.b", Verdict::fail), made("level2.c", Verdict::skipped),
                                   made("level2.d", Verdict::hang), made("level2.e", Verdict::fail, "known"),
                                   made("stray", Verdict::fail)}),
                ElementsAre(LevelVerdict{.level = 0, .held = 1, .failed = 0, .not_judged = 0},
                            LevelVerdict{.level = 2, .held = 2, .failed = 2, .not_judged = 1}));
}

TEST(LevelMemory, GrowsWithWhatStandsOnALevel) {
    EXPECT_EQ(level_memory(1, 2, 1), GiB + 8 * MiB);
    EXPECT_EQ(level_memory(2, 3, 1), level_memory(1, 2, 1));
    EXPECT_GE(level_memory(1, 3, 1), level_memory(2, 3, 1) + GiB);
    EXPECT_EQ(level_memory(1, 2, 255) % MiB, 0U);
}

TEST(CommandAtLevel1, IsThePayloadOrOneTowerLess) {
    EXPECT_THAT(command_at_level_1(2, 3, 900, "/r"),
                ElementsAre("validate", "--where", "host", "--vcpus", "3", "--timeout", "300", "-o", "/r"));
    EXPECT_THAT(command_at_level_1(2, 3, 1, "/r"), testing::Contains("1")) << "a time, not none at all";
    EXPECT_THAT(command_at_level_1(3, 3, 1000, "/r"),
                ElementsAre("tower", "--levels", "2", "--vcpus", "3", "--timeout", "900", "-o", "/r"));
}

TEST(TowerText, HasALineForEachLevelAndWhatFailedBelowIt) {
    report::RunResult run;
    run.outcome = report::Outcome::failed;
    for (const auto& [name, verdict] : {std::pair{"level0.nested", report::Verdict::pass},
                                        {"level1.linux", report::Verdict::pass},
                                        {"level2.ipi.unicast", report::Verdict::fail}}) {
        report::CheckResult result;
        result.name = name;
        result.verdict = verdict;
        result.summary = std::string{"summary of "} + name;
        run.checks.push_back(result);
    }
    const auto text = cli::tower_text(run, 2, "/r/run.json", false);
    EXPECT_THAT(text, HasSubstr("level 0  this host                1 checks held, 0 failed, 0 not judged: "
                                "summary of level0.nested\n"));
    EXPECT_THAT(text, HasSubstr("level 1  Linux with nestbed in it 1 checks held"));
    EXPECT_THAT(text, HasSubstr("level 2  nestbed's payload        0 checks held, 1 failed"));
    EXPECT_THAT(text, HasSubstr("FAIL  level2.ipi.unicast"));
    EXPECT_THAT(text, testing::Not(HasSubstr("repeat:")));
    run.checks.back().verdict = report::Verdict::hang;
    EXPECT_THAT(cli::tower_text(run, 2, "", false), HasSubstr("FAIL  level2.ipi.unicast"));
    EXPECT_THAT(text, HasSubstr("/r/run.json"));
    EXPECT_THAT(cli::tower_text(run, 3, "", false), HasSubstr("level 2  Linux with nestbed in it"));
}

} // namespace
} // namespace nestbed::guests
