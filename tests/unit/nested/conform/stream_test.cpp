#include "nested/conform/stream.hpp"

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/json.hpp"

namespace nestbed::conform {
namespace {

using report::Verdict;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

report::CheckResult a_result() {
    report::CheckResult result;
    result.name = "svm.group.case";
    result.title = "What must hold";
    result.reference = "APM volume 2, 15.5";
    result.verdict = Verdict::fail;
    result.seconds = 0.25;
    result.summary = "RAX: expected 0x1, saw 0x2";
    result.details = {"first", "second"};
    result.facts["checks"] = 3;
    return result;
}

// What a reader makes of bytes that come in pieces of `piece` each.
std::vector<StreamEvent> events_of(std::string_view bytes, std::size_t piece = std::string_view::npos) {
    std::vector<StreamEvent> events;
    StreamReader reader{[&](StreamEvent event) { events.push_back(std::move(event)); }};
    for (std::size_t at = 0; at < bytes.size();) {
        const auto part = bytes.substr(at, piece);
        reader.feed(part);
        at += part.size();
    }
    return events;
}

// "+name" for a start, "name" for a result.
std::vector<std::string> names_of(const std::vector<StreamEvent>& events) {
    std::vector<std::string> names;
    for (const auto& event : events)
        names.push_back(event.result ? event.result->name : "+" + event.started);
    return names;
}

TEST(Stream, TellsAStart) {
    const auto line = started_line("svm.group.case");
    EXPECT_TRUE(line.ends_with('\n'));
    const auto events = events_of(line);
    ASSERT_THAT(events, SizeIs(1));
    EXPECT_EQ(events[0].started, "svm.group.case");
    EXPECT_FALSE(events[0].result);
}

TEST(Stream, TellsAResult) {
    const auto line = result_line(a_result());
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const auto events = events_of(line);
    ASSERT_THAT(events, SizeIs(1));
    EXPECT_EQ(events[0].started, "");
    ASSERT_TRUE(events[0].result);
    EXPECT_EQ(report::to_json(*events[0].result), report::to_json(a_result()));
}

TEST(Stream, SurvivesWhatAGuestMaySay) {
    auto result = a_result();
    result.summary = "\xff\x01\n\"\\ {\"started\": \"x\"}";
    const auto events = events_of(result_line(result));
    ASSERT_THAT(names_of(events), ElementsAre("svm.group.case"));
    EXPECT_EQ(events[0].result->summary, "\xef\xbf\xbd\x01\n\"\\ {\"started\": \"x\"}");
}

TEST(Stream, IsPutTogetherFromPiecesOfAnySize) {
    const auto text = started_line("a") + result_line(a_result()) + started_line("b");
    for (std::size_t piece = 1; piece <= text.size(); ++piece)
        ASSERT_THAT(names_of(events_of(text, piece)), ElementsAre("+a", "svm.group.case", "+b")) << piece;
}

TEST(Stream, WaitsForTheEndOfALine) {
    const auto line = started_line("a");
    EXPECT_THAT(events_of(line.substr(0, line.size() - 1)), IsEmpty());
}

struct Garbage {
    std::string name;
    std::string line;
};

void PrintTo(const Garbage& one, std::ostream* out) {
    *out << one.name;
}

std::string deep_facts() {
    constexpr std::size_t depth = 200'000;
    return R"({"result": {"name": "x", "verdict": "pass", "facts": {"a": )" + std::string(depth, '[') +
           std::string(depth, ']') + "}}}";
}

class StreamGarbage : public testing::TestWithParam<Garbage> {};

TEST_P(StreamGarbage, IsPassedOver) {
    const auto text = started_line("before") + GetParam().line + "\n" + started_line("after");
    EXPECT_THAT(names_of(events_of(text)), ElementsAre("+before", "+after"));
}

INSTANTIATE_TEST_SUITE_P(
    All, StreamGarbage,
    testing::Values(
        Garbage{"Empty", ""}, Garbage{"Text", "Kernel panic - not syncing"}, Garbage{"CutShort", "{\"star"},
        Garbage{"Bytes", "\xff\xfe\x01\x7f"}, Garbage{"Number", "7"},
        Garbage{"List", "[{\"started\": \"x\"}]"}, Garbage{"Neither", "{}"},
        Garbage{"StartOfNothing", R"({"started": ""})"}, Garbage{"StartOfANumber", R"({"started": 7})"},
        Garbage{"NoUtf8", "{\"started\": \"\xff\"}"}, Garbage{"ResultOfText", R"({"result": "pass"})"},
        Garbage{"ResultOfNothing", R"({"result": {}})"},
        Garbage{"NoName", R"({"result": {"verdict": "pass"}})"},
        Garbage{"EmptyName", R"({"result": {"name": "", "verdict": "pass"}})"},
        Garbage{"NoVerdict", R"({"result": {"name": "x"}})"},
        Garbage{"UnknownVerdict", R"({"result": {"name": "x", "verdict": "splendid"}})"},
        Garbage{"TwoOnALine", R"({"started": "x"}{"started": "y"})"}, Garbage{"TooDeep", deep_facts()},
        Garbage{"NoSuchNumber", R"({"result": {"name": "x", "verdict": "pass", "seconds": 1e999}})"},
        Garbage{"TooLong", R"({"started": ")" + std::string(std::size_t{2} << 20, 'x') + R"("})"},
        // Its end would be an event by itself.
        Garbage{"TooLongWithAnEventBehind", std::string(std::size_t{1} << 20, ' ') + R"({"started": "x"})"}),
    [](const auto& one) { return one.param.name; });

TEST(Stream, TakesALineThatIsLongButNotTooLong) {
    auto result = a_result();
    result.details.assign(5000, std::string(100, 'x'));
    EXPECT_THAT(names_of(events_of(result_line(result))), ElementsAre("svm.group.case"));
}

} // namespace
} // namespace nestbed::conform
