// The APIC-access page: what leaves L2, with offset and type, and what the virtual-APIC page answers (SDM
// volume 3, "Virtualizing Memory-Mapped APIC Accesses"). Fetches from the page are not tried: Bochs ends with
// them.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/placement.hpp"
#include "nested/vmx/guest/virtual_apic.hpp"
#include "nested/vmx/qualification.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

using secondary::apic_register_virtualization;
using secondary::virtualize_apic_accesses;

L2_SNIPPET(access_read_8, "movb (%rbx), %al");
L2_SNIPPET(access_read_16, "movw (%rbx), %ax");
L2_SNIPPET(access_read_32, "movl (%rbx), %eax");
L2_SNIPPET(access_read_64, "movq (%rbx), %rax");
L2_SNIPPET(access_write_32, "movl %eax, (%rbx)");
L2_SNIPPET(access_write_64, "movq %rax, (%rbx)");
L2_SNIPPET(access_add_32, "addl %eax, (%rbx)");
L2_SNIPPET(access_int, "int $0x40");

constexpr std::uint64_t qualification(std::uint32_t offset, ApicAccessType type) {
    return offset | static_cast<std::uint64_t>(type) << 12;
}

void aim(VirtualApic& apic, const Snippet& code, std::uint32_t offset) {
    place(apic.guest, code);
    apic.guest.registers.rbx = apic.access_page() + offset;
}

// The length of the instruction is defined for some of these exits only, and is not looked at.
bool leaves(VirtualApic& apic, const Snippet& code, std::uint32_t offset, ApicAccessType type,
            const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
    aim(apic, code, offset);
    const auto before = apic.guest.registers;
    if (!apic.guest.run_to(ExitReason::apic_access, Text{"access at ", conform::Hex{offset}}, file, line))
        return false;
    expect_equal(read(Field::exit_qualification), qualification(offset, type), "exit qualification", file,
                 line);
    expect_equal(read(Field::guest_rip), code.address(), "guest RIP", file, line);
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid", file,
                 line);
    expect_equal(apic.guest.registers.rax, before.rax, "RAX", file, line);
    return true;
}

} // namespace

