// Fibers on one thread that sleep in epoll_wait() instead of on a condition variable, so that a fiber can
// wait for a file descriptor the way it waits for another fiber.
#pragma once

#include <chrono>

#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/mutex.hpp>

#include "base/error.hpp"

namespace nestbed::supervise {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

// Makes the calling thread's fibers use the scheduler; later calls on that thread change nothing. Errors:
// host_lacks when there is no descriptor left.
[[nodiscard]] Status use_epoll_scheduler();

// Waits for one descriptor, which stays the caller's. Made, used and destroyed by fibers of one thread that
// has called use_epoll_scheduler().
class Readable {
public:
    [[nodiscard]] static Result<Readable> watch(int fd);

    Readable(Readable&& other) noexcept;
    Readable& operator=(Readable&&) = delete;
    Readable(const Readable&) = delete;
    Readable& operator=(const Readable&) = delete;
    ~Readable();

    // Suspends the calling fiber until the descriptor has become readable since the last call, or until the
    // deadline. False: the deadline. Edge-triggered: the caller reads all there is.
    [[nodiscard]] bool wait_until(Deadline deadline);

    // Ends the wait as if the descriptor had become readable; for whoever takes the machine down.
    void interrupt();

    struct State; // public for the scheduler alone

private:
    explicit Readable(State* state) : _state{state} {}

    State* _state = nullptr;
};

} // namespace nestbed::supervise
