#include "stress/drivers/pace.hpp"

#include <algorithm>

namespace nestbed::stress {

using supervise::Clock;

Result<Paced> run_until_stopped(const StressContext& context, const machine::JobRequest& request,
                                const Table<std::uint64_t>& stop) {
    using namespace std::chrono_literals;
    auto& machine = *context.machine;
    const auto start = Clock::now();
    const auto ticker = context.supervisor.every(200ms, [&] {
        if (context.progress && context.duration > 0ms)
            context.progress(
                std::min(1.0, std::chrono::duration<double>{Clock::now() - start} / context.duration));
    });
    if (auto started = machine.start_job(request); !started)
        return tl::unexpected{started.error()};
    auto ended = machine.await_job(context.duration);
    if (!ended && ended.error().kind == ErrorKind::deadline) {
        __atomic_store_n(&stop.entries[0], 1, __ATOMIC_RELEASE);
        for (auto vcpu = request.first_vcpu; vcpu < request.end_vcpu; ++vcpu)
            if (auto woken = machine.signal_msi(vcpu, nestbed::wire::wake_vector); !woken)
                return tl::unexpected{woken.error()};
        ended = machine.await_job(context.deadline);
    }
    if (!ended)
        return tl::unexpected{ended.error()};
    return Paced{std::chrono::duration<double>(Clock::now() - start).count()};
}

Result<Paced> repeat_until_over(const StressContext& context,
                                const std::function<Status(std::uint64_t)>& batch) {
    const auto start = Clock::now();
    for (std::uint64_t number = 0; number == 0 || Clock::now() - start < context.duration; ++number) {
        if (auto ran = batch(number); !ran)
            return tl::unexpected{ran.error()};
        if (context.progress && context.duration.count() > 0)
            context.progress(
                std::min(1.0, std::chrono::duration<double>{Clock::now() - start} / context.duration));
    }
    return Paced{std::chrono::duration<double>(Clock::now() - start).count()};
}

} // namespace nestbed::stress