VMX_TEST(apic_access_read, "vmx.apic.access_read",
         "A read of the APIC-access page leaves with its offset, type 0",
         "Virtualizing Memory-Mapped APIC Accesses") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    for (const std::uint32_t offset : {0U, 0x20U, 0x30U, 0xb0U, 0xf0U, 0x300U, 0x390U, 0x800U, 0xffcU})
        leaves(apic, access_read_32, offset, ApicAccessType::linear_read);
    leaves(apic, access_read_8, 0xfff, ApicAccessType::linear_read);
    leaves(apic, access_read_64, 0x20, ApicAccessType::linear_read);
}
VMX_TEST(apic_access_write, "vmx.apic.access_write",
         "A write to the APIC-access page leaves with its offset, type 1, and writes nothing",
         "Virtualizing Memory-Mapped APIC Accesses") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    for (const std::uint32_t offset : {0U, 0x20U, 0xb0U, 0xf0U, 0x300U, 0x320U, 0xffcU})
        leaves(apic, access_write_32, offset, ApicAccessType::linear_write);
    expect(apic.access_page_untouched(), "the APIC-access page is as it was");
    for (std::uint32_t offset = 0; offset < 4096; offset += 4)
        expect_equal(apic.at(offset), 0U, Text{"virtual-APIC page, offset ", conform::Hex{offset}});
}
VMX_TEST(apic_access_modify, "vmx.apic.access_read_modify_write",
         "A read-modify-write of the APIC-access page leaves as a write or as a read",
         "APIC-Access VM Exits") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    aim(apic, access_add_32, 0x300);
    if (!apic.guest.run_to(ExitReason::apic_access, "ADD to memory"))
        return;
    const auto seen = read(Field::exit_qualification);
    // Which of its two accesses comes first is the processor's.
    expect(seen == qualification(0x300, ApicAccessType::linear_write) ||
               seen == qualification(0x300, ApicAccessType::linear_read),
           "exit qualification: a write or a read at 0x300");
    expect(apic.access_page_untouched(), "the APIC-access page is as it was");
}
VMX_TEST(apic_access_event, "vmx.apic.access_event_delivery",
         "A push of event delivery to the APIC-access page leaves with type 3 and the event",
         "APIC-Access VM Exits") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    place(apic.guest, access_int);
    write(Field::guest_rsp, apic.access_page() + 0x800);
    if (!apic.guest.run_to(ExitReason::apic_access, "INT on a stack in the page"))
        return;
    expect_equal(decode_apic_access(read(Field::exit_qualification)).type,
                 ApicAccessType::linear_event_delivery, "access type");
    expect(decode_apic_access(read(Field::exit_qualification)).offset >= 0x800 - 5 * 8 &&
               decode_apic_access(read(Field::exit_qualification)).offset < 0x800,
           "offset: in the frame of the interrupt");
    expect_equal(read(Field::idt_vectoring_information), event(EventType::software_interrupt, 0x40),
                 "IDT-vectoring information");
    expect_equal(read(Field::exit_instruction_length), 2U, "VM-exit instruction length");
    expect(apic.access_page_untouched(), "the APIC-access page is as it was");
}
VMX_TEST(apic_access_off, "vmx.apic.access_not_virtualized",
         "Without the control the page is memory like any other",
         "Virtualizing Memory-Mapped APIC Accesses") {
    if (!offers_apic(0, 0))
        return;
    VirtualApic apic;
    aim(apic, access_read_32, 0x20);
    expect_executes(apic.guest, access_read_32);
    expect_equal(apic.guest.registers.rax, 0x5a5a'5a5aU, "what L2 reads");
    aim(apic, access_write_32, 0x20);
    expect_executes(apic.guest, access_write_32);
    expect(!apic.access_page_untouched(), "L2's write reached the page");
}
VMX_TEST(apic_access_beside, "vmx.apic.access_neighbours", "The pages beside the APIC-access page are not it",
         "Virtualizing Memory-Mapped APIC Accesses") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    auto* const pages = static_cast<std::uint8_t*>(conform::allocate_pages(3));
    write(Field::apic_access_address, conform::physical(pages) + 4096);
    for (const std::uint64_t offset : {0xffcU, 0x2000U}) {
        place(apic.guest, access_write_32);
        apic.guest.registers.rbx = conform::physical(pages) + offset;
        expect_executes(apic.guest, access_write_32);
        expect_equal(*guest::pointer_to<std::uint32_t>(conform::physical(pages) + offset),
                     static_cast<std::uint32_t>(apic.guest.registers.rax), "what L2 wrote");
    }
    place(apic.guest, access_write_32);
    apic.guest.registers.rbx = conform::physical(pages) + 4096;
    apic.guest.run_to(ExitReason::apic_access, "the page itself");
}
VMX_TEST(apic_access_moved, "vmx.apic.access_page_moved",
         "Another APIC-access page counts from the next entry on",
         "Virtualizing Memory-Mapped APIC Accesses") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    const auto other = conform::physical(conform::allocate_pages(1));
    for (unsigned round = 0; round < 6; ++round) {
        write(Field::apic_access_address, round % 2 == 0 ? apic.access_page() : other);
        aim(apic, access_read_32, 0x300);
        apic.guest.run_to(round % 2 == 0 ? ExitReason::apic_access : ExitReason::vmcall,
                          Text{"round ", round});
    }
}
VMX_TEST(apic_access_no_shadow, "vmx.apic.access_without_tpr_shadow",
         "Without the TPR shadow the TPR of the APIC-access page leaves, too",
         "Virtualizing Memory-Mapped APIC Accesses") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    clear(Field::primary_controls, primary::use_tpr_shadow);
    leaves(apic, access_read_32, 0x80, ApicAccessType::linear_read);
    leaves(apic, access_write_32, 0x80, ApicAccessType::linear_write);
}

