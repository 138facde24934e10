// The control thread's side of a run: waits with deadlines, cancelled by SIGINT, SIGTERM and SIGHUP.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "core/supervise/epoll_scheduler.hpp"

namespace nestbed::supervise {

// While it lives, SIGINT, SIGTERM and SIGHUP end the process at once, as they do without a Supervisor: for
// work of the control thread that may wait for ever and that leaves nothing behind, such as reading from a
// pipe.
class EndAtOnce {
public:
    EndAtOnce();
    EndAtOnce(const EndAtOnce&) = delete;
    EndAtOnce& operator=(const EndAtOnce&) = delete;
    EndAtOnce(EndAtOnce&&) = delete;
    EndAtOnce& operator=(EndAtOnce&&) = delete;
    ~EndAtOnce();
};

// Whether one of these signals has come that the Supervisor has not taken yet, as its thread is at work. Any
// thread.
[[nodiscard]] bool is_end_pending();

// Made by the first thread before it starts others, since those inherit its signal mask. All of it is used by
// fibers of that thread only.
class Supervisor {
public:
    // Blocks SIGINT, SIGTERM and SIGHUP and takes them from a signalfd. Errors: host_lacks when there is no
    // descriptor left.
    [[nodiscard]] static Result<std::unique_ptr<Supervisor>> create();

    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;
    Supervisor(Supervisor&&) = delete;
    Supervisor& operator=(Supervisor&&) = delete;
    // Restores the signal mask.
    ~Supervisor();

    // Suspends the calling fiber until `condition` holds; it is looked at after every change(). Errors:
    // cancelled, or deadline with `what` as what was asked.
    [[nodiscard]] Status await(const std::function<bool()>& condition, Deadline deadline,
                               std::string_view what);

    // Something changed that a fiber may be waiting for.
    void change();

    [[nodiscard]] bool cancelled() const noexcept { return _signal != 0; }
    // As if the signal had come from outside.
    void cancel(int signal);

    // Runs `action` in a fiber of its own every `period`, until the returned guard is destroyed.
    class Ticker;
    [[nodiscard]] std::unique_ptr<Ticker> every(std::chrono::milliseconds period,
                                                std::function<void()> action);

private:
    explicit Supervisor(Fd signals);

    [[nodiscard]] Error cancellation() const;

    Fd _signals;
    int _signal = 0;
    bool _stopping = false;
    boost::fibers::mutex _mutex;
    boost::fibers::condition_variable _changed;
    std::unique_ptr<Readable> _signal_readable;
    boost::fibers::fiber _signal_fiber;
};

class Supervisor::Ticker {
public:
    Ticker(std::chrono::milliseconds period, std::function<void()> action);
    Ticker(const Ticker&) = delete;
    Ticker& operator=(const Ticker&) = delete;
    Ticker(Ticker&&) = delete;
    Ticker& operator=(Ticker&&) = delete;
    ~Ticker();

private:
    bool _stop = false;
    boost::fibers::mutex _mutex;
    boost::fibers::condition_variable _changed;
    boost::fibers::fiber _fiber;
};

} // namespace nestbed::supervise
