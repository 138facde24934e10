#include "base/error.hpp"

#include <cerrno>
#include <string>

#include <gtest/gtest.h>

namespace nestbed {
namespace {

TEST(Error, MessageLeavesOutWhatIsEmpty) {
    struct Case {
        Error error;
        std::string message;
    };
    const Case cases[] = {
        {{ErrorKind::bad_input, "open x", "no such file", "name another"},
         "open x: no such file; name another"},
        {{ErrorKind::bad_input, "open x", "no such file", ""}, "open x: no such file"},
        {{ErrorKind::bad_input, "open x", "", "name another"}, "open x; name another"},
        {{ErrorKind::bad_input, "", "no such file", ""}, "no such file"},
        {{ErrorKind::bad_input, "", "", ""}, ""},
    };
    for (const auto& [error, message] : cases)
        EXPECT_EQ(error.message(), message);
}

TEST(Error, EachKindHasItsExitCodeAndName) {
    struct Case {
        ErrorKind kind;
        int code;
        std::string name;
    };
    const Case cases[] = {
        {ErrorKind::check_failed, 1, "check_failed"}, {ErrorKind::deadline, 1, "deadline"},
        {ErrorKind::bad_input, 2, "bad_input"},       {ErrorKind::host_lacks, 3, "host_lacks"},
        {ErrorKind::cancelled, 130, "cancelled"},
    };
    for (const auto& [kind, code, name] : cases) {
        EXPECT_EQ(exit_code(kind), code) << name;
        EXPECT_EQ(to_string(kind), name);
    }
}

TEST(Error, FailKeepsEveryPart) {
    const Status status = fail(ErrorKind::host_lacks, "asked", "found", "remedy");
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::host_lacks);
    EXPECT_EQ(status.error().asked, "asked");
    EXPECT_EQ(status.error().found, "found");
    EXPECT_EQ(status.error().remedy, "remedy");
}

TEST(Error, FailErrnoNamesTheNumber) {
    errno = EACCES;
    const Status status = fail_errno(ErrorKind::host_lacks, "open /dev/kvm", "join group kvm");
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().message(), "open /dev/kvm: Permission denied (EACCES); join group kvm");
}

TEST(Error, ErrnoTextOfAnUnknownNumber) {
    EXPECT_EQ(errno_text(ENOENT), "No such file or directory (ENOENT)");
    EXPECT_EQ(errno_text(123456), "errno 123456");
}

} // namespace
} // namespace nestbed
