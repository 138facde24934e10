#include "base/line_pattern.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed {
namespace {

struct PatternCase {
    const char* pattern;
    const char* line;
    bool matches;
};

TEST(LinePattern, MatchesAnyPartOfALine) {
    for (const auto& [pattern, line, matches] : {
             PatternCase{"tests passed", "all 12 tests passed.", true},
             PatternCase{"^login:", "host login:", false},
             PatternCase{"^[0-9]+ tests?$", "12 tests", true},
             PatternCase{"a|b", "xbx", true},
             PatternCase{"\\[ *1\\.", "[    1.5] x", true},
             PatternCase{"", "", true},
             PatternCase{"passed", "", false},
         }) {
        const auto compiled = LinePattern::compile(pattern);
        ASSERT_TRUE(compiled) << pattern;
        EXPECT_EQ(compiled->matches(line), matches) << pattern << " in " << line;
    }
}

TEST(LinePattern, RefusesWhatIsNone) {
    for (const auto* const pattern : {"(", "[a", "a{2,1}", "*", "\\"}) {
        const auto compiled = LinePattern::compile(pattern);
        ASSERT_FALSE(compiled) << pattern;
        EXPECT_EQ(compiled.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(compiled.error().found, testing::HasSubstr("at offset"));
    }
}

// A guest could have its host match for ages, or run out of stack.
TEST(LinePattern, GivesUpWhereItWouldTakeTooLong) {
    const auto nested = LinePattern::compile("^(a+)+(b+)+$");
    ASSERT_TRUE(nested);
    EXPECT_FALSE(nested->matches(std::string(4000, 'a') + "c"));
    const auto deep = LinePattern::compile("(?:(a)|b)*x");
    ASSERT_TRUE(deep);
    EXPECT_FALSE(deep->matches(std::string(100'000, 'a')));
}

} // namespace
} // namespace nestbed
