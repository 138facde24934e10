// Instructions that leave L2, always or by a control, set and clear (SDM volume 3, "VMX Non-Root Operation",
// "VM Exits").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/snippet.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;

namespace {

L2_SNIPPET(do_cpuid, "cpuid");
L2_SNIPPET(do_invd, "invd");
L2_SNIPPET(do_vmclear, "vmclear (%rsi)");
L2_SNIPPET(do_vmlaunch, "vmlaunch");
L2_SNIPPET(do_vmresume, "vmresume");
L2_SNIPPET(do_vmptrld, "vmptrld (%rsi)");
L2_SNIPPET(do_vmptrst, "vmptrst (%rsi)");
L2_SNIPPET(do_vmread, "vmread %rax, %rbx");
L2_SNIPPET(do_vmwrite, "vmwrite %rax, %rbx");
L2_SNIPPET(do_vmxoff, "vmxoff");
L2_SNIPPET(do_vmxon, "vmxon (%rsi)");
L2_SNIPPET(do_hlt, "hlt");
L2_SNIPPET(do_invlpg, "invlpg (%rsi)");
L2_SNIPPET(do_rdtsc, "rdtsc");
L2_SNIPPET(do_rdtscp, "rdtscp");
L2_SNIPPET(do_rdpmc, "rdpmc");
L2_SNIPPET(do_pause, "pause");
L2_SNIPPET(do_read_cr3, "mov %cr3, %rbx");
L2_SNIPPET(do_write_cr3, "mov %rbx, %cr3");
L2_SNIPPET(do_read_cr8, "mov %cr8, %rdx");
L2_SNIPPET(do_write_cr8, "mov %rdx, %cr8");
L2_SNIPPET(do_write_cr0, "mov %rbx, %cr0");
L2_SNIPPET(do_write_cr4, "mov %rbx, %cr4");
L2_SNIPPET(do_clts, "clts");
L2_SNIPPET(do_lmsw, "lmsw %bx");
L2_SNIPPET(do_read_dr0, "mov %dr0, %rbx");
L2_SNIPPET(do_write_dr6, "mov %rbx, %dr6");
L2_SNIPPET(do_in8, "inb $0x71, %al");
L2_SNIPPET(do_out32_dx, "outl %eax, %dx");
L2_SNIPPET(do_rdmsr, "rdmsr");
L2_SNIPPET(do_wrmsr, "wrmsr");
L2_SNIPPET(do_wbinvd, "wbinvd");
L2_SNIPPET(do_sgdt, "sgdt (%rsi)");
L2_SNIPPET(do_lidt, "lidt (%rsi)");
L2_SNIPPET(do_sldt, "sldt %ax");
L2_SNIPPET(do_str, "str (%rsi)");
L2_SNIPPET(do_ud2, "ud2");
L2_SNIPPET(do_int3, "int3");
L2_SNIPPET(do_load_null, "movq 0(%rbx), %rax");

void always(const Snippet& snippet, ExitReason reason) {
    L2 guest;
    place(guest, snippet);
    guest.registers.rsi = conform::physical(conform::allocate_pages(1));
    // Operands in memory: the displacement, which is 0.
    expect_exit(guest, snippet, reason, 0);
}

enum class Word { primary, secondary };

// With the control: this exit. Without it: the instruction runs.
template<typename Prepare>
void by_control(const Snippet& snippet, Word word, std::uint32_t control, ExitReason reason, Prepare prepare,
                std::uint64_t qualification = 0, bool runs_without = true) {
    const auto allowed = word == Word::primary ? allowed_primary() : allowed_secondary();
    const auto field = word == Word::primary ? Field::primary_controls : Field::secondary_controls;
    if (!allowed.may_set(control))
        return not_applicable("KVM does not offer the control");
    L2 guest;
    place(guest, snippet);
    prepare(guest);
    if (word == Word::secondary)
        set(Field::primary_controls, primary::activate_secondary_controls);
    set(field, control);
    expect_exit(guest, snippet, reason, qualification);
    if (!allowed.may_clear(control) || !runs_without)
        return;
    clear(field, control);
    expect_executes(guest, snippet);
}
void nothing(L2&) {}

} // namespace

