#include "stress/wire/locks.hpp"

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/guest/pace.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::locks;
namespace job = stress::wire::locks;

constexpr std::uint64_t tsc_deadline_mode = 2U << 17; // LVT timer 18:17 (SDM volume 3, 11.5.1)
constexpr std::uint64_t masked = 1U << 16;

struct Work {
    State* state;
    Counts* counts;
    std::uint64_t how;
    std::uint64_t most_spins;
    bool has_ticket;
    std::uint64_t own_ticket;
    bool over;
    std::uint32_t* sleepers;
    std::uint32_t vcpus;
    std::uint32_t next_sleeper; // whom to wake, + 1
};

bool try_to_take(Work& work) {
    auto& lock = *work.state;
    for (std::uint64_t i = 0; i < work.most_spins; ++i) {
        if (work.how == ticket
                ? load(lock.serving) == work.own_ticket
                : load(lock.next) == 0 && compare_exchange(lock.next, std::uint64_t{0}, std::uint64_t{1}))
            return true;
        pause();
    }
    return false;
}

// In ring 3. Returns to sleep, to wake the next one, or with `over` set; a ticket that was drawn is served
// first.
void contend(void* argument) {
    auto& work = *static_cast<Work*>(argument);
    auto& lock = *work.state;
    for (;;) {
        if (!work.has_ticket) {
            if (told_to_stop()) {
                work.over = true;
                return;
            }
            work.own_ticket = work.how == ticket ? add(lock.next, std::uint64_t{1}) : 0;
            work.has_ticket = true;
        }
        if (!try_to_take(work))
            return;
        const auto seen = *static_cast<volatile std::uint64_t*>(&lock.counter);
        if (seen != *static_cast<volatile std::uint64_t*>(&lock.shadow))
            ++work.counts->torn;
        *static_cast<volatile std::uint64_t*>(&lock.counter) = seen + 1;
        *static_cast<volatile std::uint64_t*>(&lock.shadow) = seen + 1;
        ++work.counts->acquired;
        work.has_ticket = false;
        if (work.how == spin) {
            store(lock.next, std::uint64_t{0});
            continue;
        }
        // Serving is written before the sleeper is looked for, and a sleeper says so before it looks at
        // serving.
        const auto next = work.own_ticket + 1;
        exchange(lock.serving, next);
        work.next_sleeper = load(work.sleepers[next % work.vcpus]);
        if (work.next_sleeper != 0)
            return;
    }
}

void take_timer(std::uint64_t) {
    auto& value = this_vcpu().job_value[timers];
    store(value, value + 1);
}

} // namespace

NESTBED_JOB(lock_contention, "stress.lock", "One vCPU at a time holds the lock", "") {
    auto& mailbox = this_vcpu();
    Work work{pointer_to<State>(job_argument(state)),
              pointer_to<Counts>(job_argument(counts)) + mailbox.vcpu,
              job_argument(kind),
              job_argument(spins),
              false,
              0,
              false,
              pointer_to<std::uint32_t>(job_argument(sleepers)),
              header().vcpus,
              0};
    const auto ticks = job_argument(sleep);
    if (ticks != 0) {
        set_interrupt_handler(job::vector, &take_timer);
        apic::write(apic::Register::lvt_timer, tsc_deadline_mode | job::vector);
        // Orders the write to the LVT before the deadline's (SDM volume 3, 11.5.4.1).
        add(mailbox.job_value[timers], std::uint64_t{0});
    }
    while (!work.over) {
        work.next_sleeper = 0;
        run_in_user_mode(&contend, &work);
        if (work.next_sleeper != 0 && work.next_sleeper <= work.vcpus) {
            apic::send(mailbox_of(work.next_sleeper - 1).apic_id, nestbed::wire::wake_vector);
            continue;
        }
        if (work.over)
            break;
        ++work.counts->sleeps;
        if (work.how == ticket) {
            auto& own = work.sleepers[work.own_ticket % work.vcpus];
            exchange(own, mailbox.vcpu + 1);
            halt_until([&] { return load(work.state->serving) == work.own_ticket; });
            exchange(own, std::uint32_t{0});
        } else if (ticks != 0) {
            const auto fired = load(mailbox.job_value[timers]);
            wrmsr(apic::tsc_deadline_msr, rdtsc() + ticks);
            halt_until([&] { return load(mailbox.job_value[timers]) != fired; });
        }
    }
    if (ticks != 0)
        apic::write(apic::Register::lvt_timer, masked);
}

} // namespace nestbed::guest
