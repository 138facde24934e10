#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::timer;

constexpr std::uint64_t tsc_deadline_mode = 2U << 17; // LVT timer 18:17 (SDM volume 3, 11.5.1)
constexpr std::uint64_t masked = 1U << 16;

void take_timer(std::uint64_t) {
    auto& mailbox = this_vcpu();
    const auto now = rdtsc();
    const auto round = mailbox.job_value[fired];
    const auto length = job_argument(rounds);
    auto& slot = pointer_to<std::uint64_t>(job_argument(lateness))[mailbox.vcpu * length + round % length];
    // Until now the slot holds the deadline.
    if (now < slot)
        ++mailbox.job_value[early];
    slot = now < slot ? 0 : now - slot;
    store(mailbox.job_value[fired], round + 1);
}

} // namespace

NESTBED_JOB(deadline_timer, "timer.deadline",
            "The TSC-deadline timer fires once for each time it is set, never early",
            "SDM volume 3, 11.5.4.1") {
    auto& mailbox = this_vcpu();
    set_interrupt_handler(vector, &take_timer);
    apic::write(apic::Register::lvt_timer, tsc_deadline_mode | vector);
    // The LVT write is ordered before the deadline's by the locked instruction in add() (SDM: MFENCE, xAPIC
    // mode).
    add(mailbox.job_value[early], std::uint64_t{0});
    const auto length = job_argument(rounds);
    const auto ticks = job_argument(delay) + job_argument(stagger) * mailbox.vcpu;
    for (std::uint64_t round = 0; round < length; ++round) {
        const auto deadline = rdtsc() + ticks;
        pointer_to<std::uint64_t>(job_argument(lateness))[mailbox.vcpu * length + round] = deadline;
        wrmsr(apic::tsc_deadline_msr, deadline);
        halt_until([&] { return load(mailbox.job_value[fired]) > round; });
    }
    wrmsr(apic::tsc_deadline_msr, 0);
    apic::write(apic::Register::lvt_timer, masked);
}

} // namespace nestbed::guest
