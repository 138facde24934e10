#include "core/machine/progress_boost.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace nestbed::machine {

namespace {

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

void ProgressBoost::prefer(pid_t tid) {
    // Two that come at the same time may both end up preferred, until either comes again.
    const auto before = _preferred.exchange(tid, std::memory_order_relaxed);
    if (before != 0)
        set_preferred(before, false);
    set_preferred(tid, true);
}

void ProgressBoost::tick() {
    if (_served.exchange(false, std::memory_order_relaxed))
        return;
    if (const auto idle = _preferred.exchange(0, std::memory_order_relaxed); idle != 0)
        set_preferred(idle, false);
}

} // namespace nestbed::machine