#define ALWAYS(identifier, snippet, reason, title)                                                           \
    VMX_TEST(exit_##identifier, "vmx.exit." #identifier, title " always leaves L2",                          \
             "Instructions That Cause VM Exits Unconditionally") {                                           \
        always(snippet, ExitReason::reason);                                                                 \
    }
ALWAYS(cpuid, do_cpuid, cpuid, "CPUID")
ALWAYS(invd, do_invd, invd, "INVD")
ALWAYS(vmclear, do_vmclear, vmclear, "VMCLEAR")
ALWAYS(vmlaunch, do_vmlaunch, vmlaunch, "VMLAUNCH")
ALWAYS(vmresume, do_vmresume, vmresume, "VMRESUME")
ALWAYS(vmptrld, do_vmptrld, vmptrld, "VMPTRLD")
ALWAYS(vmptrst, do_vmptrst, vmptrst, "VMPTRST")
ALWAYS(vmread, do_vmread, vmread, "VMREAD")
ALWAYS(vmwrite, do_vmwrite, vmwrite, "VMWRITE")
ALWAYS(vmxoff, do_vmxoff, vmxoff, "VMXOFF")
ALWAYS(vmxon, do_vmxon, vmxon, "VMXON")

VMX_TEST(exit_hlt, "vmx.exit.hlt", "HLT leaves L2 with HLT exiting",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_hlt, Word::primary, primary::hlt_exiting, ExitReason::hlt, nothing, 0, false);
}
VMX_TEST(exit_invlpg, "vmx.exit.invlpg",
         "INVLPG leaves L2 with INVLPG exiting, and its address is the qualification",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(
        do_invlpg, Word::primary, primary::invlpg_exiting, ExitReason::invlpg,
        [](L2& guest) { guest.registers.rsi = 0x12'3456'7000; }, 0x12'3456'7000);
}
VMX_TEST(exit_rdtsc, "vmx.exit.rdtsc", "RDTSC leaves L2 with RDTSC exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_rdtsc, Word::primary, primary::rdtsc_exiting, ExitReason::rdtsc, nothing);
}
VMX_TEST(exit_rdtscp, "vmx.exit.rdtscp", "RDTSCP leaves L2 with RDTSC exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    if (!allowed_secondary().may_set(secondary::enable_rdtscp))
        return not_applicable("KVM does not offer RDTSCP to L2");
    by_control(do_rdtscp, Word::primary, primary::rdtsc_exiting, ExitReason::rdtscp, nothing);
}
VMX_TEST(exit_rdpmc, "vmx.exit.rdpmc", "RDPMC leaves L2 with RDPMC exiting",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(
        do_rdpmc, Word::primary, primary::rdpmc_exiting, ExitReason::rdpmc,
        [](L2& guest) { guest.registers.rcx = 0; }, 0, false);
}
VMX_TEST(exit_pause, "vmx.exit.pause", "PAUSE leaves L2 with PAUSE exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_pause, Word::primary, primary::pause_exiting, ExitReason::pause, nothing);
}
VMX_TEST(exit_read_cr3, "vmx.exit.read_cr3", "MOV from CR3 leaves L2 with CR3-store exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    // Control register 3, MOV from, RBX (3).
    by_control(do_read_cr3, Word::primary, primary::cr3_store_exiting, ExitReason::control_register_access,
               nothing, 0x313);
}
VMX_TEST(exit_write_cr3, "vmx.exit.write_cr3", "MOV to CR3 leaves L2 with CR3-load exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(
        do_write_cr3, Word::primary, primary::cr3_load_exiting, ExitReason::control_register_access,
        [](L2& guest) { guest.registers.rbx = read(Field::guest_cr3); }, 0x303);
}
VMX_TEST(exit_cr3_target, "vmx.exit.cr3_target", "MOV to CR3 of a CR3-target value does not leave L2",
         "Instructions That Cause VM Exits Conditionally") {
    if ((miscellaneous() >> 16 & 0x1ff) == 0)
        return not_applicable("no CR3-target values");
    L2 guest;
    place(guest, do_write_cr3);
    guest.registers.rbx = read(Field::guest_cr3);
    set(Field::primary_controls, primary::cr3_load_exiting);
    write(Field::cr3_target_count, 1);
    write(Field::cr3_target_value_0, guest.registers.rbx);
    expect_executes(guest, do_write_cr3);
}
VMX_TEST(exit_read_cr8, "vmx.exit.read_cr8", "MOV from CR8 leaves L2 with CR8-store exiting",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_read_cr8, Word::primary, primary::cr8_store_exiting, ExitReason::control_register_access,
               nothing, 0x218);
}
VMX_TEST(exit_write_cr8, "vmx.exit.write_cr8", "MOV to CR8 leaves L2 with CR8-load exiting",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(
        do_write_cr8, Word::primary, primary::cr8_load_exiting, ExitReason::control_register_access,
        [](L2& guest) { guest.registers.rdx = 0; }, 0x208);
}
VMX_TEST(exit_write_cr0, "vmx.exit.write_cr0_masked",
         "MOV to CR0 that changes a masked bit leaves L2; another does not",
         "CR0 guest/host mask and read shadow") {
    L2 guest;
    place(guest, do_write_cr0);
    constexpr std::uint64_t ts = 8;
    guest.registers.rbx = read(Field::guest_cr0) ^ ts;
    write(Field::cr0_guest_host_mask, ts);
    expect_exit(guest, do_write_cr0, ExitReason::control_register_access, 0x300);
    write(Field::cr0_read_shadow, guest.registers.rbx);
    expect_executes(guest, do_write_cr0);
}
VMX_TEST(exit_write_cr4, "vmx.exit.write_cr4_masked",
         "MOV to CR4 that changes a masked bit leaves L2; another does not",
         "CR4 guest/host mask and read shadow") {
    L2 guest;
    place(guest, do_write_cr4);
    constexpr std::uint64_t vmxe = 1U << 13;
    guest.registers.rbx = read(Field::guest_cr4);
    expect_exit(guest, do_write_cr4, ExitReason::control_register_access, 0x304);
    guest.registers.rbx &= ~vmxe; // as the read shadow has it
    expect_executes(guest, do_write_cr4);
    expect_equal(read(Field::guest_cr4) & vmxe, vmxe, "CR4.VMXE, which L2 does not own");
}
VMX_TEST(exit_clts, "vmx.exit.clts", "CLTS leaves L2 where TS is masked and set in the read shadow",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    place(guest, do_clts);
    constexpr std::uint64_t ts = 8;
    write(Field::cr0_guest_host_mask, ts);
    set(Field::cr0_read_shadow, ts);
    expect_exit(guest, do_clts, ExitReason::control_register_access, 0x20);
    clear(Field::cr0_read_shadow, ts);
    expect_executes(guest, do_clts);
}
VMX_TEST(exit_lmsw, "vmx.exit.lmsw",
         "LMSW that changes a masked bit leaves L2, its operand in the qualification",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    place(guest, do_lmsw);
    constexpr std::uint64_t ts = 8;
    write(Field::cr0_guest_host_mask, ts);
    clear(Field::cr0_read_shadow, ts);
    guest.registers.rbx = 0x000b;
    expect_exit(guest, do_lmsw, ExitReason::control_register_access, 0x000b'0030);
}
VMX_TEST(exit_read_dr, "vmx.exit.read_dr", "MOV from DR leaves L2 with MOV-DR exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_read_dr0, Word::primary, primary::mov_dr_exiting, ExitReason::mov_dr, nothing, 0x310);
}
VMX_TEST(exit_write_dr, "vmx.exit.write_dr", "MOV to DR leaves L2 with MOV-DR exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(
        do_write_dr6, Word::primary, primary::mov_dr_exiting, ExitReason::mov_dr,
        [](L2& guest) { guest.registers.rbx = 0xffff'0ff0; }, 0x306);
}
VMX_TEST(exit_wbinvd, "vmx.exit.wbinvd", "WBINVD leaves L2 with WBINVD exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_wbinvd, Word::secondary, secondary::wbinvd_exiting, ExitReason::wbinvd_or_wbnoinvd,
               nothing);
}
VMX_TEST(exit_sgdt, "vmx.exit.sgdt", "SGDT leaves L2 with descriptor-table exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_sgdt, Word::secondary, secondary::descriptor_table_exiting, ExitReason::gdtr_or_idtr_access,
               [](L2& guest) { guest.registers.rsi = conform::physical(conform::allocate_pages(1)); });
}
VMX_TEST(exit_lidt, "vmx.exit.lidt", "LIDT leaves L2 with descriptor-table exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_lidt, Word::secondary, secondary::descriptor_table_exiting, ExitReason::gdtr_or_idtr_access,
               [](L2& guest) { guest.registers.rsi = conform::physical(conform::allocate_pages(1)); });
}
VMX_TEST(exit_sldt, "vmx.exit.sldt", "SLDT leaves L2 with descriptor-table exiting",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_sldt, Word::secondary, secondary::descriptor_table_exiting, ExitReason::ldtr_or_tr_access,
               nothing);
}
VMX_TEST(exit_str, "vmx.exit.str", "STR leaves L2 with descriptor-table exiting, and only then",
         "Instructions That Cause VM Exits Conditionally") {
    by_control(do_str, Word::secondary, secondary::descriptor_table_exiting, ExitReason::ldtr_or_tr_access,
               [](L2& guest) { guest.registers.rsi = conform::physical(conform::allocate_pages(1)); });
}

