// The TPR shadow: CR8 of L2, and the TPR threshold (SDM volume 3, "Virtualizing CR8-Based TPR Accesses", "TPR
// Virtualization").
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

L2_SNIPPET(tpr_read, "mov %cr8, %rbx");
L2_SNIPPET(tpr_write, "mov %rbx, %cr8");

std::uint64_t own_tpr() {
    return guest::apic::read(guest::apic::Register::task_priority);
}
void set_own_tpr(std::uint64_t value) {
    guest::apic::write(guest::apic::Register::task_priority, value);
}

} // namespace

VMX_TEST(apic_cr8_read, "vmx.apic.cr8_read", "MOV from CR8 with the TPR shadow is bits 7:4 of VTPR",
         "Virtualizing CR8-Based TPR Accesses") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    for (std::uint32_t tpr = 0; tpr < 256; tpr += 15) {
        apic.at(Apic::task_priority) = tpr | 0xaabb'cc00;
        place(apic.guest, tpr_read);
        expect_executes(apic.guest, tpr_read);
        expect_equal(apic.guest.registers.rbx, tpr >> 4, Text{"CR8, VTPR ", conform::Hex{tpr}});
        expect_equal(apic.at(Apic::task_priority), tpr | 0xaabb'cc00U, "VTPR, as it was");
    }
}
VMX_TEST(apic_cr8_write, "vmx.apic.cr8_write",
         "MOV to CR8 with the TPR shadow writes VTPR, all 32 bits, and nothing else of the page",
         "Virtualizing CR8-Based TPR Accesses") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    for (std::uint32_t value = 0; value < 16; ++value) {
        for (std::uint32_t offset = 0; offset < 4096; offset += 4)
            apic.at(offset) = 0x1000'0000 | offset;
        place(apic.guest, tpr_write);
        apic.guest.registers.rbx = value;
        expect_executes(apic.guest, tpr_write);
        expect_equal(apic.at(Apic::task_priority), value << 4, "VTPR");
        for (std::uint32_t offset = 0; offset < 4096; offset += 4)
            if (offset != 0x80 && apic.at(offset) != (0x1000'0000 | offset))
                expect_equal(apic.at(offset), 0x1000'0000U | offset, Text{"offset ", conform::Hex{offset}});
    }
}
VMX_TEST(apic_cr8_l1, "vmx.apic.cr8_shadow_not_l1", "With the TPR shadow L2's CR8 is not L1's TPR",
         "Virtualizing CR8-Based TPR Accesses") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    set_own_tpr(0x20);
    place(apic.guest, tpr_write);
    apic.guest.registers.rbx = 9;
    expect_executes(apic.guest, tpr_write);
    expect_equal(own_tpr(), 0x20U, "TPR of L1");
    set_own_tpr(0x50);
    place(apic.guest, tpr_read);
    expect_executes(apic.guest, tpr_read);
    expect_equal(apic.guest.registers.rbx, 9U, "CR8 of L2");
    set_own_tpr(0);
}
VMX_TEST(apic_cr8_none, "vmx.apic.cr8_without_shadow",
         "Without the TPR shadow and without CR8 exiting L2's CR8 is L1's TPR",
         "Changes to Instruction Behavior in VMX Non-Root Operation") {
    const auto allowed = allowed_primary();
    if (!allowed.may_clear(primary::cr8_load_exiting | primary::cr8_store_exiting | primary::use_tpr_shadow))
        return not_applicable("CR8 exiting cannot be 0");
    L2 guest;
    clear(Field::primary_controls,
          primary::cr8_load_exiting | primary::cr8_store_exiting | primary::use_tpr_shadow);
    set_own_tpr(0x60);
    place(guest, tpr_read);
    expect_executes(guest, tpr_read);
    expect_equal(guest.registers.rbx, 6U, "CR8 that L2 reads");
    place(guest, tpr_write);
    guest.registers.rbx = 3;
    expect_executes(guest, tpr_write);
    expect_equal(own_tpr(), 0x30U, "TPR of L1, as L2 wrote it");
    expect_equal(guest::control_register<8>(), 3U, "CR8 of L1");
    set_own_tpr(0);
}
VMX_TEST(apic_cr8_exiting, "vmx.apic.cr8_exiting", "CR8 exiting comes before the TPR shadow",
         "Virtualizing CR8-Based TPR Accesses") {
    if (!offers_apic(primary::cr8_load_exiting | primary::cr8_store_exiting, 0))
        return;
    VirtualApic apic;
    apic.at(Apic::task_priority) = 0x70;
    write(Field::tpr_threshold, 5);
    set(Field::primary_controls, primary::cr8_load_exiting);
    place(apic.guest, tpr_write);
    apic.guest.registers.rbx = 2;
    expect_exit(apic.guest, tpr_write, ExitReason::control_register_access, 0x308);
    expect_equal(apic.at(Apic::task_priority), 0x70U, "VTPR");
    clear(Field::primary_controls, primary::cr8_load_exiting);
    set(Field::primary_controls, primary::cr8_store_exiting);
    place(apic.guest, tpr_read);
    expect_exit(apic.guest, tpr_read, ExitReason::control_register_access, 0x318);
}
VMX_TEST(apic_cr8_one, "vmx.apic.cr8_exiting_one_way",
         "CR8-load exiting says nothing of reads, nor the other way",
         "Instructions That Cause VM Exits Conditionally") {
    if (!offers_apic(primary::cr8_load_exiting | primary::cr8_store_exiting, 0))
        return;
    VirtualApic apic;
    apic.at(Apic::task_priority) = 0xb0;
    set(Field::primary_controls, primary::cr8_load_exiting);
    place(apic.guest, tpr_read);
    expect_executes(apic.guest, tpr_read);
    expect_equal(apic.guest.registers.rbx, 0xbU, "CR8");
    clear(Field::primary_controls, primary::cr8_load_exiting);
    set(Field::primary_controls, primary::cr8_store_exiting);
    place(apic.guest, tpr_write);
    apic.guest.registers.rbx = 4;
    expect_executes(apic.guest, tpr_write);
    expect_equal(apic.at(Apic::task_priority), 0x40U, "VTPR");
}
VMX_TEST(apic_cr8_reserved, "vmx.apic.cr8_reserved_gp", "MOV to CR8 of a value above 15 is #GP of L2's",
         "Virtualizing CR8-Based TPR Accesses") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    apic.at(Apic::task_priority) = 0x70;
    apic.guest.intercept_exception(13);
    for (const unsigned bit : {4U, 8U, 31U, 32U, 63U}) {
        place(apic.guest, tpr_write);
        apic.guest.registers.rbx = std::uint64_t{1} << bit;
        expect_exception(apic.guest, tpr_write, 13, 0);
        expect_equal(apic.at(Apic::task_priority), 0x70U, "VTPR");
    }
}
VMX_TEST(apic_threshold, "vmx.apic.tpr_threshold",
         "MOV to CR8 of less than the TPR threshold leaves L2 behind the instruction; of no less it does not",
         "TPR Virtualization") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    for (std::uint32_t threshold = 0; threshold < 16; threshold += 3)
        for (std::uint32_t value = 0; value < 16; ++value) {
            apic.at(Apic::task_priority) = 0xf0;
            write(Field::tpr_threshold, threshold);
            place(apic.guest, tpr_write);
            apic.guest.registers.rbx = value;
            const Text what{"threshold ", threshold, ", CR8 ", value};
            const bool leaves = value < threshold;
            if (!apic.guest.run_to(leaves ? ExitReason::tpr_below_threshold : ExitReason::vmcall, what))
                return;
            expect_equal(read(Field::guest_rip), tpr_write.end(), "guest RIP: behind the MOV");
            expect_equal(apic.at(Apic::task_priority), value << 4, "VTPR");
            if (leaves)
                expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
        }
}
VMX_TEST(apic_threshold_changed, "vmx.apic.tpr_threshold_changed",
         "A threshold that L1 changes counts from the next entry on", "TPR Virtualization") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    for (unsigned round = 0; round < 6; ++round) {
        apic.at(Apic::task_priority) = 0xf0;
        write(Field::tpr_threshold, round % 2 == 0 ? 8 : 3);
        place(apic.guest, tpr_write);
        apic.guest.registers.rbx = 5;
        apic.guest.run_to(round % 2 == 0 ? ExitReason::tpr_below_threshold : ExitReason::vmcall,
                          Text{"round ", round});
    }
}
VMX_TEST(apic_page_moved, "vmx.apic.virtual_apic_page_moved",
         "Another virtual-APIC page counts from the next entry on", "Virtualizing CR8-Based TPR Accesses") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    auto* const other = static_cast<std::uint32_t*>(conform::allocate_pages(1));
    for (unsigned round = 0; round < 6; ++round) {
        other[0x80 / 4] = 0x90;
        apic.at(Apic::task_priority) = 0x40;
        write(Field::virtual_apic_address,
              round % 2 == 0 ? conform::physical(other) : conform::physical(&apic.at(std::uint32_t{0})));
        place(apic.guest, tpr_read);
        expect_executes(apic.guest, tpr_read);
        expect_equal(apic.guest.registers.rbx, round % 2 == 0 ? 9U : 4U, "CR8");
    }
}
// At entry (SDM, "VM Exits Induced by the TPR Threshold"): with "virtualize APIC accesses", without virtual-
// interrupt delivery.
namespace {
void at_entry(std::uint32_t tpr, std::uint32_t threshold, bool leaves) {
    if (!offers_apic(0, secondary::virtualize_apic_accesses))
        return;
    VirtualApic apic{secondary::virtualize_apic_accesses};
    place(apic.guest, tpr_read);
    const auto rip = read(Field::guest_rip);
    apic.at(Apic::task_priority) = tpr;
    write(Field::tpr_threshold, threshold);
    if (!leaves) {
        expect_executes(apic.guest, tpr_read);
        return;
    }
    if (!apic.guest.run_to(ExitReason::tpr_below_threshold, "VM entry"))
        return;
    expect_equal(read(Field::guest_rip), rip, "guest RIP: nothing of L2 ran");
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
    expect_equal(apic.at(Apic::task_priority), tpr, "VTPR");
}
} // namespace
VMX_TEST(apic_entry_below, "vmx.apic.tpr_below_at_entry",
         "VTPR below the threshold leaves right after VM entry", "VM Exits Induced by the TPR Threshold") {
    at_entry(0x3f, 4, true);
}
VMX_TEST(apic_entry_equal, "vmx.apic.tpr_equal_at_entry", "VTPR of the threshold does not leave at VM entry",
         "VM Exits Induced by the TPR Threshold") {
    at_entry(0x40, 4, false);
}
VMX_TEST(apic_entry_zero, "vmx.apic.tpr_zero_at_entry", "A threshold of 0 never leaves at VM entry",
         "VM Exits Induced by the TPR Threshold") {
    at_entry(0, 0, false);
}
VMX_TEST(apic_entry_check, "vmx.apic.tpr_below_refused",
         "Without virtualized APIC accesses and interrupt delivery a VTPR below the threshold is refused",
         "Checks on VMX Controls") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    auto code = [] {};
    apic.guest.start(code);
    apic.at(Apic::task_priority) = 0x30;
    write(Field::tpr_threshold, 4);
    const auto entry = apic.guest.try_run();
    if (expect_equal(entry.outcome, Outcome::fail_valid, "VMLAUNCH fails with a current VMCS"))
        expect_equal(entry.error, static_cast<std::uint32_t>(InstructionError::entry_invalid_control),
                     "VM-instruction error");
    apic.at(Apic::task_priority) = 0x40;
    apic.guest.run_to_end("with a VTPR of the threshold L2 runs");
}

} // namespace nestbed::vmx
