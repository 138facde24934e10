// From any thread to the fibers of the control thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace nestbed::supervise {

// Any thread may push, one takes; never from a signal handler.
template<typename Event>
class EventQueue {
public:
    // Errors: host_lacks when there is no descriptor left.
    [[nodiscard]] Status open() {
        _wake = Fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        if (!_wake)
            return fail_errno(ErrorKind::host_lacks, "create an eventfd", "raise `ulimit -n`");
        return {};
    }

    // Becomes readable after a push. KVM may signal it as well (ioeventfd).
    [[nodiscard]] int fd() const noexcept { return _wake.get(); }

    void push(Event event) {
        {
            const std::lock_guard lock{_mutex};
            _events.push_back(std::move(event));
        }
        ring();
    }

    // Wakes the taker, with an event or without.
    void ring() {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written =
            ::write(_wake.get(), &one, sizeof one); // full counts as written
    }

    [[nodiscard]] std::vector<Event> take_all() {
        std::uint64_t drained = 0;
        [[maybe_unused]] const auto got = ::read(_wake.get(), &drained, sizeof drained);
        const std::lock_guard lock{_mutex};
        return std::exchange(_events, {});
    }

private:
    Fd _wake;
    std::mutex _mutex;
    std::vector<Event> _events;
};

} // namespace nestbed::supervise