// Exceptions.
VMX_TEST(exit_ud, "vmx.exit.exception_ud", "#UD leaves L2 where the exception bitmap has it", "Exceptions") {
    L2 guest;
    place(guest, do_ud2);
    guest.intercept_exception(6);
    expect_exception(guest, do_ud2, 6, 0);
    expect_equal(read(Field::exit_interruption_information), event(EventType::hardware_exception, 6),
                 "interruption information");
}
VMX_TEST(exit_bp, "vmx.exit.exception_bp", "#BP leaves L2 as a software exception, with the length of INT3",
         "Exceptions") {
    L2 guest;
    place(guest, do_int3);
    guest.intercept_exception(3);
    expect_exception(guest, do_int3, 3, 0);
    expect_equal(read(Field::exit_interruption_information), event(EventType::software_exception, 3),
                 "interruption information");
    expect_equal(read(Field::exit_instruction_length), 1U, "VM-exit instruction length");
}
namespace {
constexpr std::uint64_t nowhere = std::uint64_t{1} << 46;
void page_fault(bool bit, std::uint32_t mask, std::uint32_t match, bool leaves) {
    L2 guest;
    place(guest, do_load_null);
    guest.registers.rbx = nowhere;
    guest.intercept_exception(14, bit);
    write(Field::page_fault_error_code_mask, mask);
    write(Field::page_fault_error_code_match, match);
    if (leaves) {
        expect_exception(guest, do_load_null, 14, 0);
        expect_equal(read(Field::exit_qualification), nowhere, "exit qualification: the linear address");
        return;
    }
    guest.context().resume |= 1U << 14;
    // L2's own handler takes it, over and over: the hook goes over the instruction.
    guest.context().hook = [](guest::ExceptionFrame& frame) {
        frame.rip = l2_snippet_do_load_null_after - static_cast<const char*>(nullptr);
        return true;
    };
    guest.run_to(ExitReason::vmcall, "L2 goes on behind its handler");
    expect_equal(guest.context().exceptions[14], 1U, "#PF that L2 has seen");
}
} // namespace
#define PAGE_FAULT(identifier, title, ...)                                                                   \
    VMX_TEST(exit_pf_##identifier, "vmx.exit.page_fault_" #identifier, title, "Exceptions") {                \
        page_fault(__VA_ARGS__);                                                                             \
    }
