#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/guest/patience.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::exits;

void count_self_ipi(std::uint64_t) {
    auto& mailbox = this_vcpu();
    store(mailbox.job_value[done], mailbox.job_value[done] + 1);
}

void exit_once(std::uint64_t which, std::uint64_t round) {
    auto& mailbox = this_vcpu();
    switch (which) {
    case port_out:
        out32(wire::exit_port, static_cast<std::uint32_t>(round));
        break;
    case port_in:
        in32(wire::exit_port);
        break;
    case Kind::cpuid:
        guest::cpuid(0, 0);
        break;
    case read_msr:
        apic::read(apic::Register::id);
        break;
    case self_ipi:
        apic::write(
            apic::Register::interrupt_command,
            apic::command(0, apic::Shorthand::self, apic::Delivery::fixed, stress::wire::exits::vector));
        halt_until([&] { return load(mailbox.job_value[done]) > round; });
        return; // the handler counts
    default:
        return;
    }
    store(mailbox.job_value[done], round + 1);
}

} // namespace

NESTBED_JOB(exit_cost, "exits.cost", "What one exit costs, and that each one arrives", "") {
    auto& mailbox = this_vcpu();
    const auto which = job_argument(kind);
    const auto length = job_argument(iterations);
    const auto table = job_argument(samples);
    auto* const out = pointer_to<std::uint64_t>(table) + mailbox.vcpu * length;
    const Patience patience{job_argument(Argument::patience), job_argument(least)};
    set_interrupt_handler(stress::wire::exits::vector, &count_self_ipi);
    for (std::uint64_t round = 0; round < length && !patience.ends_before(round); ++round) {
        const auto start = rdtsc();
        exit_once(which, round);
        const auto end = rdtsc();
        if (table != 0)
            out[round] = end - start;
    }
}

} // namespace nestbed::guest
