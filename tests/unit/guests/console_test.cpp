#include "guests/console.hpp"

#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::guests {
namespace {

using testing::ElementsAre;

class ConsoleTest : public testing::Test {
protected:
    Console make(const char* expect = nullptr) {
        std::optional<LinePattern> pattern;
        if (expect != nullptr)
            pattern = std::move(*LinePattern::compile(expect));
        return Console{std::move(pattern),
                       [this](std::span<const std::byte> bytes) {
                           passed_on.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                       },
                       [this] { ++told; }};
    }
    static void say(Console& console, std::string_view text) {
        console.take(std::as_bytes(std::span{text.data(), text.size()}));
    }

    std::string passed_on;
    int told = 0;
};

TEST_F(ConsoleTest, PassesEveryByteOnAndKeepsLines) {
    auto console = make();
    say(console, "one\r\ntw");
    say(console, "o\r\n\r\nthr\x1b[0mee");
    EXPECT_EQ(passed_on, "one\r\ntwo\r\n\r\nthr\x1b[0mee");
    EXPECT_EQ(console.bytes(), passed_on.size());
    EXPECT_THAT(console.last_lines(),
                ElementsAre("one", "two", "", testing::Not(testing::HasSubstr("\x1b"))));
    EXPECT_TRUE(console.seen());
    EXPECT_FALSE(console.matched_line());
}

TEST_F(ConsoleTest, TellsOnceOfTheFirstLineThatMatches) {
    auto console = make("test (\\d+) passed");
    say(console, "test 1 pas");
    EXPECT_FALSE(console.seen());
    say(console, "sed");
    EXPECT_FALSE(console.seen()) << "the line has not ended";
    say(console, "\ntest 2 passed\n");
    EXPECT_TRUE(console.seen());
    EXPECT_EQ(console.matched_line(), "test 1 passed");
    EXPECT_EQ(told, 1);
}

TEST_F(ConsoleTest, TheLastLineNeedsNoEnd) {
    auto console = make("passed");
    say(console, "all passed");
    EXPECT_FALSE(console.seen());
    console.finish();
    EXPECT_EQ(console.matched_line(), "all passed");
    console.finish();
    EXPECT_THAT(console.last_lines(), ElementsAre("all passed"));
}

TEST_F(ConsoleTest, TheFirstLineHasATime) {
    auto console = make();
    say(console, "no end");
    EXPECT_FALSE(console.first_line_at());
    const auto before = Console::Clock::now();
    say(console, "\n");
    const auto first = console.first_line_at();
    ASSERT_TRUE(first);
    EXPECT_GE(*first, before);
    say(console, "another\n");
    EXPECT_EQ(console.first_line_at(), first);
}

TEST_F(ConsoleTest, NeitherALongLineNorManyTakeMemory) {
    auto console = make("zzz$");
    say(console, std::string(3 * Console::longest_line, 'y') + "zzz\n");
    EXPECT_FALSE(console.seen()) << "the end of the line was cut";
    for (int i = 0; i < 1000; ++i)
        say(console, std::to_string(i) + "\n");
    const auto lines = console.last_lines();
    EXPECT_EQ(lines.size(), Console::most_last_lines);
    EXPECT_EQ(lines.back(), "999");
}

} // namespace
} // namespace nestbed::guests
