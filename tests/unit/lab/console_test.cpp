#include "lab/console.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::lab {
namespace {

using testing::ElementsAre;

TEST(Console, KeepsTheLastLinesReadable) {
    Console console;
    console.take("\x1b[2J\x1b[01;31mone\x1b[0m\r\n\r\ntw");
    console.take("o\a\xff\nthree");
    EXPECT_THAT(console.last_lines(10), ElementsAre("one", "two", "three"));
    EXPECT_THAT(console.last_lines(1), ElementsAre("three"));
    EXPECT_THAT(console.last_lines(0), ElementsAre());
    EXPECT_FALSE(console.panicked());
}

TEST(Console, IsBounded) {
    Console console;
    for (int i = 0; i < 100000; ++i)
        console.take("line\n");
    console.take(std::string(1000000, 'x'));
    EXPECT_LE(console.last_lines(100000).size(), 201U);
    EXPECT_LE(console.last_lines(1).back().size(), 400U);
}

TEST(Console, NoticesAPanic) {
    Console console;
    console.take("[    1.0] Kernel panic - not ");
    EXPECT_FALSE(console.panicked());
    console.take("syncing: VFS\r\n");
    EXPECT_TRUE(console.panicked());
}

} // namespace
} // namespace nestbed::lab
