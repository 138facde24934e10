// L2 on many vCPUs at once, events between them, and VMCSs that move from one to another (SDM volume 3,
// "Software Use of Virtual-Machine Control Structures", "Other Causes of VM Exits").
//
// What spins has IF set, in L1 and in L2: Bochs lets no host interrupt out of a guest that spins without it.
#include <new>

#include "nested/guest/barrier.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/ept.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/vcpus.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

using guest::apic::Delivery;

constexpr std::uint8_t vector = 0x91;
conform::Barrier barrier;

enum class Paging { off, own, shared };

// EPT tables that live as long as the machine; those to be shared are vCPU 0's.
const ExtendedPageTables& tables_of(Paging paging) {
    static ExtendedPageTables* shared;
    auto& own = conform::allocate<ExtendedPageTables>();
    if (paging == Paging::own || guest::this_vcpu().vcpu == 0)
        own = ExtendedPageTables{};
    if (paging == Paging::own)
        return own;
    if (guest::this_vcpu().vcpu == 0)
        guest::store(shared, &own);
    conform::spin_until([&] { return guest::load(shared) != nullptr; });
    return *shared;
}
bool set_up_paging(L2& guest, Paging paging) {
    if (paging == Paging::off)
        return true;
    if (!has_ept()) {
        not_applicable("KVM does not offer EPT");
        return false;
    }
    tables_of(paging).use_in(guest);
    return true;
}

// Every vCPU runs an L2 of its own, over and over.
template<Paging paging, unsigned rounds>
void all_at_once() {
    L2 guest;
    if (!set_up_paging(guest, paging))
        return;
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
        if (!guest.run_to(ExitReason::cpuid, Text{"round ", i}) ||
            !expect_equal(guest::load(sum), i * (own + 1), "what this vCPU's L2 has added up"))
            break;
        guest.skip();
    }
    barrier.wait();
}

} // namespace

// NOLINTBEGIN
#define SMP_ALL(count, rounds)                                                                               \
    VMX_CASE(smp_all_##count, "vmx.smp.all_" #count, "L2 runs on " #count " vCPUs at once", "VM Entries",    \
             (&all_at_once<Paging::off, rounds>), .vcpus = count)                                            \
    VMX_CASE(smp_all_##count##_ept, "vmx.smp.all_" #count "_ept",                                            \
             "L2 runs on " #count " vCPUs at once, each on its own EPT tables", "VM Entries",                \
             (&all_at_once<Paging::own, rounds>), .needs = "ept", .vcpus = count)                            \
    VMX_CASE(smp_all_##count##_shared, "vmx.smp.all_" #count "_shared_ept",                                  \
             "L2 runs on " #count " vCPUs at once on the same EPT tables", "VM Entries",                     \
             (&all_at_once<Paging::shared, rounds>), .needs = "ept", .vcpus = count)
// NOLINTEND
SMP_ALL(2, 500)
SMP_ALL(4, 300)
SMP_ALL(16, 50)

