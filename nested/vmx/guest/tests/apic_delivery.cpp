// Virtual-interrupt delivery: RVI and SVI, delivery, EOI, self IPI, and what each leaves L2 for (SDM volume
// 3, "Virtual-Interrupt Delivery", "Evaluation and Delivery of Virtual Interrupts").
#include <utility>

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/placement.hpp"
#include "nested/vmx/guest/virtual_apic.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

using secondary::apic_register_virtualization;
using secondary::virtual_interrupt_delivery;
using secondary::virtualize_apic_accesses;
using secondary::virtualize_x2apic_mode;

constexpr std::uint64_t rflags_if = 0x200;
constexpr std::uint32_t msr_eoi = 0x80b;
constexpr std::uint32_t msr_self_ipi = 0x83f;

L2_SNIPPET(delivery_nop, "nop; nop");
L2_SNIPPET(delivery_sti, "sti; nop");
L2_SNIPPET(delivery_hlt, "hlt");
L2_SNIPPET(delivery_wrmsr, "wrmsr");
L2_SNIPPET(delivery_cr8, "mov %rbx, %cr8; nop");
L2_SNIPPET(delivery_write, "movl %eax, (%rbx); nop");
L2_SNIPPET(delivery_eoi_twice, "wrmsr; nop; wrmsr; nop");

bool offered(std::uint32_t also = 0) {
    if (!offers_apic(0, virtual_interrupt_delivery | also))
        return false;
    return true;
}

std::uint64_t status() {
    return read(Field::guest_interrupt_status);
}
// L2's handler has seen these vectors, in this order.
void expect_delivered(const VirtualApic& apic, std::initializer_list<std::uint8_t> vectors,
                      const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
    auto& context = const_cast<VirtualApic&>(apic).guest.context();
    expect_equal(context.delivered, vectors.size(), "interrupts that L2 has seen", file, line);
    unsigned i = 0;
    for (const auto vector : vectors)
        expect_equal(context.order[i++], vector, "vector", file, line);
}
struct Delivery : VirtualApic {
    explicit Delivery(const Snippet& code, std::uint32_t also = 0)
        : VirtualApic{virtual_interrupt_delivery | also} {
        // L0 has all pages of L2's that a delivery touches by then, and need not step in while one goes on:
        // that is for other tests, and Bochs names a stale event where it does.
        auto once = [] { asm volatile("int $0x21"); };
        guest.start(once);
        guest.run_to_end("L2 runs once beforehand");
        guest.context().delivered = 0;
        place(guest, code);
        set(Field::guest_rflags, rflags_if);
    }
    bool to_end(const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
        return guest.run_to(ExitReason::vmcall, "L2 runs on", file, line);
    }
};

} // namespace

