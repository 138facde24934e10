#include "nested/conform/baseline.hpp"

#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nested/conform/catalog.hpp"

namespace nestbed::conform {
namespace {

using report::Verdict;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::vector<std::string> names{"svm.a.one", "svm.b.two", "svm.c.three"};

std::string with_known(const std::string& known) {
    return fmt::format(R"({{"suite": {}, "machine": "a machine", "known": {}}})", suite_version, known);
}

TEST(ParseBaseline, KnowsVerdictAndReasonOfEachTest) {
    const auto baseline = parse_baseline(with_known(R"({
        "svm.a.one": {"verdict": "fail", "why": "it forgets a bit"},
        "svm.b.two": {"verdict": "hang", "why": "it waits"},
        "svm.c.three": {"verdict": "crash", "why": "it falls"}})"),
                                         names);
    ASSERT_TRUE(baseline) << baseline.error().message();
    EXPECT_EQ(baseline->machine, "a machine");
    ASSERT_THAT(baseline->known, SizeIs(3));
    EXPECT_EQ(baseline->known.at("svm.a.one").verdict, "fail");
    EXPECT_EQ(baseline->known.at("svm.a.one").why, "it forgets a bit");
    EXPECT_EQ(baseline->known.at("svm.b.two").verdict, "hang");
    EXPECT_EQ(baseline->known.at("svm.c.three").verdict, "crash");
}

TEST(ParseBaseline, NeedsNeitherAMachineNorAKnownTest) {
    for (const auto* const machine : {"", R"("machine": 7,)"}) {
        const auto baseline = parse_baseline(
            fmt::format(R"({{{} "suite": {}, "known": {{}}}})", machine, suite_version), names);
        ASSERT_TRUE(baseline) << baseline.error().message();
        EXPECT_THAT(baseline->machine, IsEmpty());
        EXPECT_THAT(baseline->known, IsEmpty());
    }
}

struct Refusal {
    std::string name;
    std::string text;
    std::string found; // a part of it
};

void PrintTo(const Refusal& one, std::ostream* out) {
    *out << one.name;
}

// As deep as a file of a few hundred KiB can nest: what copies or prints a value goes as deep on the stack.
std::string nested_lists(std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
}

class RefusedBaseline : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedBaseline, IsBadInputWithThePlace) {
    const auto baseline = parse_baseline(GetParam().text, names);
    ASSERT_FALSE(baseline);
    EXPECT_EQ(baseline.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(baseline.error().asked, "read the baseline");
    EXPECT_THAT(baseline.error().found, HasSubstr(GetParam().found));
    EXPECT_LT(baseline.error().found.size(), 200U);
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedBaseline,
    testing::Values(
        Refusal{"Empty", "", "no JSON object"}, Refusal{"Garbage", "\xff\x01{", "no JSON object"},
        Refusal{"CutShort", R"({"suite": 1, "known": {)", "no JSON object"},
        Refusal{"NoUtf8", "{\"suite\": \"\xff\"}", "no JSON object"}, Refusal{"List", "[]", "no JSON object"},
        Refusal{"TooDeep", nested_lists(200'000), "no JSON object"},
        Refusal{"NoSuite", R"({"known": {}})", "it is of suite (none), this is suite"},
        Refusal{"SuiteOfText", R"({"suite": "1", "known": {}})", "it is of suite (none)"},
        Refusal{"SuiteWithAFraction", R"({"suite": 1.5, "known": {}})", "it is of suite"},
        Refusal{"AnotherSuite", R"({"suite": 1000, "known": {}})", "it is of suite 1000, this is suite"},
        Refusal{"SuiteThatIsDeep", R"({"suite": )" + nested_lists(200'000) + R"(, "known": {}})",
                "no JSON object"},
        Refusal{"SuiteThatIsLong", R"({"suite": ")" + std::string(100'000, 'x') + R"(", "known": {}})",
                "it is of suite (none)"},
        Refusal{"NothingKnown", fmt::format(R"({{"suite": {}}})", suite_version), "no object \"known\""},
        Refusal{"KnownList", with_known("[]"), "no object \"known\""},
        Refusal{"UnknownTest", with_known(R"({"svm.d.four": {"verdict": "fail", "why": "so"}})"),
                "there is no test svm.d.four"},
        Refusal{"EntryThatIsText", with_known(R"({"svm.a.one": "fail"})"), "svm.a.one is no object"},
        Refusal{"NoVerdict", with_known(R"({"svm.a.one": {"why": "so"}})"), "svm.a.one has the verdict \"\""},
        Refusal{"VerdictThatIsFine", with_known(R"({"svm.a.one": {"verdict": "pass", "why": "so"}})"),
                "svm.a.one has the verdict \"pass\""},
        Refusal{"NotApplicable", with_known(R"({"svm.a.one": {"verdict": "not_applicable", "why": "so"}})"),
                "svm.a.one has the verdict \"not_applicable\""},
        Refusal{"NotRun", with_known(R"({"svm.a.one": {"verdict": "not_run", "why": "so"}})"),
                "svm.a.one has the verdict \"not_run\""},
        Refusal{"VerdictThatIsANumber", with_known(R"({"svm.a.one": {"verdict": 1, "why": "so"}})"),
                "svm.a.one has the verdict \"\""},
        Refusal{"NoReason", with_known(R"({"svm.a.one": {"verdict": "fail"}})"), "svm.a.one says not why"},
        Refusal{"EmptyReason", with_known(R"({"svm.a.one": {"verdict": "fail", "why": ""}})"),
                "svm.a.one says not why"},
        Refusal{"OneOfMany",
                with_known(
                    R"({"svm.a.one": {"verdict": "fail", "why": "so"}, "svm.b.two": {"verdict": "hang"}})"),
                "svm.b.two says not why"}),
    [](const auto& one) { return one.param.name; });

struct ApplyCase {
    std::string test;
    Verdict verdict = Verdict::pass;
    std::string known;
};

TEST(ApplyBaseline, KnowsATestOnlyByTheVerdictThatStandsThere) {
    const Baseline baseline{
        .machine = "",
        .known = {{"svm.a.one", {"fail", "it forgets a bit"}}, {"svm.b.two", {"hang", "it waits"}}}};
    const std::vector<ApplyCase> cases{
        {"svm.a.one", Verdict::fail, "it forgets a bit"},
        {"svm.a.one", Verdict::hang, ""},
        {"svm.a.one", Verdict::crash, ""},
        {"svm.a.one", Verdict::pass, ""},
        {"svm.a.one", Verdict::not_run, ""},
        {"svm.a.one", Verdict::not_applicable, ""},
        {"svm.b.two", Verdict::hang, "it waits"},
        {"svm.b.two", Verdict::fail, ""},
        {"svm.c.three", Verdict::fail, ""},
    };
    for (const auto& one : cases) {
        report::CheckResult result;
        result.name = one.test;
        result.verdict = one.verdict;
        apply(baseline, result);
        EXPECT_EQ(result.known, one.known) << one.test << " " << report::to_string(one.verdict);
        EXPECT_EQ(result.verdict, one.verdict);
    }
}

} // namespace
} // namespace nestbed::conform
