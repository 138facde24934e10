// Passes signals on from eventfds to eventfds, one to one, and counts them: what a device model does between
// an ioeventfd and an irqfd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace nestbed::stress {

class EventfdRelay {
public:
    struct Line {
        int from = -1; // both outlive the relay
        int to = -1;
    };
    struct Count {
        std::uint64_t signalled = 0; // read from the first
        std::uint64_t raised = 0;    // written to the second
    };

    // With a thread of its own until stop(). Errors: host_lacks.
    [[nodiscard]] static Result<EventfdRelay> start(std::vector<Line> lines);
    EventfdRelay(EventfdRelay&&) noexcept = default;
    EventfdRelay& operator=(EventfdRelay&&) = delete;
    EventfdRelay(const EventfdRelay&) = delete;
    EventfdRelay& operator=(const EventfdRelay&) = delete;
    ~EventfdRelay() { stop(); }

    // By line, once the thread has ended. May be called again.
    const std::vector<Count>& stop();

private:
    EventfdRelay() = default;

    Fd _epoll;
    Fd _end;
    std::vector<Line> _lines;
    std::vector<Count> _counts;
    std::thread _thread;
};

} // namespace nestbed::stress