VMX_TEST(apic_delivery_entry, "vmx.apic.delivery_at_entry",
         "A vector that RVI has at VM entry is delivered: VISR and SVI get it, VIRR and RVI lose it",
         "Virtual-Interrupt Delivery") {
    if (!offered())
        return;
    Delivery apic{delivery_nop};
    apic.request(0x61);
    if (!apic.to_end())
        return;
    expect_delivered(apic, {0x61});
    expect_equal(apic.guest.context().last.rip, delivery_nop.address(), "RIP that L2's handler has seen");
    expect(apic.is_set(Apic::in_service, 0x61), "VISR has the vector");
    expect(!apic.is_set(Apic::request, 0x61), "VIRR has it not");
    expect_equal(status(), 0x6100U, "guest interrupt status: SVI, RVI");
    expect_equal(apic.at(Apic::processor_priority), 0x60U, "VPPR");
}
VMX_TEST(apic_delivery_every, "vmx.apic.delivery_of_each_class", "Vectors of every class are delivered",
         "Virtual-Interrupt Delivery") {
    if (!offered())
        return;
    for (unsigned vector = 0x20; vector < 0x100; vector += 0x1f) {
        Delivery apic{delivery_nop};
        apic.request(static_cast<std::uint8_t>(vector));
        if (!apic.to_end())
            return;
        expect_delivered(apic, {static_cast<std::uint8_t>(vector)});
        expect_equal(status(), vector << 8, "guest interrupt status");
    }
}
VMX_TEST(apic_delivery_if, "vmx.apic.delivery_waits_for_if",
         "With IF clear RVI waits; STI lets it in one later",
         "Evaluation and Delivery of Virtual Interrupts") {
    if (!offered())
        return;
    Delivery apic{delivery_nop};
    clear(Field::guest_rflags, rflags_if);
    apic.request(0x61);
    if (!apic.to_end())
        return;
    expect_delivered(apic, {});
    expect_equal(status(), 0x61U, "guest interrupt status");
    expect(apic.is_set(Apic::request, 0x61), "VIRR has the vector");
    place(apic.guest, delivery_sti);
    if (!apic.to_end())
        return;
    expect_delivered(apic, {0x61});
    expect_equal(apic.guest.context().last.rip, delivery_sti.end(),
                 "RIP that the handler has seen: behind the NOP");
}
VMX_TEST(apic_delivery_tpr, "vmx.apic.delivery_waits_for_tpr",
         "A vector of VTPR's class waits, and comes when CR8 goes down",
         "Evaluation and Delivery of Virtual Interrupts") {
    if (!offered())
        return;
    Delivery apic{delivery_cr8};
    apic.request(0x61);
    apic.at(Apic::task_priority) = 0x60;
    apic.guest.registers.rbx = 6;
    if (!apic.to_end())
        return;
    expect_delivered(apic, {});
    expect_equal(apic.at(Apic::processor_priority), 0x60U, "VPPR");
    place(apic.guest, delivery_cr8);
    apic.guest.registers.rbx = 5;
    if (!apic.to_end())
        return;
    expect_delivered(apic, {0x61});
    expect_equal(apic.guest.context().last.rip, delivery_cr8.address() + 4, "RIP: behind the MOV to CR8");
}
VMX_TEST(apic_delivery_svi, "vmx.apic.delivery_waits_for_svi",
         "A vector of SVI's class waits, one of a higher class does not",
         "Evaluation and Delivery of Virtual Interrupts") {
    if (!offered())
        return;
    for (const std::uint8_t in_service : {std::uint8_t{0x65}, std::uint8_t{0x55}}) {
        Delivery apic{delivery_nop};
        apic.request(0x6f);
        apic.set_vector(Apic::in_service, in_service);
        write(Field::guest_interrupt_status, in_service << 8 | 0x6f);
        if (!apic.to_end())
            return;
        if (in_service == 0x65) {
            expect_delivered(apic, {});
            expect_equal(status(), 0x656fU, "guest interrupt status");
        } else {
            expect_delivered(apic, {0x6f});
            expect_equal(status(), 0x6f00U, "guest interrupt status");
            expect(apic.is_set(Apic::in_service, 0x55), "VISR has the older vector, too");
        }
    }
}
VMX_TEST(apic_delivery_two, "vmx.apic.delivery_of_two",
         "Two requests: the higher first, RVI becomes the other, which comes after the EOI",
         "Virtual-Interrupt Delivery") {
    if (!offered(virtualize_x2apic_mode))
        return;
    Delivery apic{delivery_eoi_twice, virtualize_x2apic_mode};
    apic.request(0x42);
    apic.request(0x83);
    apic.guest.registers.rcx = msr_eoi;
    apic.guest.registers.rax = 0;
    apic.guest.registers.rdx = 0;
    if (!apic.to_end())
        return;
    expect_delivered(apic, {0x83, 0x42});
    expect_equal(status(), 0U, "guest interrupt status");
    expect(!apic.is_set(Apic::in_service, 0x83) && !apic.is_set(Apic::in_service, 0x42), "VISR is empty");
    expect_equal(apic.at(Apic::processor_priority), 0U, "VPPR");
}
VMX_TEST(apic_delivery_hlt, "vmx.apic.delivery_wakes_hlt", "A virtual interrupt wakes L2 from the HLT state",
         "Evaluation and Delivery of Virtual Interrupts") {
    if (!offered())
        return;
    Delivery apic{delivery_nop};
    apic.request(0x61);
    write(Field::guest_activity_state, 1);
    clear(Field::primary_controls, primary::hlt_exiting);
    if (!apic.to_end())
        return;
    expect_delivered(apic, {0x61});
    expect_equal(read(Field::guest_activity_state), 0U, "activity state");
}
VMX_TEST(apic_delivery_blocked, "vmx.apic.delivery_waits_for_blocking",
         "Blocking by STI and by MOV SS holds a virtual interrupt back for one instruction",
         "Evaluation and Delivery of Virtual Interrupts") {
    if (!offered())
        return;
    for (const std::uint64_t blocking : {1U, 2U}) {
        Delivery apic{delivery_nop};
        apic.request(0x61);
        write(Field::guest_interruptibility_state, blocking);
        if (!apic.to_end())
            return;
        expect_delivered(apic, {0x61});
        expect_equal(apic.guest.context().last.rip, delivery_nop.address() + 1,
                     "RIP: behind one instruction");
    }
}
VMX_TEST(apic_delivery_window, "vmx.apic.delivery_interrupt_window",
         "Interrupt-window exiting comes before a virtual interrupt, which stays pending",
         "Evaluation and Delivery of Virtual Interrupts") {
    if (!offered())
        return;
    Delivery apic{delivery_nop};
    apic.request(0x61);
    set(Field::primary_controls, primary::interrupt_window_exiting);
    if (!apic.guest.run_to(ExitReason::interrupt_window, "the interrupt window"))
        return;
    expect_delivered(apic, {});
    expect_equal(status(), 0x61U, "guest interrupt status");
    expect_equal(read(Field::guest_rip), delivery_nop.address(), "guest RIP");
    clear(Field::primary_controls, primary::interrupt_window_exiting);
    if (apic.to_end())
        expect_delivered(apic, {0x61});
}
VMX_TEST(apic_delivery_injection, "vmx.apic.delivery_and_injection",
         "An injected event is first, the virtual interrupt before the handler's first instruction where IF "
         "is set",
         "Evaluation and Delivery of Virtual Interrupts") {
    if (!offered())
        return;
    Delivery apic{delivery_nop};
    apic.request(0x61);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x99));
    if (!apic.to_end())
        return;
    // The gate of the injected event clears IF, so that the virtual interrupt waits for its IRET.
    expect_delivered(apic, {0x99, 0x61});
    expect_equal(status(), 0x6100U, "guest interrupt status");
}

