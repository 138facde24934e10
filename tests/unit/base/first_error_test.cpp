#include "base/first_error.hpp"

#include <string>

#include <gtest/gtest.h>

namespace nestbed {
namespace {

const Result<int> number = 1;
const Result<std::string> text = "one";
const Result<int> no_number = fail(ErrorKind::bad_input, "a number", "none");
const Result<std::string> no_text = fail(ErrorKind::host_lacks, "a text", "none");

TEST(FirstError, IsNoneWhereAllHold) {
    EXPECT_TRUE(first_error(number, text, Status{}));
}

TEST(FirstError, IsTheFirstInTheOrderGiven) {
    EXPECT_EQ(first_error(number, no_number, no_text).error().asked, "a number");
    EXPECT_EQ(first_error(no_text, no_number, text).error().asked, "a text");
    EXPECT_EQ(first_error(text, number, no_text).error().kind, ErrorKind::host_lacks);
}

} // namespace
} // namespace nestbed
