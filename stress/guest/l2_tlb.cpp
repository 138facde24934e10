// Changes to nested page tables that L2 guests on all vCPUs run on.
#include "core/guest/apic.hpp"
#include "stress/guest/l2_svm.hpp"
#include "stress/guest/l2_tables.hpp"
#include "stress/guest/l2_vmx.hpp"
#include "stress/guest/remap.hpp"

namespace nestbed::guest {

namespace {

namespace job = stress::wire::tlb;

// Before L2 leaves by itself. Now and then it stays for so long that a change to the tables meets it inside,
// where nothing but L1's interrupt gets it out; not on the vCPU that makes the changes.
constexpr unsigned reads_a_turn = 32;
constexpr unsigned reads_a_long_turn = 4096;
constexpr unsigned long_turns = 4;         // one of so many
constexpr std::uint32_t most_vcpus = 4096; // of KVM; the table is in .bss

job::State* shared;
// 1: the vCPU is to flush at its next entry.
std::uint32_t flush_wanted[most_vcpus];

// L2 has left for this. It does not run again before the flush, so the answer may come first.
void answer(std::uint64_t) {
    store(flush_wanted[this_vcpu().vcpu % most_vcpus], 1U);
    add(shared->answers, std::uint64_t{1});
}

template<typename Driver>
void run() {
    const auto given = remap_job();
    const auto vcpu = this_vcpu().vcpu;
    store(shared, given.state);
    set_interrupt_handler(job::vector, &answer);
    Driver::enable();
    Driver l2{shared_tables<Driver>(), L2Kind::whole};
    SplitMix random{mix(given.seed) + vcpu};
    std::uint64_t stop_l2 = 0;
    auto body = [&] {
        while (load(stop_l2) == 0) {
            const bool is_long = vcpu != 0 && random.below(long_turns) == 0;
            read_window(given, l2_window, random, is_long ? reads_a_long_turn : reads_a_turn);
            Driver::hypercall();
        }
    };
    l2.start(body);

    Remapper remapper{given};
    bool under_way = false;
    const auto direct = [&] {
        if (under_way && remapper.answered()) {
            remapper.complete();
            under_way = false;
        }
        if (under_way || load(*given.stop) != 0)
            return;
        remapper.begin([](std::uint64_t page, std::uint64_t physical) {
            Driver::map(*built_tables<Driver>, l2_window + page * nestbed::wire::page_bytes, physical);
        });
        under_way = true;
        store(flush_wanted[0], 1U);
        if (header().vcpus > 1)
            apic::write(apic::Register::interrupt_command,
                        apic::command(0, apic::Shorthand::all_but_self, apic::Delivery::fixed, job::vector));
    };
    for (;;) {
        if (vcpu == 0)
            direct();
        // Off from the look to the entry: an interrupt in between would be answered without its flush.
        disable_interrupts();
        if (exchange(flush_wanted[vcpu % most_vcpus], 0U) != 0) {
            l2.flush();
            ++given.counts->dropped;
        }
        const auto exit = l2.enter();
        enable_interrupts();
        if (exit == conform::L2Exit::interrupt)
            continue;
        if (exit != conform::L2Exit::hypercall || l2.at_end())
            break;
        l2.skip(3);
        if (load(*given.stop) != 0)
            store(stop_l2, std::uint64_t{1});
    }
    given.counts->ended = l2.at_end() ? 1 : 0;
}

} // namespace

NESTBED_JOB(l2_tlb_svm, "nested.l2_tlb_svm", "L2 never reads through a translation that L1 has flushed",
            "APM volume 2, 15.16 and 15.25.7") {
    run<SvmDriver>();
}
NESTBED_JOB(l2_tlb_vmx, "nested.l2_tlb_vmx", "L2 never reads through a translation that L1 has flushed",
            "SDM volume 3, Caching Translation Information") {
    run<VmxDriver>();
}

} // namespace nestbed::guest