// vCPU 0 sends, one at a time; the others are in L2.
namespace {

// As many as go through in this time, and no more than that: an emulated host is slow.
constexpr std::uint64_t storm_ms = 1000;
constexpr unsigned storm_most = 500;

// With external-interrupt exiting L1 gets each, with or without acknowledgement by the exit; without it L2
// does.
enum class To { l1, l1_acknowledged, l2 };

template<To to>
void storm() {
    static std::uint32_t finished;
    static std::uint32_t sent;
    static const conform::L2Context* contexts[64];
    static std::uint32_t acknowledged[64];
    count_interrupts(vector);
    const auto vcpus = guest::header().vcpus;
    const auto own = guest::this_vcpu().vcpu;
    const auto seen_by = [](std::uint32_t vcpu) {
        return interrupts_taken_by(vcpu, vector) + guest::load(contexts[vcpu]->interrupts[vector]) +
               guest::load(acknowledged[vcpu]);
    };
    if (own == 0) {
        barrier.wait();
        const auto until = guest::rdtsc() + guest::header().tsc_khz * storm_ms;
        for (unsigned i = 1; i <= storm_most && guest::rdtsc() < until; ++i) {
            guest::store(sent, i);
            for (std::uint32_t vcpu = 1; vcpu < vcpus; ++vcpu)
                send_event(vcpu, Delivery::fixed, vector);
            for (std::uint32_t vcpu = 1; vcpu < vcpus; ++vcpu)
                conform::spin_until([&] { return seen_by(vcpu) >= i; });
        }
        guest::store(finished, 1U);
        barrier.wait();
        expect(true, "every interrupt arrived");
        return;
    }
    L2 guest;
    contexts[own] = &guest.context();
    if (to == To::l2) {
        clear(Field::pin_based_controls, pin_based::external_interrupt_exiting);
        guest.context().end_of_interrupt = 1;
    }
    if (to == To::l1_acknowledged)
        set(Field::exit_controls, vm_exit::acknowledge_interrupt_on_exit);
    auto code = [] {
        while (guest::load(finished) == 0)
            guest::pause();
    };
    guest.start(code);
    set(Field::guest_rflags, rflags_if);
    barrier.wait();
    unsigned exits = 0;
    while (guest.run() == ExitReason::external_interrupt) {
        ++exits;
        const auto information = static_cast<std::uint32_t>(read(Field::exit_interruption_information));
        if (to == To::l1_acknowledged) {
            expect_equal(information, event(EventType::external_interrupt, vector),
                         "interruption information");
            guest::apic::write(guest::apic::Register::end_of_interrupt, 0);
            guest::add(acknowledged[own], 1U);
        } else {
            expect_equal(information >> 31, 0U, "interruption information, valid");
        }
    }
    expect(guest.at_end(), "L2's code runs to its end");
    for (int i = 0; i < 2000; ++i)
        guest::pause();
    expect_equal(seen_by(own), guest::load(sent), "interrupts that this vCPU has seen");
    // Those between an exit and the next entry are L1's own.
    expect(exits <= guest::load(sent), "no exit without an interrupt");
    if (to != To::l2)
        expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    barrier.wait();
}

} // namespace
// NOLINTBEGIN
#define SMP_STORM(name, title, count, ...)                                                                   \
    VMX_CASE(smp_storm_##name, "vmx.smp.ipi_" #name, title, "Other Causes of VM Exits",                      \
             (&storm<__VA_ARGS__>), .vcpus = count)
// NOLINTEND
SMP_STORM(exits, "Each of up to 500 interrupts to a vCPU in L2 reaches its L1 once", 2, To::l1)
SMP_STORM(exits_4, "Each of up to 500 interrupts to three vCPUs in L2 reaches their L1 once", 4, To::l1)
SMP_STORM(acknowledged,
          "Each of up to 500 interrupts to a vCPU in L2 is acknowledged by its exit or is L1's, once", 2,
          To::l1_acknowledged)
SMP_STORM(acknowledged_4, "The same of three vCPUs in L2", 4, To::l1_acknowledged)
SMP_STORM(delivered, "Each of up to 500 interrupts to a vCPU in L2 is seen once, in L2 or between its runs",
          2, To::l2)
SMP_STORM(delivered_4, "The same of three vCPUs in L2", 4, To::l2)

// From one L2 to another, through L1's APIC.
VMX_TEST(smp_l2_to_l2, "vmx.smp.l2_to_l2", "Two L2s on two vCPUs interrupt each other 30 times, once each",
         "Other Causes of VM Exits", .vcpus = 2) {
    static std::uint32_t taken[2];
    constexpr unsigned rounds = 30;
    const auto own = guest::this_vcpu().vcpu;
    const auto other = guest::mailbox_of(1 - own).apic_id;
    L2 guest;
    clear(Field::pin_based_controls, pin_based::external_interrupt_exiting);
    guest.context().end_of_interrupt = 1;
    guest.context().value[0] = own;
    guest.context().hook = [](guest::ExceptionFrame&) {
        guest::add(taken[conform::l2_context().value[0]], 1U);
        return true;
    };
    auto code = [&] {
        for (unsigned i = 1; i <= rounds; ++i) {
            if (own == 0)
                send_event_from_l2(other, Delivery::fixed, vector);
            while (guest::load(taken[own]) < i)
                guest::pause();
            if (own == 1)
                send_event_from_l2(other, Delivery::fixed, vector);
        }
    };
    set(Field::guest_rflags, rflags_if);
    // What comes before the entry waits for L2, since interrupts stay off until then.
    static std::uint32_t in_l2;
    auto begin = [&] {
        guest::add(in_l2, 1U);
        while (guest::load(in_l2) < 2)
            guest::pause();
        code();
    };
    guest.start(begin);
    count_interrupts(vector);
    guest.run_to_end();
    expect_equal(guest.context().interrupts[vector], rounds, "interrupts that L2 has seen");
    expect_equal(interrupts_taken_by(own, vector), 0U, "interrupts that L1 has seen");
    barrier.wait();
}

