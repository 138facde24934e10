// x2APIC MSRs of L2: L1's APIC where nothing virtualizes them, the virtual-APIC page where something does,
// and never the processor's own (SDM volume 3, "Virtualizing MSR-Based APIC Accesses").
#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/placement.hpp"
#include "nested/vmx/guest/virtual_apic.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

using secondary::apic_register_virtualization;
using secondary::virtual_interrupt_delivery;
using secondary::virtualize_x2apic_mode;

L2_SNIPPET(x2apic_read, "rdmsr");
L2_SNIPPET(x2apic_write, "wrmsr");

// Registers that stand still and that may be read. The virtual-APIC page holds something else in all of them.
constexpr Apic still[]{Apic::id,
                       Apic::version,
                       Apic::task_priority,
                       Apic::logical_destination,
                       Apic::spurious_vector,
                       Apic::lvt_timer,
                       Apic::initial_count,
                       Apic::divide};

// Values of L1's that differ from those after reset: what a processor's own APIC, or that of the level below,
// would not have by chance.
struct OwnApic {
    std::uint64_t spurious = guest::rdmsr(x2apic_msr(Apic::spurious_vector));
    std::uint64_t timer = guest::rdmsr(x2apic_msr(Apic::lvt_timer));
    OwnApic() {
        guest::wrmsr(x2apic_msr(Apic::task_priority), 0x20);
        guest::wrmsr(x2apic_msr(Apic::lvt_timer), 0x1'00c7); // masked
        guest::wrmsr(x2apic_msr(Apic::divide), 0xb);
    }
    ~OwnApic() {
        guest::wrmsr(x2apic_msr(Apic::task_priority), 0);
        guest::wrmsr(x2apic_msr(Apic::lvt_timer), timer);
        guest::wrmsr(x2apic_msr(Apic::spurious_vector), spurious);
    }
};

void aim(L2& guest, std::uint32_t index, bool write, std::uint64_t value = 0) {
    place(guest, write ? x2apic_write : x2apic_read);
    guest.registers.rcx = index;
    if (write) {
        guest.registers.rax = value & 0xffff'ffff;
        guest.registers.rdx = value >> 32;
    }
}
std::uint64_t read_in_l2(L2& guest, std::uint32_t index) {
    aim(guest, index, false);
    expect_executes(guest, x2apic_read);
    return guest.registers.rdx << 32 | guest.registers.rax;
}
void write_in_l2(L2& guest, std::uint32_t index, std::uint64_t value) {
    aim(guest, index, true, value);
    expect_executes(guest, x2apic_write);
}

void fill(const VirtualApic& apic) {
    for (std::uint32_t offset = 0; offset < 4096; offset += 4)
        apic.at(offset) = 0x6600'0000 | offset;
}

// What KVM's L0 must not give away: with MSR bitmaps that are all clear, each register is L1's.
void is_l1s(L2& guest, const char* when) {
    for (const auto reg : still)
        expect_equal(
            read_in_l2(guest, x2apic_msr(reg)), guest::rdmsr(x2apic_msr(reg)),
            Text{"register ", conform::Hex{static_cast<std::uint32_t>(reg)}, " as L1 has it, ", when});
}
void writes_are_l1s(L2& guest, const char* when) {
    write_in_l2(guest, x2apic_msr(Apic::spurious_vector), 0x1ee);
    expect_equal(guest::rdmsr(x2apic_msr(Apic::spurious_vector)), 0x1eeU,
                 Text{"spurious vector of L1, ", when});
    write_in_l2(guest, x2apic_msr(Apic::lvt_timer), 0x1'00d9);
    expect_equal(guest::rdmsr(x2apic_msr(Apic::lvt_timer)), 0x1'00d9U, Text{"LVT timer of L1, ", when});
    write_in_l2(guest, x2apic_msr(Apic::divide), 3);
    expect_equal(guest::rdmsr(x2apic_msr(Apic::divide)), 3U, Text{"divide configuration of L1, ", when});
}

} // namespace

VMX_TEST(apic_x2apic_plain, "vmx.apic.x2apic_not_virtualized",
         "Without any virtualization x2APIC MSRs that do not leave are L1's APIC",
         "Virtualizing MSR-Based APIC Accesses") {
    const OwnApic own;
    L2 guest;
    is_l1s(guest, "reads");
    writes_are_l1s(guest, "writes");
    write_in_l2(guest, x2apic_msr(Apic::task_priority), 0x40);
    expect_equal(guest::rdmsr(x2apic_msr(Apic::task_priority)), 0x40U, "TPR of L1");
}
VMX_TEST(apic_x2apic_shadow, "vmx.apic.x2apic_tpr_shadow_only",
         "The TPR shadow alone says nothing of x2APIC MSRs: they are L1's APIC",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, 0))
        return;
    const OwnApic own;
    VirtualApic apic;
    fill(apic);
    is_l1s(apic.guest, "with the TPR shadow");
    writes_are_l1s(apic.guest, "with the TPR shadow");
    write_in_l2(apic.guest, x2apic_msr(Apic::task_priority), 0x40);
    expect_equal(guest::rdmsr(x2apic_msr(Apic::task_priority)), 0x40U, "TPR of L1");
    expect_equal(apic.at(Apic::task_priority), 0x6600'0080U, "VTPR");
}
VMX_TEST(apic_x2apic_registers_only, "vmx.apic.x2apic_registers_without_mode",
         "APIC-register virtualization without x2APIC mode says nothing of MSRs: they are L1's APIC",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, apic_register_virtualization))
        return;
    const OwnApic own;
    VirtualApic apic{apic_register_virtualization};
    fill(apic);
    is_l1s(apic.guest, "with APIC-register virtualization");
    writes_are_l1s(apic.guest, "with APIC-register virtualization");
}
VMX_TEST(apic_x2apic_tpr, "vmx.apic.x2apic_tpr", "In virtualized x2APIC mode the TPR is VTPR, and L1's stays",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode))
        return;
    const OwnApic own;
    VirtualApic apic{virtualize_x2apic_mode};
    apic.at(Apic::task_priority) = 0x7c;
    expect_equal(read_in_l2(apic.guest, x2apic_msr(Apic::task_priority)), 0x7cU, "TPR that L2 reads");
    write_in_l2(apic.guest, x2apic_msr(Apic::task_priority), 0x95);
    expect_equal(apic.at(Apic::task_priority), 0x95U, "VTPR");
    expect_equal(guest::rdmsr(x2apic_msr(Apic::task_priority)), 0x20U, "TPR of L1");
}
VMX_TEST(apic_x2apic_threshold, "vmx.apic.x2apic_tpr_threshold",
         "WRMSR of the TPR of less than the threshold leaves L2 behind it", "TPR Virtualization") {
    if (!offers_apic(0, virtualize_x2apic_mode))
        return;
    VirtualApic apic{virtualize_x2apic_mode};
    apic.at(Apic::task_priority) = 0xf0;
    write(Field::tpr_threshold, 5);
    aim(apic.guest, x2apic_msr(Apic::task_priority), true, 0x4f);
    if (!apic.guest.run_to(ExitReason::tpr_below_threshold, "WRMSR of 0x4f"))
        return;
    expect_equal(read(Field::guest_rip), x2apic_write.end(), "guest RIP");
    expect_equal(apic.at(Apic::task_priority), 0x4fU, "VTPR");
}
VMX_TEST(apic_x2apic_tpr_gp, "vmx.apic.x2apic_tpr_reserved",
         "WRMSR of a TPR with a reserved bit is #GP of L2's", "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode))
        return;
    VirtualApic apic{virtualize_x2apic_mode};
    apic.at(Apic::task_priority) = 0x70;
    apic.guest.intercept_exception(13);
    for (const unsigned bit : {8U, 31U, 32U, 63U}) {
        aim(apic.guest, x2apic_msr(Apic::task_priority), true, std::uint64_t{1} << bit);
        expect_exception(apic.guest, x2apic_write, 13, 0);
        expect_equal(apic.at(Apic::task_priority), 0x70U, "VTPR");
    }
}
VMX_TEST(apic_x2apic_tpr_bitmap, "vmx.apic.x2apic_tpr_bitmap",
         "The MSR bitmap comes before virtualized x2APIC mode", "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode))
        return;
    VirtualApic apic{virtualize_x2apic_mode};
    apic.guest.msr_bitmap()[0x808 / 8] = 1;
    aim(apic.guest, 0x808, false);
    expect_exit(apic.guest, x2apic_read, ExitReason::rdmsr, 0);
    apic.guest.msr_bitmap()[0x808 / 8] = 0;
    apic.guest.msr_bitmap()[2048 + 0x808 / 8] = 1;
    aim(apic.guest, 0x808, true, 0x10);
    expect_exit(apic.guest, x2apic_write, ExitReason::wrmsr, 0);
    expect_equal(apic.at(Apic::task_priority), 0U, "VTPR");
}
VMX_TEST(apic_x2apic_others, "vmx.apic.x2apic_mode_others",
         "In virtualized x2APIC mode alone all registers but the TPR are L1's APIC",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode))
        return;
    const OwnApic own;
    VirtualApic apic{virtualize_x2apic_mode};
    fill(apic);
    for (const auto reg : still)
        if (reg != Apic::task_priority)
            expect_equal(read_in_l2(apic.guest, x2apic_msr(reg)), guest::rdmsr(x2apic_msr(reg)),
                         Text{"register ", conform::Hex{static_cast<std::uint32_t>(reg)}});
    writes_are_l1s(apic.guest, "in x2APIC mode");
}
VMX_TEST(apic_x2apic_registers, "vmx.apic.x2apic_registers_read",
         "With APIC-register virtualization RDMSR of any of 0x800 to 0x8ff is the virtual-APIC page's",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode | apic_register_virtualization))
        return;
    VirtualApic apic{virtualize_x2apic_mode | apic_register_virtualization};
    fill(apic);
    for (std::uint32_t index = 0x800; index < 0x8ff; ++index) {
        const auto offset = (index & 0xff) << 4;
        // The ICR is 64 bits: its upper half is at 0x304.
        aim(apic.guest, index, false);
        if (!expect_executes(apic.guest, x2apic_read))
            return;
        expect_equal(apic.guest.registers.rax, 0x6600'0000U | offset,
                     Text{"EAX of MSR ", conform::Hex{index}});
        expect_equal(apic.guest.registers.rdx, 0x6600'0004U | offset,
                     Text{"EDX of MSR ", conform::Hex{index}});
    }
}
VMX_TEST(apic_x2apic_registers_write, "vmx.apic.x2apic_registers_write",
         "APIC-register virtualization says nothing of WRMSR: all but the TPR are L1's APIC",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode | apic_register_virtualization))
        return;
    const OwnApic own;
    VirtualApic apic{virtualize_x2apic_mode | apic_register_virtualization};
    fill(apic);
    writes_are_l1s(apic.guest, "with APIC-register virtualization");
    expect_equal(apic.at(Apic::spurious_vector), 0x6600'00f0U, "virtual-APIC page");
}
VMX_TEST(apic_x2apic_registers_bitmap, "vmx.apic.x2apic_registers_bitmap",
         "A register whose bit of the MSR bitmap is set leaves, its neighbours do not",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode | apic_register_virtualization))
        return;
    VirtualApic apic{virtualize_x2apic_mode | apic_register_virtualization};
    fill(apic);
    for (const std::uint32_t index : {0x800U, 0x802U, 0x808U, 0x80fU, 0x83fU, 0x840U, 0x8ffU}) {
        apic.guest.msr_bitmap()[index / 8] = static_cast<std::uint8_t>(1U << index % 8);
        aim(apic.guest, index, false);
        expect_exit(apic.guest, x2apic_read, ExitReason::rdmsr, 0);
        for (const auto neighbour : {index - 1, index + 1})
            if (neighbour >= 0x800 && neighbour <= 0x8ff) {
                aim(apic.guest, neighbour, false);
                expect_executes(apic.guest, x2apic_read);
                expect_equal(apic.guest.registers.rax, 0x6600'0000U | (neighbour & 0xff) << 4, "EAX");
            }
        apic.guest.msr_bitmap()[index / 8] = 0;
    }
}
VMX_TEST(apic_x2apic_off_again, "vmx.apic.x2apic_mode_off_again",
         "After a run with all of it, L2 without it has L1's APIC again",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode | apic_register_virtualization | virtual_interrupt_delivery))
        return;
    const OwnApic own;
    VirtualApic apic{virtualize_x2apic_mode | apic_register_virtualization | virtual_interrupt_delivery};
    fill(apic);
    expect_equal(read_in_l2(apic.guest, 0x802), 0x6600'0024'6600'0020U, "x2APIC ID: the virtual-APIC page's");
    clear(Field::secondary_controls,
          virtualize_x2apic_mode | apic_register_virtualization | virtual_interrupt_delivery);
    apic.at(Apic::task_priority) = 0;
    is_l1s(apic.guest, "afterwards");
    L2 other;
    is_l1s(other, "another L2");
}
VMX_TEST(apic_x2apic_no_bitmap, "vmx.apic.x2apic_without_bitmaps",
         "Without MSR bitmaps every x2APIC MSR leaves, whatever is virtualized",
         "Instructions That Cause VM Exits Conditionally") {
    if (!offers_apic(0, virtualize_x2apic_mode))
        return;
    VirtualApic apic{virtualize_x2apic_mode};
    clear(Field::primary_controls, primary::use_msr_bitmaps);
    for (const std::uint32_t index : {0x802U, 0x808U, 0x80bU, 0x83fU}) {
        aim(apic.guest, index, false);
        expect_exit(apic.guest, x2apic_read, ExitReason::rdmsr, 0);
        aim(apic.guest, index, true, 0);
        expect_exit(apic.guest, x2apic_write, ExitReason::wrmsr, 0);
    }
}
VMX_TEST(apic_x2apic_eoi, "vmx.apic.x2apic_eoi_not_virtualized",
         "Without virtual-interrupt delivery WRMSR of EOI and self IPI is L1's APIC",
         "Virtualizing MSR-Based APIC Accesses") {
    if (!offers_apic(0, virtualize_x2apic_mode))
        return;
    VirtualApic apic{virtualize_x2apic_mode};
    apic.set_vector(Apic::in_service, 0x51);
    static std::uint32_t taken;
    guest::set_interrupt_handler(0x61, [](std::uint64_t) { ++taken; });
    write_in_l2(apic.guest, 0x80b, 0);
    expect(apic.is_set(Apic::in_service, 0x51), "VISR is as it was");
    // An interrupt of L1's: external interrupts leave L2, or come between its runs.
    aim(apic.guest, 0x83f, true, 0x61);
    const auto reason = apic.guest.run();
    expect(reason == ExitReason::vmcall || reason == ExitReason::external_interrupt,
           "WRMSR of the self IPI runs");
    for (unsigned i = 0; i < 1000 && guest::load(taken) == 0; ++i)
        guest::pause();
    expect_equal(guest::load(taken), 1U, "interrupts that L1 has taken");
    expect(!apic.is_set(Apic::request, 0x61), "VIRR is as it was");
}

} // namespace nestbed::vmx
