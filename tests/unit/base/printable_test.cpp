#include "base/printable.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Printable, KeepsTheTerminalSafe) {
    EXPECT_EQ(printable("all of it ~!"), "all of it ~!");
    EXPECT_EQ(printable("a\x1b[31mb\n\r\t\x7f"), "a?[31mb????");
    EXPECT_EQ(printable({"\0 \xff", 3}), "? ?");
    EXPECT_EQ(printable(""), "");
}

TEST(LastLines, TakesThemFromTheEnd) {
    EXPECT_THAT(last_lines("one\ntwo\nthree\n", 2), ElementsAre("two", "three"));
    EXPECT_THAT(last_lines("one\ntwo", 2), ElementsAre("one", "two"));
    EXPECT_THAT(last_lines("one", 3), ElementsAre("one"));
    EXPECT_THAT(last_lines("one\n", 0), IsEmpty());
}

TEST(LastLines, PassesOverBlankOnes) {
    EXPECT_THAT(last_lines("\n\none\n \t\n\r\ntwo\r\n\n", 2), ElementsAre("one", "two"));
    EXPECT_THAT(last_lines("\n \n", 2), IsEmpty());
    EXPECT_THAT(last_lines("", 2), IsEmpty());
}

TEST(LastLines, ArePrintable) {
    EXPECT_THAT(last_lines("x\n\x1b[2Jgone\n", 1), ElementsAre("?[2Jgone"));
}

} // namespace
} // namespace nestbed
