#include "core/machine/process_limits.hpp"

#include <cstdint>
#include <limits>

#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::machine {
namespace {

using testing::HasSubstr;

static_assert(open_files_needed(1) >= 2);
static_assert(open_files_needed(1024) >= 2 * 1024);
static_assert(open_files_needed(std::numeric_limits<std::uint32_t>::max()) > (std::uint64_t{1} << 32));

class OpenFiles : public testing::Test {
protected:
    void SetUp() override { ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0); }
    void TearDown() override { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0); }

    static rlimit now() {
        rlimit limit{};
        EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
        return limit;
    }
    // A soft limit that leaves room to be raised.
    void lower_to(rlim_t soft) const {
        const rlimit lower{soft, before.rlim_max};
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lower), 0);
    }

    rlimit before{};
};

TEST_F(OpenFiles, EnoughIsLeftAlone) {
    lower_to(200);
    EXPECT_TRUE(raise_open_files(200));
    EXPECT_EQ(now().rlim_cur, 200U);
    EXPECT_TRUE(raise_open_files(1));
    EXPECT_EQ(now().rlim_cur, 200U) << "never lowered";
}

TEST_F(OpenFiles, TooFewAreRaisedWithinTheHardLimit) {
    lower_to(100);
    ASSERT_GE(before.rlim_max, 201U);
    const auto raised = raise_open_files(201);
    ASSERT_TRUE(raised) << raised.error().message();
    EXPECT_EQ(now().rlim_cur, 201U);
    EXPECT_EQ(now().rlim_max, before.rlim_max) << "the hard limit is not given away";
}

TEST_F(OpenFiles, MoreThanTheKernelHasIsRefusedWithTheCommand) {
    const auto asked = std::uint64_t{1} << 40; // fs.nr_open is an int
    const auto raised = raise_open_files(asked);
    if (before.rlim_cur == RLIM_INFINITY)
        GTEST_SKIP() << "no limit at all here";
    ASSERT_FALSE(raised);
    EXPECT_EQ(raised.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(raised.error().asked, HasSubstr("1099511627776 files"));
    EXPECT_THAT(raised.error().remedy, HasSubstr("--nofile=1099511627776"));
    EXPECT_EQ(now().rlim_cur, before.rlim_cur);
}

} // namespace
} // namespace nestbed::machine
