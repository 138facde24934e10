// Shootdowns of L1's own translations.
#include "core/guest/apic.hpp"
#include "stress/guest/remap.hpp"

namespace nestbed::guest {

namespace {

namespace job = stress::wire::tlb;

constexpr std::uint64_t page_bytes = nestbed::wire::page_bytes;
// Linear addresses that nothing else uses: entry 128 of the PML4.
constexpr std::uint64_t window = std::uint64_t{128} << 39;
constexpr std::uint64_t entry_bits = 7; // present, write, user (SDM volume 3, 4.5.4)
constexpr unsigned between_looks = 256;

job::State* shared;
job::Counts* all_counts;

void drop_translations() {
    for (std::uint64_t page = 0; page < job::window_pages; ++page)
        asm volatile("invlpg (%0)" : : "r"(window + page * page_bytes) : "memory");
}

void answer(std::uint64_t) {
    drop_translations();
    ++all_counts[this_vcpu().vcpu].dropped;
    if (add(shared->answers, std::uint64_t{1}) + 2 == header().vcpus)
        apic::send(mailbox_of(0).apic_id, nestbed::wire::wake_vector);
}

// The window's page table, linked into the tables that all vCPUs run on.
std::uint64_t* make_window() {
    const auto tables = job_argument(job::pages);
    auto* const pml4 = pointer_to<std::uint64_t>(control_register<3>() & ~std::uint64_t{0xfff});
    pointer_to<std::uint64_t>(tables)[0] = (tables + page_bytes) | entry_bits;
    pointer_to<std::uint64_t>(tables + page_bytes)[0] = (tables + 2 * page_bytes) | entry_bits;
    store(pml4[window >> 39 & 511], tables | entry_bits);
    return pointer_to<std::uint64_t>(tables + 2 * page_bytes);
}

void shoot(const RemapJob& given) {
    auto* const table = make_window();
    Remapper remapper{given};
    SplitMix random{mix(given.seed)};
    do { // once at least, however late the vCPU is
        remapper.begin([&](std::uint64_t page, std::uint64_t physical) {
            // Cached, so that there is something to drop.
            if (table[page] != 0)
                load(*pointer_to<const std::uint64_t>(window + page * page_bytes));
            store(table[page], physical | entry_bits);
        });
        drop_translations();
        ++given.counts->dropped;
        // Before the interrupt, which leaves the guest: an emulator forgets all translations there.
        read_own_window(given, window);
        if (header().vcpus > 1)
            apic::write(apic::Register::interrupt_command,
                        apic::command(0, apic::Shorthand::all_but_self, apic::Delivery::fixed, job::vector));
        halt_until([&] { return remapper.answered(); });
        remapper.complete();
        read_window(given, window, random, job::window_pages);
    } while (load(*given.stop) == 0);
    if (header().vcpus > 1)
        apic::write(apic::Register::interrupt_command,
                    apic::command(0, apic::Shorthand::all_but_self, apic::Delivery::fixed,
                                  nestbed::wire::wake_vector));
}

struct Reader {
    RemapJob job;
    SplitMix random;
};

void read_until_stopped(void* argument) {
    auto& reader = *static_cast<Reader*>(argument);
    while (load(*reader.job.stop) == 0) {
        read_window(reader.job, window, reader.random, between_looks);
        if (load(reader.job.state->begun) == 0)
            pause();
    }
}

} // namespace

NESTBED_JOB(tlb_shootdown, "tlb.shootdown", "Nobody reads through a translation that was shot down",
            "SDM volume 3, 4.10.4 and 4.10.5; APM volume 2, 7.3.1") {
    const auto given = remap_job();
    const auto vcpu = this_vcpu().vcpu;
    // The same by every vCPU, the first of which sends no interrupt before it has done so itself.
    store(shared, given.state);
    store(all_counts, pointer_to<job::Counts>(job_argument(job::counts)));
    set_interrupt_handler(job::vector, &answer);
    if (vcpu == 0) {
        shoot(given);
    } else {
        // In ring 3, where guest code runs at full speed, and with a TLB, on every host.
        Reader reader{given, SplitMix{mix(given.seed) + vcpu}};
        run_in_user_mode(&read_until_stopped, &reader);
        // Where many share a PU, it may have come too late to see anything.
        if (given.counts->reads == 0) {
            halt_until([&] { return load(given.state->completed) != 0; });
            read_window(given, window, reader.random, job::window_pages);
        }
    }
    given.counts->ended = 1;
}

} // namespace nestbed::guest
