#include "core/supervise/epoll_scheduler.hpp"

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/fiber/fiber.hpp>
#include <boost/fiber/future.hpp>
#include <boost/fiber/operations.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fd.hpp"

namespace nestbed::supervise {
namespace {

using namespace std::chrono_literals;

class ReadableTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(use_epoll_scheduler());
        ASSERT_TRUE(event);
    }

    static Deadline far() { return Clock::now() + 60s; }
    void signal() const {
        const std::uint64_t one = 1;
        ASSERT_EQ(::write(event.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    }
    void drain() const {
        std::uint64_t count = 0;
        ASSERT_EQ(::read(event.get(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
    }

    Fd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

TEST_F(ReadableTest, TimesOutAndNotBefore) {
    auto readable = Readable::watch(event.get());
    ASSERT_TRUE(readable) << readable.error().message();
    for (const auto wait : {0us, 100us, 1000us, 20'500us}) {
        const auto deadline = Clock::now() + wait;
        EXPECT_FALSE(readable->wait_until(deadline));
        EXPECT_GE(Clock::now(), deadline) << wait.count() << " us";
    }
}

TEST_F(ReadableTest, SeesWhatWasThereBefore) {
    signal();
    auto readable = Readable::watch(event.get());
    ASSERT_TRUE(readable);
    EXPECT_TRUE(readable->wait_until(far()));
}

TEST_F(ReadableTest, SeesEachEventOnce) {
    auto readable = Readable::watch(event.get());
    ASSERT_TRUE(readable);
    for (int i = 0; i < 3; ++i) {
        signal();
        EXPECT_TRUE(readable->wait_until(far()));
        drain();
        EXPECT_FALSE(readable->wait_until(Clock::now() + 2ms));
    }
}

TEST_F(ReadableTest, TellsOfAnEventOnceEvenWhereNobodyDrainsIt) {
    auto readable = Readable::watch(event.get());
    ASSERT_TRUE(readable);
    signal();
    EXPECT_TRUE(readable->wait_until(far()));
    EXPECT_FALSE(readable->wait_until(Clock::now() + 2ms)) << "edge-triggered";
    signal();
    EXPECT_TRUE(readable->wait_until(far()));
}

TEST_F(ReadableTest, AFiberMayBeWokenByAnotherThread) {
    boost::fibers::promise<int> promise;
    auto future = promise.get_future();
    const std::jthread other{[&] {
        std::this_thread::sleep_for(10ms);
        promise.set_value(7);
    }};
    EXPECT_EQ(future.get(), 7); // for ever, if nobody told this thread
}

TEST_F(ReadableTest, AnotherThreadWakesIt) {
    auto readable = Readable::watch(event.get());
    ASSERT_TRUE(readable);
    const std::jthread other{[this] {
        std::this_thread::sleep_for(10ms);
        signal();
    }};
    EXPECT_TRUE(readable->wait_until(Deadline::max()));
}

TEST_F(ReadableTest, InterruptEndsTheWait) {
    auto readable = Readable::watch(event.get());
    ASSERT_TRUE(readable);
    bool woken = false;
    boost::fibers::fiber waiter{[&] { woken = readable->wait_until(Deadline::max()); }};
    boost::this_fiber::yield();
    readable->interrupt();
    waiter.join();
    EXPECT_TRUE(woken);
}

TEST_F(ReadableTest, IsSeenWhileOtherFibersAreBusy) {
    auto readable = Readable::watch(event.get());
    ASSERT_TRUE(readable);
    bool over = false;
    std::vector<boost::fibers::fiber> busy;
    for (int i = 0; i < 2; ++i)
        busy.emplace_back([&] {
            while (!over)
                boost::this_fiber::yield();
        });
    signal();
    EXPECT_TRUE(readable->wait_until(Clock::now() + 30s));
    over = true;
    for (auto& fiber : busy)
        fiber.join();
}

// Whatever the scheduler does on the way into a wait, it must not wake the fiber that is on its way.
TEST_F(ReadableTest, MayBecomeReadyWhileTheFiberBeginsToWait) {
    auto readable = Readable::watch(event.get());
    ASSERT_TRUE(readable);
    for (int i = 0; i < 1000; ++i) {
        signal();
        ASSERT_TRUE(readable->wait_until(far())) << i;
        drain();
        // Two at once shift the rounds, else the scheduler's looks would fall on the same point of each.
        if (i % 7 == 0) {
            boost::fibers::fiber first{[] {}};
            boost::fibers::fiber second{[] {}};
            first.join();
            second.join();
        }
    }
}

TEST_F(ReadableTest, IsGoneFromTheSchedulerAfterIt) {
    {
        auto first = Readable::watch(event.get());
        ASSERT_TRUE(first);
    }
    auto second = Readable::watch(event.get()); // EEXIST if the first were still watched
    ASSERT_TRUE(second) << second.error().message();
    signal();
    EXPECT_TRUE(second->wait_until(far()));
}

TEST_F(ReadableTest, SeveralAtOnce) {
    const Fd other{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    auto first = Readable::watch(event.get());
    auto second = Readable::watch(other.get());
    ASSERT_TRUE(first);
    ASSERT_TRUE(second);
    signal();
    EXPECT_TRUE(first->wait_until(far()));
    EXPECT_FALSE(second->wait_until(Clock::now() + 2ms));
}

TEST_F(ReadableTest, RefusesWhatCannotBeWatched) {
    const auto closed = Readable::watch(-1);
    ASSERT_FALSE(closed);
    EXPECT_EQ(closed.error().kind, ErrorKind::host_lacks);
    EXPECT_THAT(closed.error().found, testing::HasSubstr("EBADF"));
}

TEST_F(ReadableTest, NeedsTheScheduler) {
    std::thread{[this] {
        const auto readable = Readable::watch(event.get());
        ASSERT_FALSE(readable);
        EXPECT_THAT(readable.error().found, testing::HasSubstr("no epoll scheduler"));
        ASSERT_TRUE(use_epoll_scheduler());
        EXPECT_TRUE(Readable::watch(event.get()));
    }}.join();
}

} // namespace
} // namespace nestbed::supervise
