#include "stress/bench/figure.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/json_file.hpp"
#include "tests/support/schema.hpp"

namespace nestbed::bench {
namespace {

using nestbed::test::bench_schema;
using nestbed::test::violations;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Json = nlohmann::json;

const Figure at_most{
    .name = "bringup/floor", .unit = "s", .what = "this, to that", .target = 1.5, .at_most = true};
const Figure at_least{
    .name = "bringup/against", .unit = "s", .what = "that, to this", .target = 5, .at_most = false};

const std::vector<double> ours{0.3, 0.2, 0.4};
const std::vector<double> other{0.2, 0.1, 0.2};

TEST(Figure, IsOfAsManyPairsAsThereAre) {
    const std::vector<double> fewer{0.1, 0.1};
    const auto figure = figure_of_pairs(at_most, ours, fewer);
    ASSERT_TRUE(figure);
    EXPECT_EQ(figure->ours.count, 2U) << "a sample without its pair is none";
    EXPECT_EQ(figure->other->count, 2U);
    EXPECT_EQ(figure->ratio->count, 2U);
    EXPECT_DOUBLE_EQ(figure->ours.max, 0.3);
    EXPECT_DOUBLE_EQ(figure->ratio->max, 3);
}

TEST(Figure, DividesTheWayThatItsTargetReads) {
    EXPECT_DOUBLE_EQ(figure_of_pairs(at_most, ours, other)->ratio->median, 2);
    EXPECT_DOUBLE_EQ(figure_of_pairs(at_least, ours, other)->ratio->median, 0.5);
}

TEST(Figure, IsNoneWithoutAPair) {
    EXPECT_EQ(figure_of({}, {}), std::nullopt);
    EXPECT_EQ(figure_of_pairs(at_most, ours, {}), std::nullopt);
    EXPECT_EQ(figure_of_pairs(at_most, {}, other), std::nullopt);
}

TEST(Figure, HoldsByTheRatioOrElseByItsOwn) {
    struct Case {
        Figure about;
        std::vector<double> ours;
        std::vector<double> other;
        bool holds;
    };
    for (const auto& [about, a, b, holds] :
         {Case{at_most, {3}, {2}, true}, Case{at_most, {3.1}, {2}, false}, Case{at_least, {2}, {10}, true},
          Case{at_least, {2}, {9.9}, false}, Case{at_most, {1.5}, {}, true}, Case{at_most, {1.6}, {}, false}})
        EXPECT_EQ((b.empty() ? figure_of(about, a) : figure_of_pairs(about, a, b))->holds(), holds)
            << about.name << ' ' << a[0];
}

TEST(FigureText, SaysWhatPeopleAskFor) {
    EXPECT_EQ(
        to_text(*figure_of_pairs(at_most, ours, other)),
        "misses bringup/floor    ours 0.3 s, other 0.2 s, ratio 2.00 (1.50 to 2.00, 3 pairs), at most 1.5\n"
        "       this, to that\n");
    EXPECT_THAT(to_text(*figure_of(at_most, ours)),
                testing::StartsWith("holds  bringup/floor    ours 0.3 s, at most"));
    const std::vector<double> one{1};
    EXPECT_THAT(to_text(*figure_of_pairs(at_least, one, one)), HasSubstr("1 pair), at least 5"));
}

Json document(const std::vector<Figure>& figures, const Error* error = nullptr,
              const report::HostFacts& host = {}) {
    return Json::parse(report::dump(to_json(figures, host, error)));
}

std::vector<Figure> all_kinds() {
    return {*figure_of_pairs(at_most, ours, other), *figure_of_pairs(at_least, ours, other),
            *figure_of(at_most, ours)};
}

TEST(BenchDocument, IsAsTheSchemaSays) {
    const Error error{ErrorKind::bad_input, "time --against 'false'", "exit code 1", "give another"};
    report::HostFacts host;
    host.kernel = "6.1.0";
    host.cpu_model = "AMD EPYC";
    EXPECT_THAT(violations(document(all_kinds(), &error, host), bench_schema()), IsEmpty());
    EXPECT_THAT(violations(document({}), bench_schema()), IsEmpty());
    const std::vector<double> nothing{0};
    EXPECT_THAT(violations(document({*figure_of_pairs(at_most, ours, nothing)}), bench_schema()), IsEmpty())
        << "a ratio that is no number";
}

TEST(BenchDocument, HoldsTheErrorOfWhatCameToAnEnd) {
    const Error error{ErrorKind::deadline, "run it", "no end", ""};
    EXPECT_EQ(document(all_kinds(), &error).at("error").at("kind"), "deadline");
    EXPECT_EQ(document(all_kinds(), &error).at("figures").size(), 3U);
    EXPECT_FALSE(document(all_kinds()).contains("error"));
}

TEST(BenchSchema, WantsEachMemberAndNoOther) {
    const auto whole = document(all_kinds());
    for (const auto& at : {"", "/program", "/host", "/figures/0", "/figures/0/ours", "/figures/0/target"}) {
        const Json::json_pointer pointer{at};
        for (const auto& [name, value] : whole[pointer].items()) {
            auto broken = whole;
            broken[pointer].erase(name);
            EXPECT_THAT(violations(broken, bench_schema()), Not(IsEmpty())) << at << " without " << name;
        }
        auto more = whole;
        more[pointer]["surprise"] = 1;
        EXPECT_THAT(violations(more, bench_schema()), Not(IsEmpty())) << at;
    }
}

TEST(BenchSchema, RefusesValuesOfTheWrongKind) {
    struct Case {
        std::string at;
        Json value;
    };
    const std::vector<Case> cases{
        {"/schema_version", 2},          {"/program/name", "other"},   {"/host/kernel", 6},
        {"/figures/0/name", "bringup"},  {"/figures/0/unit", "hours"}, {"/figures/0/ours/count", -1},
        {"/figures/0/ours/median", "3"}, {"/figures/0/holds", "yes"},  {"/figures/0/target/at_most", "1"},
        {"/figures/0/what", ""},         {"/figures", Json::object()},
    };
    const auto whole = document(all_kinds());
    for (const auto& [at, value] : cases) {
        auto broken = whole;
        ASSERT_TRUE(broken.contains(Json::json_pointer{at})) << at;
        broken[Json::json_pointer{at}] = value;
        EXPECT_THAT(violations(broken, bench_schema()), Not(IsEmpty())) << at << " = " << value;
    }
}

} // namespace
} // namespace nestbed::bench
