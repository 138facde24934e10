#include "core/machine/process_limits.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

#include <sys/resource.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/machine/guest_memory.hpp"
#include "core/machine/vcpu_thread.hpp"

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
    ASSERT_TRUE(raise_open_files(101));
    EXPECT_EQ(now().rlim_cur, 101U) << "one too few is too few";
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

TEST(ThreadRefused, NamesTheUsersLimitWhereItIsTooLow) {
    const auto error = thread_refused("start the threads of 288 vCPUs", EAGAIN, threads_needed(288), 50);
    EXPECT_EQ(error.kind, ErrorKind::host_lacks);
    EXPECT_EQ(error.asked, "start the threads of 288 vCPUs");
    EXPECT_THAT(error.found, testing::AllOf(HasSubstr("EAGAIN"), HasSubstr("may have 50 threads"),
                                            HasSubstr("352 are needed")));
    EXPECT_THAT(error.remedy, HasSubstr("`sudo prlimit --pid $$ --nproc=1408`"));
    EXPECT_EQ(thread_refused("x", EAGAIN, 352, 1407).remedy, error.remedy)
        << "enough for the machine, but not beside what the user runs already";
}

TEST(ThreadRefused, PointsAtTheOthersWhereItIsNot) {
    for (const auto allowed : {std::optional<std::uint64_t>{}, std::optional<std::uint64_t>{1408}}) {
        const auto error = thread_refused("x", EAGAIN, 352, allowed);
        EXPECT_THAT(error.found, HasSubstr("352 threads are needed"));
        EXPECT_THAT(error.remedy, testing::AllOf(HasSubstr("nestbed check"), HasSubstr("pids.max"),
                                                 HasSubstr("threads-max")));
    }
}

// Runs in a process of its own, for which there is no way back. True: no thread can be had any more.
bool give_up_threads() {
    const rlimit none{1, 1};
    if (::setrlimit(RLIMIT_NPROC, &none) != 0)
        return false;
    constexpr uid_t nobody = 65534; // the limit does not hold for root
    if (::geteuid() == 0 && ::setresuid(nobody, nobody, nobody) != 0)
        return false;
    try {
        std::thread{[] {}}.join();
        return false;
    } catch (const std::system_error&) {
        return true;
    }
}

// Prints the error of an attempt without threads; "cannot be tried" where they cannot be taken away here.
template<typename Attempt>
[[noreturn]] void without_threads(Attempt attempt) {
    std::string said = "cannot be tried";
    if (give_up_threads()) {
        const Status status = attempt();
        said = status ? "went well" : status.error().message();
    }
    std::fputs(said.c_str(), stderr);
    std::_Exit(0);
}

topology::Plan small_plan() {
    topology::Plan plan;
    plan.vcpus.resize(2);
    plan.nodes = {{.virtual_node = 0, .host_node = {}, .memory_bytes = 4096, .reason = {}}};
    return plan;
}

TEST(ThreadLimit, PrefaultingSaysWhatItLacks) {
    EXPECT_EXIT(without_threads([] { return GuestMemory::allocate(small_plan()).map([](const auto&) {}); }),
                testing::ExitedWithCode(0),
                "start a thread that prefaults.*EAGAIN.*--nproc=264|cannot be tried");
}

TEST(ThreadLimit, AVcpuSaysWhatItLacks) {
    EXPECT_EXIT(without_threads([] {
                    const auto plan = small_plan();
                    VcpuContext context;
                    context.plan = &plan;
                    return VcpuThread{context, 1}.start();
                }),
                testing::ExitedWithCode(0), "start the threads of 2 vCPUs.*--nproc=264|cannot be tried");
}

} // namespace
} // namespace nestbed::machine