PAGE_FAULT(bit, "#PF leaves L2: bit 14 set, mask and match 0", true, 0, 0, true)
PAGE_FAULT(no_bit, "#PF is L2's: bit 14 clear, mask and match 0", false, 0, 0, false)
PAGE_FAULT(bit_no_match, "#PF is L2's: bit 14 set, its error code does not match", true, 2, 2, false)
PAGE_FAULT(no_bit_no_match, "#PF leaves L2: bit 14 clear, its error code does not match", false, 2, 2, true)
PAGE_FAULT(bit_match, "#PF leaves L2: bit 14 set, its error code matches under the mask", true, 3, 0, true)

VMX_TEST(exit_triple_fault, "vmx.exit.triple_fault", "A triple fault of L2 is an exit to L1, not its end",
         "Other Causes of VM Exits") {
    L2 guest;
    place(guest, do_ud2);
    write(Field::guest_idtr_limit, 0);
    guest.run_to(ExitReason::triple_fault, "the triple fault");
}

// I/O and MSRs.
VMX_TEST(exit_in_unconditional, "vmx.io.unconditional",
         "IN leaves L2 with unconditional I/O exiting and no bitmaps",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    place(guest, do_in8);
    clear(Field::primary_controls, primary::use_io_bitmaps);
    set(Field::primary_controls, primary::unconditional_io_exiting);
    // Size 1, IN, immediate, port 0x71.
    expect_exit(guest, do_in8, ExitReason::io_instruction, 0x71'0048);
}
namespace {
template<std::uint16_t port>
void out32_by_bitmap(unsigned bit, bool leaves) {
    L2 guest;
    place(guest, do_out32_dx);
    guest.registers.rdx = port;
    set(Field::primary_controls, primary::use_io_bitmaps);
    auto* const bitmaps = guest.io_bitmaps();
    bitmaps[bit / 8] = static_cast<std::uint8_t>(bitmaps[bit / 8] | 1U << bit % 8);
    if (leaves)
        expect_exit(guest, do_out32_dx, ExitReason::io_instruction, std::uint64_t{port} << 16 | 3);
    else
        expect_executes(guest, do_out32_dx);
}
} // namespace
#define IO_BITMAP(identifier, title, port, bit, leaves)                                                      \
    VMX_TEST(io_##identifier, "vmx.io." #identifier, title, "I/O-Bitmap Addresses") {                        \
        out32_by_bitmap<port>(bit, leaves);                                                                  \
    }
IO_BITMAP(bitmap_first, "OUT of 4 bytes leaves L2 where the bit of its first port is set", 0x5e0, 0x5e0, true)
IO_BITMAP(bitmap_last, "OUT of 4 bytes leaves L2 where the bit of its last port is set", 0x5e0, 0x5e3, true)
IO_BITMAP(bitmap_before, "OUT runs where the bit of the port before it is set", 0x5e4, 0x5e3, false)
IO_BITMAP(bitmap_byte_border, "OUT across a byte of the bitmap leaves L2 where the second byte has its bit",
          0x5e6, 0x5e8, true)
IO_BITMAP(bitmap_b, "OUT of a port of bitmap B leaves L2", 0x8000, 0x8000, true)
IO_BITMAP(bitmap_a_to_b, "OUT from bitmap A into B leaves L2 where B has its bit", 0x7ffe, 0x8000, true)
IO_BITMAP(bitmap_wrap, "OUT that wraps around the 64 KiB of ports leaves L2 whatever the bitmaps say", 0xfffe,
          0x100, true)

namespace {
void msr_by_bitmap(const Snippet& snippet, std::uint32_t index, unsigned byte, unsigned bit,
                   ExitReason reason, bool leaves) {
    L2 guest;
    if (!allowed_primary().may_set(primary::use_msr_bitmaps))
        return not_applicable("no MSR bitmaps");
    place(guest, snippet);
    set(Field::primary_controls, primary::use_msr_bitmaps);
    const auto value =
        index < 0x2000 || (index >= 0xc000'0000 && index < 0xc000'2000) ? guest::rdmsr(index) : 0;
    guest.registers.rcx = index;
    guest.registers.rax = static_cast<std::uint32_t>(value);
    guest.registers.rdx = value >> 32;
    if (byte < 4096)
        guest.msr_bitmap()[byte] = static_cast<std::uint8_t>(1U << bit);
    if (leaves)
        expect_exit(guest, snippet, reason, 0);
    else
        expect_executes(guest, snippet);
}
constexpr unsigned no_bit = 4096;
} // namespace
#define MSR_BITMAP(identifier, title, ...)                                                                   \
    VMX_TEST(msr_##identifier, "vmx.msr." #identifier, title, "MSR-Bitmap Address") {                        \
        msr_by_bitmap(__VA_ARGS__);                                                                          \
    }
MSR_BITMAP(read_low_set, "RDMSR of a low MSR leaves L2 where its bit is set", do_rdmsr, 0x174, 0x174 / 8,
           0x174 % 8, ExitReason::rdmsr, true)
MSR_BITMAP(read_low_clear, "RDMSR of a low MSR runs where its bit is clear", do_rdmsr, 0x174, no_bit, 0,
           ExitReason::rdmsr, false)
MSR_BITMAP(read_low_other, "RDMSR of a low MSR runs where the bit of its write is set", do_rdmsr, 0x174,
           2048 + 0x174 / 8, 0x174 % 8, ExitReason::rdmsr, false)
MSR_BITMAP(write_low_set, "WRMSR of a low MSR leaves L2 where its bit is set", do_wrmsr, 0x174,
           2048 + 0x174 / 8, 0x174 % 8, ExitReason::wrmsr, true)
MSR_BITMAP(write_low_clear, "WRMSR of a low MSR runs where its bit is clear", do_wrmsr, 0x174, no_bit, 0,
           ExitReason::wrmsr, false)
MSR_BITMAP(read_high_set, "RDMSR of a high MSR leaves L2 where its bit is set", do_rdmsr, msr::star,
           1024 + 0x81 / 8, 0x81 % 8, ExitReason::rdmsr, true)
MSR_BITMAP(read_high_clear, "RDMSR of a high MSR runs where its bit is clear", do_rdmsr, msr::star, no_bit, 0,
           ExitReason::rdmsr, false)
MSR_BITMAP(write_high_set, "WRMSR of a high MSR leaves L2 where its bit is set", do_wrmsr, msr::star,
           3072 + 0x81 / 8, 0x81 % 8, ExitReason::wrmsr, true)
MSR_BITMAP(write_high_clear, "WRMSR of a high MSR runs where its bit is clear", do_wrmsr, msr::star, no_bit,
           0, ExitReason::wrmsr, false)
MSR_BITMAP(read_out_of_range, "RDMSR of an MSR of neither range leaves L2", do_rdmsr, 0x4000'0100, no_bit, 0,
           ExitReason::rdmsr, true)
MSR_BITMAP(write_out_of_range, "WRMSR of an MSR of neither range leaves L2", do_wrmsr, 0xc000'2000, no_bit, 0,
           ExitReason::wrmsr, true)
VMX_TEST(msr_no_bitmap, "vmx.msr.without_bitmaps", "RDMSR leaves L2 where no MSR bitmaps are used",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    place(guest, do_rdmsr);
    guest.registers.rcx = msr::star;
    clear(Field::primary_controls, primary::use_msr_bitmaps);
    expect_exit(guest, do_rdmsr, ExitReason::rdmsr, 0);
}

} // namespace nestbed::vmx
