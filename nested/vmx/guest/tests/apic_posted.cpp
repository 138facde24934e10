// Posted interrupts: the notification vector is not an interrupt of anybody's, what the descriptor has
// becomes L2's (SDM volume 3, "Posted-Interrupt Processing").
#include "core/guest/runtime.hpp"
#include "nested/guest/barrier.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/virtual_apic.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;

namespace {

using guest::apic::Delivery;

constexpr std::uint8_t notification = 0xe1;

// 64 bytes: requests by vector, then outstanding notification in bit 256.
struct alignas(64) Descriptor64 {
    std::uint64_t requests[4];
    std::uint64_t control;
    std::uint64_t reserved[3];

    void post(std::uint8_t vector) {
        __atomic_fetch_or(&requests[vector / 64], std::uint64_t{1} << vector % 64, __ATOMIC_SEQ_CST);
        __atomic_fetch_or(&control, std::uint64_t{1}, __ATOMIC_SEQ_CST);
    }
};

bool offered() {
    if (!allowed_pin_based().may_set(pin_based::process_posted_interrupts)) {
        not_applicable("KVM does not offer posted interrupts");
        return false;
    }
    return offers_apic(0, secondary::virtual_interrupt_delivery);
}

struct Posted : VirtualApic {
    Descriptor64& descriptor = conform::allocate<Descriptor64>();

    Posted() : VirtualApic{secondary::virtual_interrupt_delivery} {
        write(Field::posted_interrupt_descriptor, conform::physical(&descriptor));
        write(Field::posted_interrupt_notification_vector, notification);
        set(Field::pin_based_controls,
            pin_based::process_posted_interrupts | pin_based::external_interrupt_exiting);
        set(Field::exit_controls, vm_exit::acknowledge_interrupt_on_exit);
        count_interrupts(notification);
    }
};

} // namespace

