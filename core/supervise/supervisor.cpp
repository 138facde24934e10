#include "core/supervise/supervisor.hpp"

#include <csignal>
#include <mutex>
#include <utility>

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <fmt/format.h>

namespace nestbed::supervise {

namespace {

// SIGHUP unless it is ignored, as under nohup(1): a terminal that goes away ends the run in good order, too.
sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    struct sigaction hangup {};
    if (::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&set, SIGHUP);
    return set;
}

} // namespace

EndAtOnce::EndAtOnce() {
    const auto set = ending_signals();
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

EndAtOnce::~EndAtOnce() {
    const auto set = ending_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

bool is_end_pending() {
    sigset_t pending;
    sigemptyset(&pending);
    ::sigpending(&pending);
    return ::sigismember(&pending, SIGINT) == 1 || ::sigismember(&pending, SIGTERM) == 1 ||
           ::sigismember(&pending, SIGHUP) == 1;
}

Result<std::unique_ptr<Supervisor>> Supervisor::create() {
    if (auto ready = use_epoll_scheduler(); !ready)
        return tl::unexpected{ready.error()};
    const auto set = ending_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    Fd signals{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (!signals)
        return fail_errno(ErrorKind::host_lacks, "create a signalfd", "raise `ulimit -n`");
    auto supervisor = std::unique_ptr<Supervisor>{new Supervisor{std::move(signals)}};
    auto readable = Readable::watch(supervisor->_signals.get());
    if (!readable)
        return tl::unexpected{readable.error()};
    supervisor->_signal_readable = std::make_unique<Readable>(std::move(*readable));
    supervisor->_signal_fiber = boost::fibers::fiber{[self = supervisor.get()] {
        while (!self->_stopping) {
            [[maybe_unused]] const bool ready = self->_signal_readable->wait_until(Deadline::max());
            signalfd_siginfo info{};
            while (::read(self->_signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
                self->cancel(static_cast<int>(info.ssi_signo));
        }
    }};
    return supervisor;
}

Supervisor::Supervisor(Fd signals) : _signals{std::move(signals)} {}

Supervisor::~Supervisor() {
    _stopping = true;
    if (_signal_fiber.joinable()) {
        _signal_readable->interrupt();
        _signal_fiber.join();
    }
    const auto set = ending_signals();
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

Error Supervisor::cancellation() const {
    return {ErrorKind::cancelled, "run to the end", fmt::format("stopped by {}", ::sigdescr_np(_signal)), {}};
}

Status Supervisor::await(const std::function<bool()>& condition, Deadline deadline, std::string_view what) {
    std::unique_lock lock{_mutex};
    const bool woken = _changed.wait_until(lock, deadline, [&] { return cancelled() || condition(); });
    if (cancelled())
        return tl::unexpected{cancellation()};
    if (!woken)
        return fail(ErrorKind::deadline, std::string{what}, "not done within its deadline");
    return {};
}

void Supervisor::change() {
    _changed.notify_all();
}

void Supervisor::cancel(int signal) {
    _signal = signal;
    change();
}

std::unique_ptr<Supervisor::Ticker> Supervisor::every(std::chrono::milliseconds period,
                                                      std::function<void()> action) {
    return std::make_unique<Ticker>(period, std::move(action));
}

Supervisor::Ticker::Ticker(std::chrono::milliseconds period, std::function<void()> action)
    : _fiber{[this, period, action = std::move(action)] {
          std::unique_lock lock{_mutex};
          while (!_changed.wait_for(lock, period, [&] { return _stop; }))
              action();
      }} {}

Supervisor::Ticker::~Ticker() {
    _stop = true;
    _changed.notify_all();
    _fiber.join();
}

} // namespace nestbed::supervise
