#include "stress/drivers/eventfd_relay.hpp"

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <fmt/format.h>

#include "core/machine/process_limits.hpp"

namespace nestbed::stress {

namespace {

constexpr std::uint64_t end_tag = UINT64_MAX;

bool watch(int epoll, int fd, std::uint64_t tag) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = tag;
    return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void relay(int epoll, const EventfdRelay::Line* lines, EventfdRelay::Count* counts) {
    for (;;) {
        std::array<epoll_event, 64> events{};
        const int ready = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
        if (ready < 0 && errno != EINTR)
            return;
        for (int i = 0; i < ready; ++i) {
            const auto tag = events[static_cast<std::size_t>(i)].data.u64;
            if (tag == end_tag)
                return;
            std::uint64_t signals = 0;
            if (::read(lines[tag].from, &signals, sizeof signals) != sizeof signals)
                continue;
            counts[tag].signalled += signals;
            // One signal, one interrupt: what came together is raised together, and the counts tell.
            if (::write(lines[tag].to, &signals, sizeof signals) == sizeof signals)
                counts[tag].raised += signals;
        }
    }
}

} // namespace

Result<EventfdRelay> EventfdRelay::start(std::vector<Line> lines) {
    EventfdRelay made;
    made._epoll = Fd{::epoll_create1(EPOLL_CLOEXEC)};
    made._end = Fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    made._lines = std::move(lines);
    made._counts.resize(made._lines.size());
    bool watched = made._epoll && made._end && watch(made._epoll.get(), made._end.get(), end_tag);
    for (std::size_t i = 0; i < made._lines.size(); ++i)
        watched = watched && watch(made._epoll.get(), made._lines[i].from, i);
    if (!watched)
        return fail_errno(ErrorKind::host_lacks, fmt::format("watch {} eventfds", made._lines.size()),
                          "raise `ulimit -n`");
    // The vectors' contents stay where they are when the relay is moved.
    try {
        made._thread = std::thread{&relay, made._epoll.get(), made._lines.data(), made._counts.data()};
    } catch (const std::system_error& error) {
        return tl::unexpected{
            machine::thread_refused("start the thread between eventfds", error.code().value(),
                                    machine::threads_needed(made._lines.size()), machine::threads_allowed())};
    }
    return made;
}

const std::vector<EventfdRelay::Count>& EventfdRelay::stop() {
    if (_thread.joinable()) {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto told = ::write(_end.get(), &one, sizeof one);
        _thread.join();
    }
    return _counts;
}

} // namespace nestbed::stress
