#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/guest/ipi_trace.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::broadcast;

void wake(std::uint32_t vcpu) {
    apic::send(mailbox_of(vcpu).apic_id, nestbed::wire::wake_vector);
}

// The last receiver of a round wakes the initiator, which is who waits.
void take() {
    auto& mailbox = this_vcpu();
    auto& shared = *pointer_to<State>(job_argument(state));
    const auto round = load(shared.round);
    if (shared.rings != 0 && round < job_argument(rounds))
        keep(shared.rings + mailbox.vcpu * shared.ring_bytes,
             {pointer_to<const std::uint32_t>(job_argument(initiators))[round], mailbox.vcpu,
              load(shared.sent_at), rdtsc()});
    store(mailbox.job_value[received_count], mailbox.job_value[received_count] + 1);
    const auto others = std::uint64_t{header().vcpus} - 1;
    const auto total = add(shared.received, std::uint64_t{1}) + 1;
    if (total == (round + 1) * others && round < job_argument(rounds))
        wake(pointer_to<const std::uint32_t>(job_argument(initiators))[round]);
}

void take_interrupt(std::uint64_t) {
    take();
}

void initiate(State& shared, std::uint64_t round, bool with_nmi) {
    const auto others = std::uint64_t{header().vcpus} - 1;
    const auto start = rdtsc();
    if (shared.rings != 0)
        store(shared.sent_at, start);
    apic::write(apic::Register::interrupt_command,
                apic::command(0, apic::Shorthand::all_but_self,
                              with_nmi ? apic::Delivery::nmi : apic::Delivery::fixed,
                              with_nmi ? std::uint8_t{0} : vector));
    halt_until([&] { return load(shared.received) >= (round + 1) * others; });
    pointer_to<std::uint64_t>(job_argument(latencies))[round] = rdtsc() - start;
}

} // namespace

NESTBED_JOB(broadcast_ipis, "ipi.broadcast", "A broadcast reaches every other vCPU exactly once",
            "SDM volume 3, 11.6.1; APM volume 2, 16.5") {
    auto& mailbox = this_vcpu();
    auto& shared = *pointer_to<State>(job_argument(state));
    const auto* const order = pointer_to<const std::uint32_t>(job_argument(initiators));
    const auto last = job_argument(rounds);
    const bool with_nmi = job_argument(use_nmi) != 0;

    disable_interrupts();
    set_interrupt_handler(vector, with_nmi ? &count_spurious_interrupt : &take_interrupt);
    set_nmi_handler(with_nmi ? &take : nullptr);
    enable_interrupts();
    // No round begins before all vCPUs have got here, or their counts would start from the middle.
    if (add(shared.arrived, std::uint64_t{1}) + 1 == header().vcpus)
        wake(order[0]);

    for (std::uint64_t round = 0; round < last; ++round) {
        if (order[round] != mailbox.vcpu)
            continue;
        halt_until([&] { return load(shared.round) == round && load(shared.arrived) == header().vcpus; });
        initiate(shared, round, with_nmi);
        store(shared.round, round + 1);
        if (round + 1 < last)
            wake(order[round + 1]);
        else
            apic::write(apic::Register::interrupt_command,
                        apic::command(0, apic::Shorthand::all_but_self, apic::Delivery::fixed,
                                      nestbed::wire::wake_vector));
    }
    halt_until([&] { return load(shared.round) == last; });
}

} // namespace nestbed::guest
