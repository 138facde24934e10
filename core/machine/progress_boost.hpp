// Lets the vCPU that makes progress run where many share a processor.
//
// A guest's spinning vCPUs look busy to the host, which gives each its fair share; the one that holds what
// they spin for gets no more than that: with 144 vCPUs on a processor, a 144th. What a device hears, it hears
// from a vCPU that does work, and most often from the one that holds the lock around that device. So the last
// vCPU that left the guest for a device is preferred, until another does or it has not done so for a while.
// Now and then none is for a moment: on a host of one processor whoever shows the guest's console, and the
// user's shell, would else get to run once a second.
#pragma once

#include <atomic>
#include <cstdint>

#include <sys/types.h>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace nestbed::machine {

// Shared by the vCPU threads of one machine.
class ProgressBoost {
public:
    // Whether this process may schedule its threads as it likes (CAP_SYS_NICE).
    [[nodiscard]] static bool is_allowed();

    // The calling thread, whose id is `tid`, is in user space to serve its vCPU.
    void left_guest(pid_t tid) {
        _served.store(true, std::memory_order_relaxed);
        if (_preferred.load(std::memory_order_relaxed) != tid) [[unlikely]]
            prefer(tid);
    }

    // timer() can be read from a few milliseconds after a vCPU was preferred, and tick() is due then. It
    // sleeps while none is: where little leaves the guest nobody is woken. Errors: host_lacks when there is
    // no descriptor left.
    [[nodiscard]] Status open_timer();
    [[nodiscard]] int timer() const noexcept { return _timer.get(); }

    // A vCPU that only computes, or spins, is no longer preferred; and none is for one tick in a few.
    void tick();

private:
    void prefer(pid_t tid);
    void put_back();
    void start_timer(long nanoseconds) const;

    Fd _timer; // goes off once; is started by who prefers a vCPU where none was, and by a tick that leaves
               // one
    std::atomic<pid_t> _preferred{0};
    std::atomic<bool> _served{false};  // since the last tick
    std::atomic<bool> _resting{false}; // until the next tick nobody is preferred
    unsigned _ticks = 0;               // since it rested
};

// While it lives, the thread that made it, and calls tick(), is scheduled before the preferred vCPU: on a
// host of one processor a vCPU that spins would else keep it from ever being put back, until the kernel's
// limit for real-time threads ends that, 0.95 s later. Threads that this one starts are not.
class TicksFirst {
public:
    TicksFirst();
    TicksFirst(const TicksFirst&) = delete;
    TicksFirst& operator=(const TicksFirst&) = delete;
    TicksFirst(TicksFirst&&) = delete;
    TicksFirst& operator=(TicksFirst&&) = delete;
    ~TicksFirst();
};

} // namespace nestbed::machine
