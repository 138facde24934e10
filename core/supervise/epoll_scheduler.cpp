#include "core/supervise/epoll_scheduler.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include <boost/fiber/algo/algorithm.hpp>
#include <boost/fiber/context.hpp>
#include <boost/fiber/operations.hpp>
#include <boost/fiber/scheduler.hpp>
#include <boost/fiber/type.hpp>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.hpp"

namespace nestbed::supervise {

struct Readable::State {
    int fd = -1;
    bool ready = false; // touched by one thread only; the mutex is for the condition variable's sake
    boost::fibers::mutex mutex;
    boost::fibers::condition_variable changed;

    void signal() {
        ready = true;
        changed.notify_all();
    }
};

namespace {

class EpollScheduler;
thread_local EpollScheduler* scheduler_of_this_thread = nullptr;

// Round robin, as Boost's default; only the sleeping is different.
class EpollScheduler final : public boost::fibers::algo::algorithm {
public:
    EpollScheduler(Fd epoll, Fd wake) : _epoll{std::move(epoll)}, _wake{std::move(wake)} {}

    [[nodiscard]] int epoll() const noexcept { return _epoll.get(); }

    void awakened(boost::fibers::context* context) noexcept override { context->ready_link(_ready); }

    boost::fibers::context* pick_next() noexcept override {
        if (_ready.empty())
            return nullptr;
        // Fibers that keep one another busy must not keep the descriptors from being seen. Only on behalf of
        // the dispatcher, which has its turn in every round: a fiber that begins to wait calls this with the
        // spinlock of its wait queue held, which waking it would wait for.
        if (++_picks >= picks_between_polls &&
            boost::fibers::context::active()->is_context(boost::fibers::type::dispatcher_context)) {
            _picks = 0;
            dispatch(0);
        }
        auto* const next = &_ready.front();
        _ready.pop_front();
        return next;
    }

    [[nodiscard]] bool has_ready_fibers() const noexcept override { return !_ready.empty(); }

    void suspend_until(const std::chrono::steady_clock::time_point& until) noexcept override {
        using std::chrono::milliseconds;
        if (until == std::chrono::steady_clock::time_point::max())
            return dispatch(-1);
        // Rounded up, or the last fraction of a millisecond would be spent spinning.
        const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
        dispatch(static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000)));
    }

    void notify() noexcept override {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written =
            ::write(_wake.get(), &one, sizeof one); // full counts as written
    }

private:
    static constexpr unsigned picks_between_polls = 64;

    void dispatch(int timeout_ms) noexcept {
        std::array<epoll_event, 16> events{};
        const int count =
            ::epoll_wait(_epoll.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
        for (int i = 0; i < count; ++i) {
            auto* const state = static_cast<Readable::State*>(events[static_cast<std::size_t>(i)].data.ptr);
            if (state != nullptr) {
                state->signal();
                continue;
            }
            std::uint64_t drained = 0;
            [[maybe_unused]] const auto got = ::read(_wake.get(), &drained, sizeof drained);
        }
    }

    Fd _epoll;
    Fd _wake;
    unsigned _picks = 0;
    boost::fibers::scheduler::ready_queue_type _ready;
};

} // namespace

Status use_epoll_scheduler() {
    if (scheduler_of_this_thread != nullptr)
        return {};
    Fd epoll{::epoll_create1(EPOLL_CLOEXEC)};
    Fd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    if (!epoll || !wake || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0)
        return fail_errno(ErrorKind::host_lacks, "create the control thread's epoll", "raise `ulimit -n`");
    auto scheduler = std::make_unique<EpollScheduler>(std::move(epoll), std::move(wake));
    scheduler_of_this_thread = scheduler.get();
    boost::fibers::context::active()->get_scheduler()->set_algo(
        boost::fibers::algo::algorithm::ptr_t{scheduler.release()});
    return {};
}

Result<Readable> Readable::watch(int fd) {
    auto state = std::make_unique<State>();
    state->fd = fd;
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = state.get()}};
    if (scheduler_of_this_thread == nullptr)
        return fail(ErrorKind::host_lacks, "watch a descriptor", "this thread has no epoll scheduler");
    if (::epoll_ctl(scheduler_of_this_thread->epoll(), EPOLL_CTL_ADD, fd, &event) != 0)
        return fail_errno(ErrorKind::host_lacks, "watch a descriptor (EPOLL_CTL_ADD)");
    return Readable{state.release()};
}

Readable::Readable(Readable&& other) noexcept : _state{std::exchange(other._state, nullptr)} {}

Readable::~Readable() {
    if (_state == nullptr)
        return;
    ::epoll_ctl(scheduler_of_this_thread->epoll(), EPOLL_CTL_DEL, _state->fd, nullptr);
    delete _state;
}

bool Readable::wait_until(Deadline deadline) {
    std::unique_lock lock{_state->mutex};
    const bool ready = _state->changed.wait_until(lock, deadline, [&] { return _state->ready; });
    _state->ready = false;
    return ready;
}

void Readable::interrupt() {
    _state->signal();
}

} // namespace nestbed::supervise