// EOI.
namespace {
void eoi(bool leaves, std::uint8_t vector, Field bitmap, std::uint64_t bits) {
    if (!offered(virtualize_x2apic_mode))
        return;
    Delivery apic{delivery_wrmsr, virtualize_x2apic_mode};
    apic.set_vector(Apic::in_service, vector);
    apic.set_vector(Apic::in_service, 0x23);
    write(Field::guest_interrupt_status, std::uint64_t{vector} << 8);
    write(bitmap, bits);
    apic.guest.registers.rcx = msr_eoi;
    apic.guest.registers.rax = 0;
    apic.guest.registers.rdx = 0;
    if (!apic.guest.run_to(leaves ? ExitReason::virtualized_eoi : ExitReason::vmcall, "EOI"))
        return;
    expect(!apic.is_set(Apic::in_service, vector), "VISR has lost the vector");
    expect_equal(status(), 0x2300U, "guest interrupt status: SVI is the next lower");
    expect_equal(apic.at(Apic::processor_priority), 0x20U, "VPPR");
    expect_equal(read(Field::guest_rip), delivery_wrmsr.end(), "guest RIP: behind the WRMSR");
    if (leaves)
        expect_equal(read(Field::exit_qualification), vector, "exit qualification: the vector");
}
} // namespace
// NOLINTBEGIN
#define APIC_EOI(name, title, ...)                                                                           \
    VMX_TEST(apic_eoi_##name, "vmx.apic.eoi_" #name, title, "EOI Virtualization") {                          \
        eoi(__VA_ARGS__);                                                                                    \
    }
// NOLINTEND
APIC_EOI(plain, "EOI takes SVI's vector from VISR, and SVI becomes the next", false, 0x71,
         Field::eoi_exit_bitmap_1, 0)
APIC_EOI(bitmap_0, "EOI of vector 0x3f leaves by bit 63 of EOI-exit bitmap 0", true, 0x3f,
         Field::eoi_exit_bitmap_0, std::uint64_t{1} << 63)
APIC_EOI(bitmap_1, "EOI of vector 0x40 leaves by bit 0 of EOI-exit bitmap 1", true, 0x40,
         Field::eoi_exit_bitmap_1, 1)
APIC_EOI(bitmap_2, "EOI of vector 0xa5 leaves by bit 37 of EOI-exit bitmap 2", true, 0xa5,
         Field::eoi_exit_bitmap_2, std::uint64_t{1} << 37)
APIC_EOI(bitmap_3, "EOI of vector 0xff leaves by bit 63 of EOI-exit bitmap 3", true, 0xff,
         Field::eoi_exit_bitmap_3, std::uint64_t{1} << 63)
