#include "nested/conform/catalog.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nested/conform/payload.hpp"
#include "nested/svm/features.hpp"
#include "nested/vmx/features.hpp"

namespace nestbed::conform {
namespace {

using nested::wire::Ending;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;

boot::PayloadJob job(std::string name) {
    return {.name = std::move(name),
            .title = "What must hold",
            .reference = "APM volume 2, 15.5",
            .needs = {},
            .vcpus = 1,
            .ending = 0};
}

boot::Payload payload_of(std::vector<boot::PayloadJob> jobs) {
    boot::Payload payload;
    payload.jobs = std::move(jobs);
    return payload;
}

std::vector<Case> cases_named(const std::vector<std::string>& names) {
    std::vector<Case> cases;
    for (const auto& name : names)
        cases.push_back({.name = name, .title = "t", .reference = "r", .needs = {}});
    return cases;
}

std::vector<std::string> names_of(const std::vector<Case>& cases) {
    std::vector<std::string> names;
    for (const auto& test : cases)
        names.push_back(test.name);
    return names;
}

class Suite : public testing::Test {
protected:
    void SetUp() override {
        const auto both = payloads();
        ASSERT_TRUE(both) << both.error().message();
        auto cases = all_cases(*both);
        ASSERT_TRUE(cases) << cases.error().message();
        ASSERT_EQ(cases->size(), both->svm.jobs.size() + both->vmx.jobs.size());
        ASSERT_TRUE(std::ranges::is_sorted(*cases, {}, &Case::name));
        for (const auto& test : *cases)
            ASSERT_TRUE(both->of(test.name).job_index(test.name)) << test.name;
        _cases = std::move(*cases);
    }
    [[nodiscard]] const std::vector<Case>& cases() const { return _cases; }

private:
    std::vector<Case> _cases;
};

TEST_F(Suite, IsSortedAndEachTestSaysWhatItIsAbout) {
    EXPECT_GE(cases().size(), 10U);
    EXPECT_TRUE(std::ranges::is_sorted(cases(), {}, &Case::name));
    std::set<std::string> names;
    for (const auto& test : cases()) {
        EXPECT_THAT(test.name, MatchesRegex("(svm|vmx)\\.[a-z0-9_]+\\.[a-z0-9_]+"));
        EXPECT_TRUE(names.insert(test.name).second) << test.name << " twice";
        EXPECT_FALSE(test.title.empty()) << test.name;
        EXPECT_THAT(test.reference, MatchesRegex("APM volume [0-9], .*[0-9].*|SDM volume 3, .+"))
            << test.name;
        EXPECT_FALSE(group_of(test.name).empty()) << test.name;
        EXPECT_GE(test.vcpus, 1U) << test.name;
    }
    EXPECT_TRUE(names.contains("svm.basic.long_mode"));
}

// A name that nothing offers would make its test not applicable on every machine.
TEST_F(Suite, NeedsOnlyFeaturesThatThereAre) {
    for (const auto& test : cases())
        for (const auto& need : test.needs)
            EXPECT_TRUE(extension_of(test.name) == "vmx" ? vmx::find_feature(need).has_value()
                                                         : svm::find_feature(need) != nullptr)
                << test.name << " needs " << need;
}

TEST_F(Suite, IsChosenFromByGroup) {
    const std::vector<std::string> patterns{"svm.basic.*"};
    const auto chosen = select(cases(), patterns);
    ASSERT_TRUE(chosen) << chosen.error().message();
    EXPECT_GE(chosen->size(), 2U);
    for (const auto& test : *chosen)
        EXPECT_EQ(group_of(test.name), "basic");
}

TEST(CasesOf, TakesOverWhatAJobSays) {
    auto second = job("svm.b.two");
    second.needs = {"npt", "vgif"};
    second.vcpus = 3;
    second.ending = static_cast<std::uint32_t>(Ending::stopped);
    auto first = job("svm.a.one");
    first.vcpus = 0;
    first.ending = static_cast<std::uint32_t>(Ending::shutdown);
    const auto cases = cases_of(payload_of({second, first}));
    ASSERT_TRUE(cases) << cases.error().message();
    ASSERT_THAT(names_of(*cases), ElementsAre("svm.a.one", "svm.b.two"));
    EXPECT_EQ(cases->at(0).vcpus, 1U) << "any number of vCPUs is one";
    EXPECT_EQ(cases->at(0).ending, Ending::shutdown);
    EXPECT_THAT(cases->at(0).needs, IsEmpty());
    EXPECT_EQ(cases->at(1).title, "What must hold");
    EXPECT_EQ(cases->at(1).reference, "APM volume 2, 15.5");
    EXPECT_THAT(cases->at(1).needs, ElementsAre("npt", "vgif"));
    EXPECT_EQ(cases->at(1).vcpus, 3U);
    EXPECT_EQ(cases->at(1).ending, Ending::stopped);
}

TEST(CasesOf, APayloadWithoutJobsHasNone) {
    const auto cases = cases_of({});
    ASSERT_TRUE(cases);
    EXPECT_THAT(*cases, IsEmpty());
}

struct BadPayload {
    std::string name;
    std::function<void(std::vector<boot::PayloadJob>&)> spoil;
    std::string found; // a part of it
};

void PrintTo(const BadPayload& one, std::ostream* out) {
    *out << one.name;
}

class RefusedPayload : public testing::TestWithParam<BadPayload> {};

TEST_P(RefusedPayload, IsBadInput) {
    std::vector<boot::PayloadJob> jobs{job("svm.b.two"), job("svm.a.one"), job("svm.c.three")};
    GetParam().spoil(jobs);
    const auto cases = cases_of(payload_of(jobs));
    ASSERT_FALSE(cases);
    EXPECT_EQ(cases.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(cases.error().found, HasSubstr(GetParam().found));
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedPayload,
    testing::Values(
        BadPayload{"Twice", [](auto& jobs) { jobs[2].name = jobs[0].name; }, "two are named svm.b.two"},
        BadPayload{"NoTitle", [](auto& jobs) { jobs[1].title.clear(); }, "svm.a.one lacks"},
        BadPayload{"NoSection", [](auto& jobs) { jobs[1].reference.clear(); }, "svm.a.one lacks"},
        BadPayload{"NoGroup", [](auto& jobs) { jobs[1].name = "svm.one"; }, "svm.one lacks"},
        BadPayload{"UnknownEnding", [](auto& jobs) { jobs[1].ending = 3; }, "svm.a.one has the ending 3"}),
    [](const auto& one) { return one.param.name; });

TEST(GroupOf, IsWhatStandsBetweenTheFirstAndTheLastPoint) {
    struct Case {
        std::string_view name;
        std::string_view group;
    };
    const std::vector<Case> cases{{"svm.npt.read", "npt"},
                                  {"svm.npt.deep.read", "npt.deep"},
                                  {"", ""},
                                  {"svm", ""},
                                  {"svm.read", ""},
                                  {"svm..read", ""},
                                  {".", ""},
                                  {"..", ""}};
    for (const auto& [name, group] : cases)
        EXPECT_EQ(group_of(name), group) << name;
}

struct SelectCase {
    std::vector<std::string> patterns;
    std::vector<std::string> chosen;
};

void PrintTo(const SelectCase& one, std::ostream* out) {
    *out << testing::PrintToString(one.patterns);
}

const std::vector<std::string> four{"svm.npt.read", "svm.npt.write", "svm.tsc.offset", "svm.tsc.ratio"};

class Select : public testing::TestWithParam<SelectCase> {};

TEST_P(Select, TakesWhatOneOfThePatternsMatches) {
    const auto chosen = select(cases_named(four), GetParam().patterns);
    ASSERT_TRUE(chosen) << chosen.error().message();
    EXPECT_EQ(names_of(*chosen), GetParam().chosen);
}

INSTANTIATE_TEST_SUITE_P(All, Select,
                         testing::Values(SelectCase{{}, four}, SelectCase{{"*"}, four},
                                         SelectCase{{"svm.npt.read"}, {"svm.npt.read"}},
                                         SelectCase{{"svm.tsc.*"}, {"svm.tsc.offset", "svm.tsc.ratio"}},
                                         SelectCase{{"*.r*"}, {"svm.npt.read", "svm.tsc.ratio"}},
                                         SelectCase{{"svm.?s[a-c].ratio"}, {"svm.tsc.ratio"}},
                                         // In the suite's order and once each, whatever the patterns say.
                                         SelectCase{{"svm.tsc.*", "svm.npt.read", "*.ratio"},
                                                    {"svm.npt.read", "svm.tsc.offset", "svm.tsc.ratio"}}));

struct NoMatch {
    std::vector<std::string> patterns;
    std::string asked;
    std::string nearest;
};

void PrintTo(const NoMatch& one, std::ostream* out) {
    *out << testing::PrintToString(one.patterns);
}

class SelectNothing : public testing::TestWithParam<NoMatch> {};

TEST_P(SelectNothing, IsBadInputWithTheNearestNames) {
    const auto chosen = select(cases_named(four), GetParam().patterns);
    ASSERT_FALSE(chosen);
    EXPECT_EQ(chosen.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(chosen.error().asked, "run the tests \"" + GetParam().asked + "\"");
    EXPECT_THAT(chosen.error().remedy, HasSubstr("did you mean " + GetParam().nearest + ", "));
}

INSTANTIATE_TEST_SUITE_P(
    All, SelectNothing,
    testing::Values(NoMatch{{"svm.npt.raed"}, "svm.npt.raed", "svm.npt.read"},
                    NoMatch{{"svm.tsc.ofset"}, "svm.tsc.ofset", "svm.tsc.offset"},
                    NoMatch{{"svm.tsc.ratios"}, "svm.tsc.ratios", "svm.tsc.ratio"},
                    NoMatch{{"SVM.NPT.WRITE"}, "SVM.NPT.WRITE", "svm.npt.read"},
                    NoMatch{{"svm.npt"}, "svm.npt", "svm.npt.read"}, NoMatch{{""}, "", "svm.npt.read"},
                    NoMatch{{"svm.npt.["}, "svm.npt.[", "svm.npt.read"},
                    // One that matches does not excuse another.
                    NoMatch{{"svm.npt.*", "svm.tsc.ratiO"}, "svm.tsc.ratiO", "svm.tsc.ratio"}));

TEST(Nearest, AreTheFewestChangesAwayAndThenInAlphabeticalOrder) {
    const auto candidates = cases_named({"abd", "zzzz", "abcd", "abc", "xbc"});
    EXPECT_THAT(nearest("abc", candidates, 9), ElementsAre("abc", "abcd", "abd", "xbc", "zzzz"));
    EXPECT_THAT(nearest("abc", candidates, 2), ElementsAre("abc", "abcd"));
    EXPECT_THAT(nearest("zzz", candidates, 1), ElementsAre("zzzz"));
    EXPECT_THAT(nearest("", candidates, 1), ElementsAre("abc"));
    EXPECT_THAT(nearest("abc", candidates, 0), IsEmpty());
    EXPECT_THAT(nearest("abc", {}, 3), IsEmpty());
}

} // namespace
} // namespace nestbed::conform
