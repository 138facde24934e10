// L2 on many vCPUs at once, events between them, and VMCBs that another vCPU touches (APM volume 2, 15.5,
// 15.13, 15.15).
#include "nested/guest/barrier.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {

constexpr std::uint8_t vector = 0x91;
conform::Barrier barrier;
NestedPageTables* shared_tables; // made by vCPU 0, before the barrier

enum class Paging { off, own, shared };

void set_up_paging(L2& guest, Paging paging) {
    static std::uint64_t room[2];
    static_assert(sizeof(NestedPageTables) <= sizeof room);
    if (paging == Paging::own) {
        const NestedPageTables tables;
        tables.use_in(guest);
    }
    if (paging != Paging::shared)
        return;
    if (guest::this_vcpu().vcpu == 0) {
        auto* const tables = reinterpret_cast<NestedPageTables*>(room);
        *tables = NestedPageTables{};
        guest::store(shared_tables, tables);
    }
    conform::spin_until([] { return guest::load(shared_tables) != nullptr; });
    shared_tables->use_in(guest);
}

// Every vCPU runs an L2 of its own, over and over.
template<Paging paging, unsigned rounds>
void all_at_once() {
    L2 guest;
    set_up_paging(guest, paging);
    guest.intercept(Intercept::cpuid);
    const std::uint64_t own = guest::this_vcpu().vcpu;
    std::uint64_t sum = 0;
    auto code = [&] {
        for (;;) {
            sum += own + 1;
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    barrier.wait();
    for (unsigned i = 1; i <= rounds; ++i) {
        if (!guest.run_to(ExitCode::cpuid, conform::Text{"round ", i}) ||
            !expect_equal(guest::load(sum), i * (own + 1), "what this vCPU's L2 has added up"))
            break;
        guest.skip(2);
    }
    barrier.wait();
}

} // namespace

#define SMP_ALL(count, rounds)                                                                               \
    SVM_CASE(smp_all_##count, "svm.smp.all_" #count, "L2 runs on " #count " vCPUs at once", "15.5",          \
             (&all_at_once<Paging::off, rounds>), .vcpus = count)                                            \
    SVM_CASE(smp_all_##count##_npt, "svm.smp.all_" #count "_npt",                                            \
             "L2 runs on " #count " vCPUs at once, each on its own nested page tables", "15.25",             \
             (&all_at_once<Paging::own, rounds>), .needs = "npt", .vcpus = count)                            \
    SVM_CASE(smp_all_##count##_shared, "svm.smp.all_" #count "_shared_npt",                                  \
             "L2 runs on " #count " vCPUs at once on the same nested page tables", "15.25",                  \
             (&all_at_once<Paging::shared, rounds>), .needs = "npt", .vcpus = count)
SMP_ALL(2, 500)
SMP_ALL(4, 300)
SMP_ALL(16, 50)

// vCPU 0 sends; the others are in L2. Each interrupt is waited for, so that none may merge with another.
namespace {
// As many as go through in this time, and no more than that: an emulated host is slow.
constexpr std::uint64_t storm_ms = 1000;
constexpr unsigned storm_most = 1000;

std::uint64_t storm_ends() {
    return guest::rdtsc() + guest::header().tsc_khz * storm_ms;
}

template<bool delivered, bool paging>
void storm() {
    count_interrupts(vector);
    static std::uint32_t finished;
    static std::uint32_t count;
    static const conform::L2Context* contexts[64];
    const auto vcpus = guest::header().vcpus;
    const auto own = guest::this_vcpu().vcpu;
    if (own == 0) {
        barrier.wait();
        const auto until = storm_ends();
        for (unsigned i = 1; i <= storm_most && guest::rdtsc() < until; ++i) {
            count = i;
            for (std::uint32_t vcpu = 1; vcpu < vcpus; ++vcpu)
                send_event(vcpu, guest::apic::Delivery::fixed, vector);
            for (std::uint32_t vcpu = 1; vcpu < vcpus; ++vcpu)
                conform::spin_until([&] {
                    return interrupts_taken_by(vcpu, vector) +
                               guest::load(contexts[vcpu]->interrupts[vector]) >=
                           i;
                });
        }
        guest::store(finished, 1U);
        barrier.wait();
        expect(true, "every interrupt arrived");
        return;
    }
    L2 guest;
    contexts[own] = &guest.context();
    if (paging)
        set_up_paging(guest, Paging::own);
    guest.intercept(Intercept::intr, !delivered);
    guest.context().end_of_interrupt = 1;
    auto code = [] {
        while (guest::load(finished) == 0)
            guest::pause();
    };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    barrier.wait();
    unsigned exits = 0;
    while (guest.run() == ExitCode::intr)
        ++exits;
    expect(guest.at_end(), "L2's code runs to its end");
    settle();
    expect_equal(interrupts_taken(vector) + guest.context().interrupts[vector], count,
                 "interrupts that this vCPU has seen");
    // Those that come between an exit and the next VMRUN, or before the first, are L1's own.
    expect(exits <= count, "no INTR exit without an interrupt");
    if (!delivered)
        expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    barrier.wait();
}
} // namespace
SVM_CASE(smp_storm, "svm.smp.ipi_storm", "Each of up to 1000 interrupts to a vCPU in L2 reaches its L1 once",
         "15.13.1", (&storm<false, false>), .vcpus = 2)
SVM_CASE(smp_storm_4, "svm.smp.ipi_storm_4",
         "Each of up to 1000 interrupts to three vCPUs in L2 reaches their L1 once", "15.13.1",
         (&storm<false, false>), .vcpus = 4)
SVM_CASE(smp_storm_npt, "svm.smp.ipi_storm_npt",
         "Each of up to 1000 interrupts to a vCPU in L2 with nested paging reaches its L1 once", "15.13.1",
         (&storm<false, true>), .needs = "npt", .vcpus = 2)
SVM_CASE(smp_storm_l2, "svm.smp.ipi_storm_delivered",
         "Each of up to 1000 interrupts to a vCPU in L2 is seen once, in L2 or between its runs", "15.13.1",
         (&storm<true, false>), .vcpus = 2)
SVM_CASE(smp_storm_l2_4, "svm.smp.ipi_storm_delivered_4",
         "Each of up to 1000 interrupts to three vCPUs in L2 is seen once", "15.13.1", (&storm<true, false>),
         .vcpus = 4)
SVM_CASE(smp_storm_l2_npt, "svm.smp.ipi_storm_delivered_npt",
         "Each of up to 1000 interrupts to a vCPU in L2 with nested paging is seen once", "15.13.1",
         (&storm<true, true>), .needs = "npt", .vcpus = 2)

// From one L2 to another.
SVM_TEST(smp_l2_to_l2, "svm.smp.l2_to_l2", "Two L2s on two vCPUs interrupt each other 30 times, once each",
         "15.13.1", .vcpus = 2) {
    static std::uint32_t taken[2];
    constexpr unsigned rounds = 30;
    const auto own = guest::this_vcpu().vcpu;
    const auto other = guest::mailbox_of(1 - own).apic_id;
    L2 guest;
    guest.intercept(Intercept::intr, false);
    guest.context().end_of_interrupt = 1;
    guest.context().value[0] = own;
    guest.context().hook = [](guest::ExceptionFrame&) {
        guest::add(taken[conform::l2_context().value[0]], 1U);
        return true;
    };
    auto code = [&] {
        for (unsigned i = 1; i <= rounds; ++i) {
            if (own == 0)
                send_event_from_l2(other, guest::apic::Delivery::fixed, vector);
            while (guest::load(taken[own]) < i)
                guest::pause();
            if (own == 1)
                send_event_from_l2(other, guest::apic::Delivery::fixed, vector);
        }
    };
    guest.start(code);
    guest.save().rflags = rflags_fixed | rflags_if;
    count_interrupts(vector);
    // What comes before the VMRUN waits for L2: INTR is nobody else's.
    guest::disable_interrupts();
    barrier.wait();
    guest.run_to_end();
    guest::enable_interrupts();
    expect_equal(guest.context().interrupts[vector], rounds, "interrupts that L2 has seen");
    expect_equal(interrupts_taken(vector), 0U, "interrupts that L1 has seen");
    barrier.wait();
}

// One VMCB, now on one vCPU and now on the other: all of it is in memory between an exit and the next VMRUN
// (15.15.4: a VMCB that moves to another processor has no clean bits).
namespace {
template<bool paging>
void in_turn() {
    static L2* shared;
    static std::uint32_t turn;
    static std::uint64_t counted;
    constexpr std::uint32_t turns = 60;
    const auto own = guest::this_vcpu().vcpu;
    L2 made;
    auto code = [] {
        for (;;) {
            guest::add(counted, std::uint64_t{1});
            guest::cpuid(0, 0);
        }
    };
    if (own == 0) {
        if (paging) {
            const NestedPageTables tables;
            tables.use_in(made);
        }
        made.intercept(Intercept::cpuid);
        made.start(code);
        guest::store(shared, &made);
    }
    barrier.wait();
    for (std::uint32_t i = own; i < turns; i += 2) {
        conform::spin_until([&] { return guest::load(turn) == i; });
        shared->control().clean = 0;
        shared->control().tlb_control = tlb_control::flush_all;
        const bool ran = shared->run_to(ExitCode::cpuid, conform::Text{"turn ", i});
        if (ran) {
            expect_equal(guest::load(counted), i + 1, "what L2 has counted");
            shared->skip(2);
        }
        guest::store(turn, i + 1);
    }
    barrier.wait();
}
} // namespace
SVM_CASE(smp_in_turn, "svm.smp.vmcb_in_turn",
         "Two vCPUs run the same VMCB in turn, and L2 goes on where it was", "15.5", &in_turn<false>,
         .vcpus = 2)
SVM_CASE(smp_in_turn_npt, "svm.smp.vmcb_in_turn_npt", "The same with nested paging", "15.5", &in_turn<true>,
         .needs = "npt", .vcpus = 2)

// Another vCPU rewrites the VMCB all the time: what VMRUN has checked must be what it uses. Each VMRUN either
// is refused or runs with the good value.
namespace {
L2_CODE(l2_read_cr0, 64, "mov %cr0, %rax; vmmcall");
L2_CODE(l2_read_cr4, 64, "mov %cr4, %rax; vmmcall");
L2_CODE(l2_read_efer, 64, "movl $0xc0000080, %ecx; rdmsr; vmmcall");
L2_CODE(l2_do_vmrun, 64, "vmrun %rax; vmmcall");

template<typename Field>
struct Rewrite {
    Field* field;
    Field good;
    Field bad;
};
std::uint32_t rewriting_ends;

template<typename Field>
void rewrite_until_told(const Rewrite<Field>& what) {
    while (guest::load(rewriting_ends) == 0) {
        guest::store(*what.field, what.bad);
        guest::pause();
        guest::store(*what.field, what.good);
    }
}

// `prepare` makes the VMCB and says what to rewrite; `judge` looks at an exit that is not INVALID.
template<typename Field, typename Prepare, typename Judge>
void rewritten(Prepare prepare, Judge judge) {
    static Rewrite<Field> rewrite;
    if (guest::this_vcpu().vcpu == 1) {
        barrier.wait();
        rewrite_until_told(rewrite);
        return;
    }
    L2 guest;
    const char* const code = prepare(guest, rewrite);
    barrier.wait();
    const auto until = storm_ends();
    for (int i = 0; i < 3000 && guest::rdtsc() < until; ++i) {
        start_blob(guest, code);
        guest.save().rflags = rflags_fixed;
        guest.registers = {};
        const auto exit = guest.enter();
        // KVM and the processor may each be the one to refuse; the width of the code is another test's.
        if (static_cast<std::uint32_t>(exit) == static_cast<std::uint32_t>(ExitCode::invalid))
            continue;
        if (!judge(guest, exit))
            break;
    }
    guest::store(rewriting_ends, 1U);
    expect(true, "every VMRUN was refused or ran with what was checked");
}
bool good_register(L2& guest, ExitCode exit, std::uint64_t mask, std::uint64_t value, const char* what) {
    return expect_equal(exit, ExitCode::vmmcall, "EXITCODE") &&
           expect_equal(guest.save().rax & mask, value, what);
}
} // namespace
SVM_TEST(smp_rewrite_vmrun, "svm.smp.vmcb_rewritten_vmrun_intercept",
         "While another vCPU toggles the VMRUN intercept, L2's VMRUN never runs", "15.5.1", .vcpus = 2) {
    rewritten<std::uint32_t>(
        [](L2& guest, Rewrite<std::uint32_t>& to) {
            // A page that is no VMCB; the intercept is checked after the address (15.9).
            guest.save().rax = conform::physical(conform::allocate_pages(1));
            auto& word = guest.control().intercept_misc2;
            to = {&word, word, word & ~1U};
            return l2_do_vmrun;
        },
        [](L2& guest, ExitCode exit) {
            return expect_equal(exit, ExitCode::vmrun,
                                conform::Text{"EXITCODE of L2's VMRUN, where L2 has seen exception ",
                                              guest.context().fatal.vector, " and ",
                                              guest.context().delivered, " events"});
        });
}
SVM_TEST(smp_rewrite_cr0, "svm.smp.vmcb_rewritten_cr0",
         "While another vCPU toggles CR0.NW with CD=0, L2 never runs with it", "15.5.1", .vcpus = 2) {
    rewritten<std::uint64_t>(
        [](L2& guest, Rewrite<std::uint64_t>& to) {
            auto& cr0 = guest.save().cr0;
            to = {&cr0, cr0, (cr0 | 1U << 29) & ~(std::uint64_t{1} << 30)};
            return l2_read_cr0;
        },
        [](L2& guest, ExitCode exit) {
            return good_register(guest, exit, 3U << 29, 0, "CR0.NW and CD in L2");
        });
}
SVM_TEST(smp_rewrite_cr4, "svm.smp.vmcb_rewritten_cr4",
         "While another vCPU toggles a reserved bit of CR4, L2 never runs with it", "15.5.1", .vcpus = 2) {
    rewritten<std::uint64_t>(
        [](L2& guest, Rewrite<std::uint64_t>& to) {
            auto& cr4 = guest.save().cr4;
            to = {&cr4, cr4, cr4 | std::uint64_t{1} << 40};
            return l2_read_cr4;
        },
        [](L2& guest, ExitCode exit) {
            return good_register(guest, exit, std::uint64_t{1} << 40, 0, "CR4 bit 40 in L2");
        });
}
SVM_TEST(smp_rewrite_efer, "svm.smp.vmcb_rewritten_efer",
         "While another vCPU toggles EFER.SVME, L2 never runs without it", "15.5.1", .vcpus = 2) {
    rewritten<std::uint64_t>(
        [](L2& guest, Rewrite<std::uint64_t>& to) {
            auto& efer = guest.save().efer;
            to = {&efer, efer, efer & ~msr::efer_bit::svme};
            return l2_read_efer;
        },
        [](L2& guest, ExitCode exit) {
            return good_register(guest, exit, msr::efer_bit::svme, msr::efer_bit::svme, "EFER.SVME in L2");
        });
}
SVM_TEST(smp_rewrite_asid, "svm.smp.vmcb_rewritten_asid",
         "While another vCPU toggles the ASID between 0 and 1, each VMRUN is refused or runs", "15.5.1",
         .vcpus = 2) {
    rewritten<std::uint32_t>(
        [](L2& guest, Rewrite<std::uint32_t>& to) {
            to = {&guest.control().asid, 1, 0};
            return l2_read_cr0;
        },
        [](L2& guest, ExitCode exit) { return good_register(guest, exit, 1, 1, "CR0.PE in L2"); });
}
// Not checked by VMRUN: bits of int_ctl that L1 was never offered must not take effect in between.
SVM_TEST(smp_rewrite_int_ctl, "svm.smp.vmcb_rewritten_int_ctl",
         "While another vCPU toggles AVIC's enable bits, L2 runs as if they were not there", "15.29.1",
         .vcpus = 2) {
    if ((svm_features() >> 13 & 1) != 0)
        return conform::not_applicable("the vCPU has AVIC (CPUID Fn8000_000A EDX bit 13)");
    rewritten<std::uint32_t>(
        [](L2& guest, Rewrite<std::uint32_t>& to) {
            to = {&guest.control().int_ctl, 0, int_ctl::avic_enable | int_ctl::x2avic_enable};
            return l2_read_cr0;
        },
        [](L2& guest, ExitCode exit) { return good_register(guest, exit, 1, 1, "CR0.PE in L2"); });
}

} // namespace nestbed::svm