APIC_EOI(bitmap_others, "EOI does not leave where every bit but its own is set", false, 0x71,
         Field::eoi_exit_bitmap_1, ~(std::uint64_t{1} << (0x71 - 0x40)))
VMX_TEST(apic_eoi_changed, "vmx.apic.eoi_bitmap_changed",
         "An EOI-exit bitmap that L1 changes counts at the next entry", "EOI Virtualization") {
    if (!offered(virtualize_x2apic_mode))
        return;
    Delivery apic{delivery_wrmsr, virtualize_x2apic_mode};
    for (unsigned round = 0; round < 4; ++round) {
        place(apic.guest, delivery_wrmsr);
        apic.guest.registers.rcx = msr_eoi;
        apic.guest.registers.rax = apic.guest.registers.rdx = 0;
        apic.set_vector(Apic::in_service, 0x71);
        write(Field::guest_interrupt_status, 0x7100);
        write(Field::eoi_exit_bitmap_1, round % 2 == 0 ? 0 : std::uint64_t{1} << (0x71 - 0x40));
        apic.guest.run_to(round % 2 == 0 ? ExitReason::vmcall : ExitReason::virtualized_eoi,
                          Text{"round ", round});
    }
}
VMX_TEST(apic_eoi_page, "vmx.apic.eoi_by_page",
         "A write of EOI to the APIC-access page is virtualized as well",
         "Virtualizing Writes to the APIC-Access Page") {
    if (!offered(virtualize_apic_accesses))
        return;
    Delivery apic{delivery_write, virtualize_apic_accesses};
    apic.set_vector(Apic::in_service, 0x71);
    write(Field::guest_interrupt_status, 0x7100);
    apic.guest.registers.rbx = apic.access_page() + 0xb0;
    apic.guest.registers.rax = 0;
    if (!apic.to_end())
        return;
    expect(!apic.is_set(Apic::in_service, 0x71), "VISR has lost the vector");
    expect_equal(status(), 0U, "guest interrupt status");
    expect(apic.access_page_untouched(), "the APIC-access page is as it was");
}