// An NMI from another vCPU.
namespace {
template<bool exits, bool halted>
void nmi_in_l2() {
    static std::uint32_t in_place;
    static std::uint32_t finished;
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        wait_ms(20);
        send_event(1, Delivery::nmi);
        conform::spin_until([] { return guest::load(finished) != 0; });
        expect_equal(guest::load(guest::this_vcpu().nmis), 0U, "NMIs that the sender has seen");
        return;
    }
    L2 guest;
    if (exits)
        set(Field::pin_based_controls, pin_based::nmi_exiting);
    clear(Field::primary_controls, primary::hlt_exiting);
    auto code = [&] {
        guest::store(in_place, 1U);
        while (guest::load(conform::l2_context().exceptions[2]) == 0) {
            if (halted)
                asm volatile("hlt");
            else
                guest::pause();
        }
    };
    guest.start(code);
    set(Field::guest_rflags, rflags_if);
    if (exits) {
        if (guest.run_to(ExitReason::exception_or_nmi, "the NMI")) {
            expect_equal(read(Field::exit_interruption_information), event(EventType::nmi, 2),
                         "interruption information");
            expect_equal(read(Field::guest_activity_state), halted ? 1U : 0U, "activity state");
        }
        expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    } else {
        guest.run_to_end("L2 takes its NMI and ends");
        expect_equal(guest.context().exceptions[2], 1U, "NMIs that L2 has seen");
    }
    expect_equal(guest::load(guest::this_vcpu().nmis), 0U, "NMIs that L1 has seen");
    guest::store(finished, 1U);
}
} // namespace
VMX_CASE(smp_nmi_exits, "vmx.smp.nmi_exits", "An NMI to a vCPU in L2 leaves L2 with NMI exiting",
         "Other Causes of VM Exits", (&nmi_in_l2<true, false>), .vcpus = 2)
VMX_CASE(smp_nmi_exits_hlt, "vmx.smp.nmi_exits_hlt",
         "An NMI to a vCPU whose L2 is in HLT leaves L2, saved in HLT", "Other Causes of VM Exits",
         (&nmi_in_l2<true, true>), .vcpus = 2)
VMX_CASE(smp_nmi_delivered, "vmx.smp.nmi_delivered", "An NMI to a vCPU in L2 without NMI exiting is L2's",
         "Other Causes of VM Exits", (&nmi_in_l2<false, false>), .vcpus = 2)
VMX_CASE(smp_nmi_delivered_hlt, "vmx.smp.nmi_delivered_hlt",
         "An NMI without NMI exiting wakes L2 from HLT and is its own", "Other Causes of VM Exits",
         (&nmi_in_l2<false, true>), .vcpus = 2)

// One VMCS, now on one vCPU and now on the other: VMCLEAR here, VMPTRLD and VMLAUNCH there.
namespace {
template<Paging paging>
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
    L2* moved = nullptr;
    if (own == 0) {
        moved = new (conform::allocate_pages(1)) L2;
        if (!set_up_paging(*moved, paging))
            return;
        moved->start(code);
        expect_equal(vmclear(moved->vmcs_pa()), Outcome::succeed, "VMCLEAR");
        guest::store(shared, moved);
    }
    barrier.wait();
    for (std::uint32_t i = own; i < turns; i += 2) {
        conform::spin_until([&] { return guest::load(turn) == i; });
        shared->clear();
        take_host_state(made, *shared);
        if (shared->run_to(ExitReason::cpuid, Text{"turn ", i})) {
            expect_equal(guest::load(counted), i + 1, "what L2 has counted");
            shared->skip();
        }
        expect_equal(vmclear(shared->vmcs_pa()), Outcome::succeed, "VMCLEAR");
        guest::store(turn, i + 1);
    }
    barrier.wait();
}
} // namespace
VMX_CASE(smp_in_turn, "vmx.smp.vmcs_in_turn",
         "Two vCPUs run the same VMCS in turn, cleared between, and L2 goes on where it was",
         "Software Use of Virtual-Machine Control Structures", &in_turn<Paging::off>, .vcpus = 2)