// The TPR, with the TPR shadow.
VMX_TEST(apic_access_tpr_read, "vmx.apic.access_tpr_read",
         "A read of the TPR in the APIC-access page is VTPR",
         "Virtualizing Reads from the APIC-Access Page") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    apic.at(Apic::task_priority) = 0x1234'5678;
    for (const auto* const code : {&access_read_32, &access_read_16, &access_read_8}) {
        aim(apic, *code, 0x80);
        const auto before = apic.guest.registers.rax;
        if (!expect_executes(apic.guest, *code))
            continue;
        const auto expected = code == &access_read_32   ? 0x1234'5678
                              : code == &access_read_16 ? (before & ~std::uint64_t{0xffff}) | 0x5678
                                                        : (before & ~std::uint64_t{0xff}) | 0x78;
        expect_equal(apic.guest.registers.rax, expected, "RAX");
    }
}
VMX_TEST(apic_access_tpr_wide, "vmx.apic.access_tpr_beyond",
         "An access of the TPR that is not within its 4 bytes leaves",
         "Virtualizing Reads from the APIC-Access Page") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    leaves(apic, access_read_64, 0x80, ApicAccessType::linear_read);
    leaves(apic, access_read_32, 0x81, ApicAccessType::linear_read);
    leaves(apic, access_read_32, 0x84, ApicAccessType::linear_read);
    leaves(apic, access_read_8, 0x84, ApicAccessType::linear_read);
    leaves(apic, access_read_16, 0x83, ApicAccessType::linear_read);
    leaves(apic, access_write_64, 0x80, ApicAccessType::linear_write);
}
VMX_TEST(
    apic_access_tpr_write, "vmx.apic.access_tpr_write",
    "A write to the TPR in the APIC-access page is VTPR's, its upper 24 bits 0, and counts for the threshold",
    "Virtualizing Writes to the APIC-Access Page") {
    if (!offers_apic(0, virtualize_apic_accesses))
        return;
    VirtualApic apic{virtualize_apic_accesses};
    apic.at(Apic::task_priority) = 0xf0;
    write(Field::tpr_threshold, 6);
    aim(apic, access_write_32, 0x80);
    apic.guest.registers.rax = 0x6f;
    expect_executes(apic.guest, access_write_32);
    expect_equal(apic.at(Apic::task_priority), 0x6fU, "VTPR");
    aim(apic, access_write_32, 0x80);
    apic.guest.registers.rax = 0xabcd'ef5f;
    if (!apic.guest.run_to(ExitReason::tpr_below_threshold, "a write of less"))
        return;
    expect_equal(read(Field::guest_rip), access_write_32.end(), "guest RIP: behind the write");
    expect_equal(apic.at(Apic::task_priority), 0x5fU, "VTPR, bytes 3:1 cleared");
    expect(apic.access_page_untouched(), "the APIC-access page is as it was");
}

// APIC-register virtualization.
VMX_TEST(apic_register_read, "vmx.apic.register_read",
         "With APIC-register virtualization reads of the registers that it lists are the virtual-APIC page's",
         "Virtualizing Reads from the APIC-Access Page") {
    if (!offers_apic(0, virtualize_apic_accesses | apic_register_virtualization))
        return;
    VirtualApic apic{virtualize_apic_accesses | apic_register_virtualization};
    for (std::uint32_t offset = 0; offset < 4096; offset += 16)
        apic.at(offset) = 0x4300'0000 | offset;
    for (std::uint32_t offset = 0; offset < 0x400; offset += 16) {
        const bool listed = offset == 0x20 || offset == 0x30 || offset == 0x80 || offset == 0xb0 ||
                            (offset >= 0xd0 && offset <= 0x280) || offset == 0x300 || offset == 0x310 ||
                            (offset >= 0x320 && offset <= 0x380) || offset == 0x3e0;
        // These two are not in every edition's list.
        if (offset == 0xa0 || offset == 0x2f0)
            continue;
        if (!listed) {
            leaves(apic, access_read_32, offset, ApicAccessType::linear_read);
            continue;
        }
        aim(apic, access_read_32, offset);
        if (expect_executes(apic.guest, access_read_32))
            expect_equal(apic.guest.registers.rax, 0x4300'0000U | offset,
                         Text{"offset ", conform::Hex{offset}});
    }
}
VMX_TEST(apic_register_write, "vmx.apic.register_write",
         "With APIC-register virtualization a write goes to the virtual-APIC page and then leaves by exit 56",
         "APIC-Write VM Exits") {
    if (!offers_apic(0, virtualize_apic_accesses | apic_register_virtualization))
        return;
    VirtualApic apic{virtualize_apic_accesses | apic_register_virtualization};
    for (const std::uint32_t offset : {0x20U, 0xb0U, 0xd0U, 0xe0U, 0xf0U, 0x280U, 0x300U, 0x320U, 0x330U,
                                       0x340U, 0x350U, 0x360U, 0x370U, 0x380U, 0x3e0U}) {
        aim(apic, access_write_32, offset);
        apic.guest.registers.rax = 0x21 + offset;
        if (!apic.guest.run_to(ExitReason::apic_write, Text{"write at ", conform::Hex{offset}}))
            continue;
        expect_equal(read(Field::exit_qualification), offset, "exit qualification: the offset");
        expect_equal(read(Field::guest_rip), access_write_32.end(), "guest RIP: behind the write");
        expect_equal(apic.at(offset), 0x21 + offset, "virtual-APIC page");
    }
    // The upper half of the ICR is a plain write.
    aim(apic, access_write_32, 0x310);
    apic.guest.registers.rax = 0x0300'0000;
    if (expect_executes(apic.guest, access_write_32))
        expect_equal(apic.at(Apic::interrupt_command_high), 0x0300'0000U, "virtual-APIC page");
    for (const std::uint32_t offset : {0x30U, 0x100U, 0x200U, 0x390U})
        leaves(apic, access_write_32, offset, ApicAccessType::linear_write);
    expect(apic.access_page_untouched(), "the APIC-access page is as it was");
}

} // namespace nestbed::vmx
