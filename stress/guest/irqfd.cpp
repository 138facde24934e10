#include "stress/wire/irqfd.hpp"
#include "core/guest/runtime.hpp"

namespace nestbed::guest {

namespace {

namespace job = stress::wire::irqfd;

job::Counts* count_table;
std::uint32_t* sample_table;
std::uint64_t samples_of_each;

// TSC at the write; of the vCPU's own.
struct alignas(64) Sent {
    std::uint64_t at;
};
Sent sent_at[job::most_vcpus];

void take(std::uint64_t) {
    const auto vcpu = this_vcpu().vcpu;
    if (vcpu >= job::most_vcpus)
        return count_spurious_interrupt(job::vector);
    const auto ticks = rdtsc() - sent_at[vcpu].at;
    auto& own = count_table[vcpu];
    auto& count = own.received;
    // Or the next write would be taken for answered, and the counts meet again in the end.
    if (count >= own.sent) {
        store(own.unasked, own.unasked + 1);
        return;
    }
    if (samples_of_each != 0) {
        constexpr std::uint64_t most = ~std::uint32_t{0};
        sample_table[vcpu * samples_of_each + count % samples_of_each] =
            static_cast<std::uint32_t>(ticks < most ? ticks : most);
    }
    store(count, count + 1);
}

} // namespace

NESTBED_JOB(irqfd_round_trip, "irqfd.round_trip",
            "Each write that signals an ioeventfd comes back by an irqfd", "") {
    const auto vcpu = this_vcpu().vcpu;
    const auto& stopped = *pointer_to<std::uint64_t>(job_argument(job::stop));
    // The same by every vCPU, and before any can be interrupted for it.
    store(count_table, pointer_to<job::Counts>(job_argument(job::counts)));
    store(sample_table, pointer_to<std::uint32_t>(job_argument(job::samples)));
    store(samples_of_each, job_argument(job::samples_each));
    set_interrupt_handler(job::vector, &take);
    if (vcpu >= job::most_vcpus)
        return;
    auto& counts = count_table[vcpu];
    auto& cell = *pointer_to<std::uint32_t>(job::address_of(vcpu));
    do { // once at least, however late the vCPU is
        ++counts.sent;
        sent_at[vcpu].at = rdtsc();
        if (job::uses_port(vcpu))
            out32(job::port_of(vcpu), 1);
        else
            store(cell, std::uint32_t{1});
        halt_until([&] { return load(counts.received) >= counts.sent; });
    } while (load(stopped) == 0);
    // A way out to user space and back, on which one that is left over is taken.
    in32(nestbed::wire::exit_port);
}

} // namespace nestbed::guest
