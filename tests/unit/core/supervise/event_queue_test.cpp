#include "core/supervise/event_queue.hpp"

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include <poll.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/supervise/epoll_scheduler.hpp"

namespace nestbed::supervise {
namespace {

using namespace std::chrono_literals;

bool is_readable(int fd) {
    pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&one, 1, 0) == 1;
}

TEST(EventQueue, IsReadableFromPushToTake) {
    EventQueue<int> queue;
    ASSERT_TRUE(queue.open());
    EXPECT_FALSE(is_readable(queue.fd()));
    EXPECT_TRUE(queue.take_all().empty());
    queue.push(1);
    queue.push(2);
    EXPECT_TRUE(is_readable(queue.fd()));
    EXPECT_THAT(queue.take_all(), testing::ElementsAre(1, 2));
    EXPECT_FALSE(is_readable(queue.fd()));
    EXPECT_TRUE(queue.take_all().empty());
}

TEST(EventQueue, LosesNothingOfManyThreads) {
    struct Event {
        std::size_t thread = 0;
        std::uint32_t number = 0;
    };
    constexpr std::size_t thread_count = 4;
    constexpr std::uint32_t each = 5'000;
    ASSERT_TRUE(use_epoll_scheduler());
    EventQueue<Event> queue;
    ASSERT_TRUE(queue.open());
    auto readable = Readable::watch(queue.fd());
    ASSERT_TRUE(readable);

    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread < thread_count; ++thread)
        threads.emplace_back([&queue, thread] {
            for (std::uint32_t number = 0; number < each; ++number)
                queue.push({thread, number});
        });
    std::vector<std::uint32_t> next(thread_count);
    const auto deadline = Clock::now() + 50s;
    for (std::size_t left = thread_count * each; left > 0;) {
        ASSERT_TRUE(readable->wait_until(deadline)) << left << " never came";
        for (const auto& event : queue.take_all()) {
            ASSERT_EQ(event.number, next[event.thread]) << "of thread " << event.thread;
            ++next[event.thread];
            --left;
        }
    }
    EXPECT_THAT(next, testing::Each(each));
}

} // namespace
} // namespace nestbed::supervise
