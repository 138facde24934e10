#include "core/machine/progress_boost.hpp"

#include <cerrno>
#include <cstring>
#include <sched.h>

#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace nestbed::machine {

namespace {

constexpr long tick_ns = 10'000'000;
// Nine tenths of the time for who is preferred; the kernel itself leaves others 50 ms after each 950.
constexpr unsigned ticks_before_rest = 4;
constexpr long rest_ns = 4'000'000;

// Before all that is not real-time. The kernel keeps a part of each processor's time for the others
// (sched(7), "Limiting the CPU usage of real-time processes").
bool set_preferred(pid_t tid, bool preferred) {
    sched_param priority{};
    priority.sched_priority = preferred ? 1 : 0;
    return ::sched_setscheduler(tid, preferred ? SCHED_RR : SCHED_OTHER, &priority) == 0;
}

} // namespace

bool ProgressBoost::is_allowed() {
    // Asked on this thread, which is put back at once.
    const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
    return ::sched_getscheduler(self) == SCHED_OTHER && set_preferred(self, true) &&
           set_preferred(self, false);
}

TicksFirst::TicksFirst() {
    sched_param priority{};
    priority.sched_priority = 2; // that of the preferred is 1
    ::sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &priority);
}

TicksFirst::~TicksFirst() {
    const sched_param usual{};
    ::sched_setscheduler(0, SCHED_OTHER, &usual);
}

Status ProgressBoost::open_timer() {
    _timer = Fd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    if (_timer.get() < 0)
        return fail(ErrorKind::host_lacks, "make a timer", std::strerror(errno),
                    "raise the limit of open files (ulimit -n)");
    return {};
}

void ProgressBoost::start_timer(long nanoseconds) const {
    const itimerspec once{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = nanoseconds}};
    ::timerfd_settime(_timer.get(), 0, &once, nullptr);
}

void ProgressBoost::prefer(pid_t tid) {
    if (_resting.load(std::memory_order_relaxed))
        return;
    if (const auto before = _preferred.exchange(tid); before != 0)
        set_preferred(before, false);
    else
        start_timer(tick_ns);
    set_preferred(tid, true);
    // Who came in between has tried to put this thread back, and may have done so too early. A thread that
    // stays preferred and does nothing but spin would keep all others of its processor waiting.
    if (_preferred.load() != tid)
        set_preferred(tid, false);
}

void ProgressBoost::put_back() {
    if (const auto preferred = _preferred.exchange(0); preferred != 0)
        set_preferred(preferred, false);
}

void ProgressBoost::tick() {
    std::uint64_t expirations = 0;
    [[maybe_unused]] const auto got = ::read(_timer.get(), &expirations, sizeof expirations);
    const bool served = _served.exchange(false, std::memory_order_relaxed);
    if (_resting) {
        _resting = false;
        _ticks = 0;
    } else if (!served) {
        _ticks = 0;
        put_back();
    } else if (++_ticks == ticks_before_rest) {
        _resting = true;
        put_back();
        start_timer(rest_ns);
        return;
    }
    // Also of one who had not seen that it rests.
    if (_preferred.load() != 0)
        start_timer(tick_ns);
}

} // namespace nestbed::machine