// Self IPI.
VMX_TEST(apic_self_ipi, "vmx.apic.self_ipi", "WRMSR of the self IPI requests its vector, which comes at once",
         "Self-IPI Virtualization") {
    if (!offered(virtualize_x2apic_mode))
        return;
    for (const std::uint8_t vector : {std::uint8_t{0x31}, std::uint8_t{0x9a}, std::uint8_t{0xfe}}) {
        Delivery apic{delivery_wrmsr, virtualize_x2apic_mode};
        apic.guest.registers.rcx = msr_self_ipi;
        apic.guest.registers.rax = vector;
        apic.guest.registers.rdx = 0;
        if (!apic.to_end())
            return;
        expect_delivered(apic, {vector});
        expect_equal(apic.guest.context().last.rip, delivery_wrmsr.end(), "RIP: behind the WRMSR");
        expect_equal(status(), std::uint64_t{vector} << 8, "guest interrupt status");
    }
}
VMX_TEST(apic_self_ipi_if, "vmx.apic.self_ipi_pending", "With IF clear the self IPI is in VIRR and RVI",
         "Self-IPI Virtualization") {
    if (!offered(virtualize_x2apic_mode))
        return;
    Delivery apic{delivery_wrmsr, virtualize_x2apic_mode};
    clear(Field::guest_rflags, rflags_if);
    apic.set_vector(Apic::request, 0x44);
    write(Field::guest_interrupt_status, 0x44);
    apic.guest.registers.rcx = msr_self_ipi;
    apic.guest.registers.rdx = 0;
    apic.guest.registers.rax = 0x33;
    if (!apic.to_end())
        return;
    expect(apic.is_set(Apic::request, 0x33), "VIRR has the vector");
    expect_equal(status(), 0x44U, "guest interrupt status: RVI is the higher");
    place(apic.guest, delivery_wrmsr);
    apic.guest.registers.rcx = msr_self_ipi;
    apic.guest.registers.rdx = 0;
    apic.guest.registers.rax = 0x77;
    if (!apic.to_end())
        return;
    expect_equal(status(), 0x77U, "guest interrupt status: RVI is the new one");
    expect_delivered(apic, {});
}
VMX_TEST(apic_self_ipi_low, "vmx.apic.self_ipi_vector_below_16",
         "A self IPI of a vector below 16 leaves L2 by exit 56, behind the WRMSR",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offered(virtualize_x2apic_mode))
        return;
    Delivery apic{delivery_wrmsr, virtualize_x2apic_mode};
    apic.guest.registers.rcx = msr_self_ipi;
    apic.guest.registers.rdx = 0;
    apic.guest.registers.rax = 0xf;
    if (!apic.guest.run_to(ExitReason::apic_write, "self IPI of 15"))
        return;
    expect_equal(read(Field::exit_qualification), 0x3f0U, "exit qualification");
    expect_equal(read(Field::guest_rip), delivery_wrmsr.end(), "guest RIP");
    expect_equal(apic.at(Apic::self_ipi), 0xfU, "virtual-APIC page");
}
VMX_TEST(apic_self_ipi_reserved, "vmx.apic.self_ipi_and_eoi_reserved",
         "WRMSR of EOI or self IPI with a reserved bit is #GP of L2's",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offered(virtualize_x2apic_mode))
        return;
    for (const auto& [index, value] : {std::pair{msr_eoi, std::uint64_t{1}},
                                       {msr_eoi, std::uint64_t{1} << 32},
                                       {msr_self_ipi, std::uint64_t{0x100}},
                                       {msr_self_ipi, std::uint64_t{1} << 32}}) {
        Delivery apic{delivery_wrmsr, virtualize_x2apic_mode};
        apic.set_vector(Apic::in_service, 0x71);
        write(Field::guest_interrupt_status, 0x7100);
        apic.guest.intercept_exception(13);
        apic.guest.registers.rcx = index;
        apic.guest.registers.rax = value & 0xffff'ffff;
        apic.guest.registers.rdx = value >> 32;
        expect_exception(apic.guest, delivery_wrmsr, 13, 0);
        expect_equal(status(), 0x7100U, "guest interrupt status");
    }
}
VMX_TEST(
    apic_icr_self, "vmx.apic.self_ipi_by_page",
    "A fixed, edge-triggered self IPI in the APIC-access page's ICR is virtualized; others leave by exit 56",
    "Self-IPI Virtualization") {
    if (!offered(virtualize_apic_accesses | apic_register_virtualization))
        return;
    constexpr std::uint32_t shorthand_self = 1U << 18;
    for (const auto& [value, stays] : {std::pair{shorthand_self | 0x61U, true},
                                       {0x61U, false},
                                       {shorthand_self | 0x4061U, true},
                                       {shorthand_self | 0x8061U, false},
                                       {shorthand_self | 0x461U, false},
                                       {shorthand_self | 0x0fU, false},
                                       {3U << 18 | 0x61U, false}}) {
        Delivery apic{delivery_write, virtualize_apic_accesses | apic_register_virtualization};
        apic.guest.registers.rbx = apic.access_page() + 0x300;
        apic.guest.registers.rax = value;
        const Text what{"ICR ", conform::Hex{value}};
        if (!apic.guest.run_to(stays ? ExitReason::vmcall : ExitReason::apic_write, what))
            continue;
        if (stays)
            expect_delivered(apic, {0x61});
        else
            expect_equal(read(Field::exit_qualification), 0x300U, "exit qualification");
    }
}
VMX_TEST(
    apic_status_kept, "vmx.apic.status_kept",
    "Guest interrupt status is of each VMCS, and an L2 without virtual-interrupt delivery leaves it alone",
    "Guest Non-Register State") {
    if (!offered())
        return;
    Delivery first{delivery_nop};
    clear(Field::guest_rflags, rflags_if);
    first.request(0x61);
    first.to_end();
    Delivery second{delivery_nop};
    second.request(0x72);
    second.to_end();
    expect_delivered(second, {0x72});
    first.guest.load();
    expect_equal(status(), 0x61U, "guest interrupt status of the first");
    place(first.guest, delivery_nop);
    set(Field::guest_rflags, rflags_if);
    clear(Field::secondary_controls, virtual_interrupt_delivery);
    first.to_end();
    expect_delivered(first, {});
    expect_equal(status(), 0x61U, "guest interrupt status, not used");
}
VMX_TEST(apic_delivery_threshold, "vmx.apic.delivery_ignores_threshold",
         "With virtual-interrupt delivery the TPR threshold does not count", "TPR Virtualization") {
    if (!offered())
        return;
    Delivery apic{delivery_cr8};
    write(Field::tpr_threshold, 8);
    apic.guest.registers.rbx = 2;
    apic.to_end();
    expect_equal(apic.at(Apic::task_priority), 0x20U, "VTPR");
}

} // namespace nestbed::vmx