VMX_TEST(
    apic_posted_self, "vmx.apic.posted_notification",
    "The notification vector in L2 moves the descriptor's requests to VIRR and delivers the highest, no exit",
    "Posted-Interrupt Processing") {
    if (!offered())
        return;
    Posted apic;
    const auto id = guest::this_vcpu().apic_id;
    auto code = [&] {
        apic.descriptor.post(0x45);
        apic.descriptor.post(0xa2);
        send_event_from_l2(id, Delivery::fixed, notification);
        while (guest::load(conform::l2_context().interrupts[0xa2]) == 0)
            guest::pause();
    };
    apic.guest.start(code);
    set(Field::guest_rflags, rflags_if);
    apic.guest.run_to_end("L2 gets its interrupt without an exit");
    expect_equal(apic.guest.context().delivered, 1U,
                 "interrupts that L2 has seen: the other waits for the EOI");
    expect_equal(apic.descriptor.control & 1, 0U, "outstanding notification");
    expect_equal(apic.descriptor.requests[1] | apic.descriptor.requests[2], 0U, "requests of the descriptor");
    expect(apic.is_set(Apic::request, 0x45), "VIRR has the other");
    expect_equal(read(Field::guest_interrupt_status), 0xa245U, "guest interrupt status");
    expect_equal(interrupts_taken_by(guest::this_vcpu().vcpu, notification), 0U,
                 "notifications that L1 has seen");
}
VMX_TEST(apic_posted_other, "vmx.apic.posted_other_vector", "Another vector in L2 leaves, acknowledged",
         "Posted-Interrupt Processing") {
    if (!offered())
        return;
    Posted apic;
    const auto id = guest::this_vcpu().apic_id;
    auto code = [&] {
        apic.descriptor.post(0x45);
        send_event_from_l2(id, Delivery::fixed, notification - 1);
        for (;;)
            guest::pause();
    };
    apic.guest.start(code);
    if (!apic.guest.run_to(ExitReason::external_interrupt, "the interrupt"))
        return;
    expect_equal(read(Field::exit_interruption_information),
                 event(EventType::external_interrupt, notification - 1), "interruption information");
    guest::apic::write(guest::apic::Register::end_of_interrupt, 0);
    expect_equal(apic.descriptor.control & 1, 1U, "outstanding notification, as it was");
    expect(!apic.is_set(Apic::request, 0x45), "VIRR");
}
VMX_TEST(apic_posted_none, "vmx.apic.posted_without_notification",
         "Requests without a notification stay where they are", "Posted-Interrupt Processing") {
    if (!offered())
        return;
    Posted apic;
    apic.descriptor.post(0x45);
    auto code = [] {
        for (int i = 0; i < 1000; ++i)
            guest::pause();
    };
    apic.guest.start(code);
    set(Field::guest_rflags, rflags_if);
    apic.guest.run_to_end();
    expect_equal(apic.guest.context().delivered, 0U, "interrupts that L2 has seen");
    expect_equal(apic.descriptor.requests[1], std::uint64_t{1} << (0x45 - 64), "requests of the descriptor");
}
VMX_TEST(apic_posted_root, "vmx.apic.posted_in_root",
         "Outside of L2 the notification vector is L1's interrupt", "Posted-Interrupt Processing") {
    if (!offered())
        return;
    Posted apic;
    auto code = [] {};
    apic.guest.start(code);
    apic.guest.run_to_end();
    apic.descriptor.post(0x45);
    send_event(guest::this_vcpu().vcpu, Delivery::fixed, notification);
    for (int i = 0; i < 2000; ++i)
        guest::pause();
    expect_equal(interrupts_taken_by(guest::this_vcpu().vcpu, notification), 1U,
                 "notifications that L1 has seen");
    expect_equal(apic.descriptor.control & 1, 1U, "outstanding notification, as it was");
}
namespace {
template<bool halted>
void posted_from_other() {
    static conform::Barrier barrier;
    static Posted* posted;
    static std::uint32_t in_place;
    static std::uint32_t taken;
    constexpr unsigned rounds = 200;
    if (!offered() || !offers_apic(0, secondary::virtualize_x2apic_mode))
        return;
    if (guest::this_vcpu().vcpu == 0) {
        conform::spin_until([] { return guest::load(in_place) != 0; });
        wait_ms(20);
        for (unsigned i = 1; i <= rounds; ++i) {
            guest::load(posted)->descriptor.post(0x45);
            send_event(1, Delivery::fixed, notification);
            conform::spin_until([&] { return guest::load(taken) >= i; });
        }
        expect(true, "each posted interrupt arrived");
        barrier.wait();
        return;
    }
    Posted apic;
    clear(Field::primary_controls, primary::hlt_exiting);
    set(Field::secondary_controls, secondary::virtualize_x2apic_mode);
    apic.guest.context().end_of_interrupt = 1; // virtualized: of the virtual APIC
    apic.guest.context().hook = [](guest::ExceptionFrame&) {
        guest::add(taken, 1U);
        return true;
    };
    guest::store(posted, &apic);
    auto code = [] {
        guest::store(in_place, 1U);
        while (guest::load(taken) < rounds) {
            if (halted)
                asm volatile("sti; hlt; cli" : : : "memory");
            else
                guest::pause();
        }
    };
    apic.guest.start(code);
    set(Field::guest_rflags, halted ? 0 : rflags_if);
    apic.guest.run_to_end("L2 gets all of them without an exit");
    expect_equal(apic.guest.context().interrupts[0x45], rounds, "interrupts that L2 has seen");
    expect_equal(interrupts_taken_by(1, notification), 0U, "notifications that L1 has seen");
    barrier.wait();
}
} // namespace
VMX_CASE(apic_posted_smp, "vmx.apic.posted_from_other_vcpu",
         "Each of 200 posted interrupts to a vCPU in L2 is L2's", "Posted-Interrupt Processing",
         &posted_from_other<false>, .vcpus = 2)
VMX_CASE(apic_posted_smp_hlt, "vmx.apic.posted_wakes_hlt",
         "Each of 200 posted interrupts wakes an L2 in HLT and is its own", "Posted-Interrupt Processing",
         &posted_from_other<true>, .vcpus = 2)

} // namespace nestbed::vmx
