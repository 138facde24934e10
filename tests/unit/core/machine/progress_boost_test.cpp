#include "core/machine/progress_boost.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <future>
#include <thread>

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace nestbed::machine {
namespace {

// A thread that exists and waits.
class Parked {
public:
    Parked() {
        std::promise<pid_t> started;
        _thread = std::thread{[this, &started] {
            started.set_value(static_cast<pid_t>(::syscall(SYS_gettid)));
            _over.wait(false);
        }};
        _tid = started.get_future().get();
    }
    Parked(const Parked&) = delete;
    Parked& operator=(const Parked&) = delete;
    ~Parked() {
        _over = true;
        _over.notify_all();
        _thread.join();
    }

    [[nodiscard]] pid_t tid() const { return _tid; }
    [[nodiscard]] bool is_preferred() const { return ::sched_getscheduler(_tid) == SCHED_RR; }

private:
    std::atomic<bool> _over{false};
    std::thread _thread;
    pid_t _tid = 0;
};

class Boost : public testing::Test {
protected:
    void SetUp() override {
        if (!ProgressBoost::is_allowed())
            GTEST_SKIP() << "this process may not schedule its threads as it likes (CAP_SYS_NICE)";
    }

    ProgressBoost boost;
};

TEST_F(Boost, AskingWhetherItIsAllowedChangesNothing) {
    EXPECT_EQ(::sched_getscheduler(0), SCHED_OTHER);
}

TEST_F(Boost, TheLastThatLeftIsPreferredAndNoOther) {
    const Parked first;
    const Parked second;
    boost.left_guest(first.tid());
    EXPECT_TRUE(first.is_preferred());
    boost.left_guest(second.tid());
    EXPECT_FALSE(first.is_preferred());
    EXPECT_TRUE(second.is_preferred());
    boost.left_guest(first.tid());
    EXPECT_TRUE(first.is_preferred());
    EXPECT_FALSE(second.is_preferred());
}

TEST_F(Boost, WhoDoesNotLeaveForAWholeTickIsLikeTheOthers) {
    const Parked thread;
    boost.left_guest(thread.tid());
    boost.tick();
    EXPECT_TRUE(thread.is_preferred()) << "it has left since the last tick";
    boost.tick();
    EXPECT_FALSE(thread.is_preferred());
    boost.tick();
    boost.left_guest(thread.tid());
    EXPECT_TRUE(thread.is_preferred());
}

// Where nothing leaves the guest nobody is to be woken.
TEST_F(Boost, ItsTimerRunsWhileAVcpuIsPreferred) {
    ASSERT_TRUE(boost.open_timer());
    const auto expires_within = [&](int milliseconds) {
        pollfd timer{.fd = boost.timer(), .events = POLLIN, .revents = 0};
        return ::poll(&timer, 1, milliseconds) == 1;
    };
    const Parked thread;
    EXPECT_FALSE(expires_within(40));
    boost.left_guest(thread.tid());
    EXPECT_TRUE(expires_within(10'000));
    boost.tick();
    EXPECT_TRUE(expires_within(10'000)) << "it is still preferred";
    boost.tick();
    EXPECT_FALSE(thread.is_preferred());
    EXPECT_FALSE(expires_within(40));
    boost.left_guest(thread.tid());
    EXPECT_TRUE(expires_within(10'000));
}

TEST_F(Boost, NowAndThenNobodyIsPreferredForATick) {
    ASSERT_TRUE(boost.open_timer());
    const Parked thread;
    for (int round = 0; round < 3; ++round) {
        int ticks = 0;
        do {
            boost.left_guest(thread.tid());
            EXPECT_TRUE(thread.is_preferred());
            boost.tick();
        } while (thread.is_preferred() && ++ticks < 20);
        EXPECT_GE(ticks, 2);
        EXPECT_LT(ticks, 20) << "it leaves all the time, and others have to run";
        boost.left_guest(thread.tid());
        EXPECT_FALSE(thread.is_preferred());
        pollfd timer{.fd = boost.timer(), .events = POLLIN, .revents = 0};
        EXPECT_EQ(::poll(&timer, 1, 10'000), 1) << "it rests for ever";
        boost.tick();
    }
}

TEST_F(Boost, ThreadsThatLeaveAtTheSameTimeDoNotStayPreferred) {
    std::array<Parked, 4> threads;
    for (int round = 0; round < 200; ++round) {
        std::barrier together{threads.size()};
        {
            std::array<std::jthread, threads.size()> leaving;
            for (std::size_t i = 0; i < threads.size(); ++i)
                leaving[i] = std::jthread{[&, i] {
                    together.arrive_and_wait();
                    for (int time = 0; time < 20; ++time)
                        boost.left_guest(threads[i].tid());
                }};
        }
        ASSERT_LE(std::ranges::count_if(threads, &Parked::is_preferred), 1) << "round " << round;
    }
    boost.tick();
    boost.tick();
    for (const auto& thread : threads)
        EXPECT_FALSE(thread.is_preferred());
}

TEST_F(Boost, WhoTicksComesBeforeThePreferred) {
    {
        const TicksFirst first;
        sched_param priority{};
        ASSERT_EQ(::sched_getparam(0, &priority), 0);
        EXPECT_EQ(priority.sched_priority, 2);
        int inherited = -1;
        std::thread{[&] { inherited = ::sched_getscheduler(0); }}.join();
        EXPECT_EQ(inherited, SCHED_OTHER);
    }
    EXPECT_EQ(::sched_getscheduler(0), SCHED_OTHER);
}

} // namespace
} // namespace nestbed::machine