VMX_CASE(smp_in_turn_ept, "vmx.smp.vmcs_in_turn_ept", "The same with EPT",
         "Software Use of Virtual-Machine Control Structures", &in_turn<Paging::own>, .needs = "ept",
         .vcpus = 2)

VMX_TEST(smp_fields_move, "vmx.smp.vmcs_fields_move",
         "Every field that one vCPU wrote is there for another after VMCLEAR and VMPTRLD", "VMCLEAR",
         .vcpus = 2) {
    static std::uint64_t at;
    constexpr Field fields[]{Field::guest_es_selector,   Field::tsc_offset, Field::exception_bitmap,
                             Field::guest_es_base,       Field::host_rsp,   Field::cr0_read_shadow,
                             Field::guest_ia32_debugctl, Field::guest_rip,  Field::guest_tr_limit};
    const auto own = guest::this_vcpu().vcpu;
    L2 guest;
    if (own == 0) {
        for (unsigned i = 0; i < sizeof fields / sizeof fields[0]; ++i)
            write(fields[i], 0x1100 + i);
        expect_equal(vmclear(guest.vmcs_pa()), Outcome::succeed, "VMCLEAR");
        guest::store(at, guest.vmcs_pa());
    } else {
        conform::spin_until([] { return guest::load(at) != 0; });
        expect_equal(vmptrld(at), Outcome::succeed, "VMPTRLD");
        for (unsigned i = 0; i < sizeof fields / sizeof fields[0]; ++i)
            expect_equal(read(fields[i]), 0x1100U + i,
                         Text{"field ", conform::Hex{static_cast<std::uint32_t>(fields[i])}});
        expect_equal(vmclear(at), Outcome::succeed, "VMCLEAR");
    }
    expect(true, "this vCPU has done its part");
    barrier.wait();
}
// What the manual leaves undefined; that the host and the other vCPUs outlive it is not.
VMX_TEST(smp_active_twice, "vmx.smp.vmcs_active_twice",
         "A VMCS that is active on two vCPUs harms neither the host nor another L2",
         "Software Use of Virtual-Machine Control Structures", .vcpus = 2) {
    static std::uint64_t at;
    static std::uint32_t done;
    const auto own = guest::this_vcpu().vcpu;
    L2 guest;
    auto code = [] {
        for (;;)
            guest::cpuid(0, 0);
    };
    guest.start(code);
    if (own == 0) {
        guest.run_to(ExitReason::cpuid, "L2 runs");
        guest::store(at, guest.vmcs_pa());
        // Nothing of what comes back is judged.
        while (guest::load(done) == 0)
            guest.enter();
    } else {
        conform::spin_until([] { return guest::load(at) != 0; });
        for (unsigned i = 0; i < 200; ++i) {
            vmptrld(at);
            std::uint64_t value = 0;
            vmread(static_cast<std::uint32_t>(Field::guest_rip), value);
            if (i % 2 != 0)
                vmclear(at);
        }
        guest::store(done, 1U);
        guest.load();
        guest.run_to(ExitReason::cpuid, "the other L2 runs");
    }
    expect(true, "this vCPU has outlived it");
    barrier.wait();
}
VMX_TEST(smp_vmxoff_other, "vmx.smp.vmxoff_of_one", "VMXOFF on one vCPU leaves L2 on the other alone",
         "VMXOFF", .vcpus = 2) {
    static std::uint32_t running;
    static std::uint32_t finished;
    if (guest::this_vcpu().vcpu == 1) {
        L2 guest;
        auto code = [] {
            guest::store(running, 1U);
            while (guest::load(finished) == 0)
                guest::pause();
        };
        guest.start(code);
        set(Field::guest_rflags, rflags_if);
        guest.run_to_end("L2 runs on");
        return;
    }
    conform::spin_until([] { return guest::load(running) != 0; });
    for (int i = 0; i < 50; ++i) {
        expect_equal(vmxoff(), Outcome::succeed, "VMXOFF");
        expect_equal(vmxon(conform::physical(vmxon_region())), Outcome::succeed, "VMXON");
    }
    guest::store(finished, 1U);
}

} // namespace nestbed::vmx
