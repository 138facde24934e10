#include "stress/wire/exit_mix.hpp"

#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "stress/guest/pace.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::exit_mix;
namespace job = stress::wire::exit_mix;

void take(std::uint64_t) {
    auto& value = this_vcpu().job_value[taken];
    store(value, value + 1);
}

// What must be the same each time.
std::uint64_t exit_once(std::uint64_t kind, std::uint64_t round) {
    auto& mailbox = this_vcpu();
    switch (kind) {
    case pio:
        out32(wire::exit_port, static_cast<std::uint32_t>(round));
        return 0;
    case mmio:
        *pointer_to<volatile std::uint32_t>(wire::exit_page_gpa) = static_cast<std::uint32_t>(round);
        return 0;
    case msr:
        return apic::read(apic::Register::id);
    case job::cpuid: {
        const auto leaf = guest::cpuid(0, 0);
        return leaf.eax ^ (std::uint64_t{leaf.ebx} << 32) ^ leaf.ecx ^ (std::uint64_t{leaf.edx} << 16);
    }
    case hlt:
        disable_interrupts();
        apic::write(apic::Register::interrupt_command,
                    apic::command(0, apic::Shorthand::self, apic::Delivery::fixed, job::vector));
        while (load(mailbox.job_value[taken]) == round) {
            enable_interrupts_and_halt();
            disable_interrupts();
        }
        enable_interrupts();
        return load(mailbox.job_value[taken]) - round;
    default:
        return 0;
    }
}

} // namespace

NESTBED_JOB(exit_mix, "stress.exits", "Every exit arrives once and comes back with the same answer", "") {
    auto& mailbox = this_vcpu();
    auto& own = pointer_to<Counts>(job_argument(counts))[mailbox.vcpu];
    const auto each = job_argument(samples_each);
    auto* const table = pointer_to<std::uint32_t>(job_argument(samples)) + mailbox.vcpu * kinds * each;
    const auto last = job_argument(rounds);
    set_interrupt_handler(job::vector, &take);
    std::uint64_t first[kinds] = {};
    for (std::uint64_t kind = 0; kind < kinds; ++kind)
        first[kind] = kind == hlt ? 1 : kind == msr || kind == job::cpuid ? exit_once(kind, 0) : 0;
    std::uint64_t slot = 0;
    // Once at least, however late the vCPU is.
    for (std::uint64_t round = 0; round == 0 || (round < last && !told_to_stop()); ++round) {
        for (std::uint64_t kind = 0; kind < kinds; ++kind) {
            const auto start = rdtsc();
            const auto answer = exit_once(kind, round);
            const auto ticks = rdtsc() - start;
            table[kind * each + slot] = ticks < UINT32_MAX ? static_cast<std::uint32_t>(ticks) : UINT32_MAX;
            if (answer != first[kind])
                ++own.wrong[kind];
            store(own.made[kind], own.made[kind] + 1);
        }
        slot = slot + 1 == each ? 0 : slot + 1;
    }
}

} // namespace nestbed::guest
