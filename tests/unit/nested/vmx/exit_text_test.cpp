#include "nested/vmx/exit_text.hpp"

#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "nested/vmx/event.hpp"
#include "nested/vmx/exit_reason.hpp"
#include "nested/vmx/instruction_information.hpp"
#include "nested/vmx/qualification.hpp"

namespace nestbed::vmx {
namespace {

constexpr std::uint32_t debug_exception = 0x8000'0301;

struct QualificationCase {
    ExitReason reason;
    std::uint64_t qualification;
    std::string text;
};

// Put together by hand from the formats in SDM volume 3, "Basic VM-Exit Information".
const QualificationCase cases[]{
    {ExitReason::control_register_access, 0x003, "MOV to CR3 from RAX"},
    {ExitReason::control_register_access, 0xf18, "MOV from CR8 to R15"},
    {ExitReason::control_register_access, 0x404, "MOV to CR4 from RSP"},
    {ExitReason::control_register_access, 0x020, "CLTS"},
    {ExitReason::control_register_access, 0x1234'0030, "LMSW of 0x1234 from a register"},
    {ExitReason::control_register_access, 0x0001'0070, "LMSW of 0x1 from memory"},
    {ExitReason::mov_dr, 0x007, "MOV to DR7 from RAX"},
    {ExitReason::mov_dr, 0x916, "MOV from DR6 to R9"},
    {ExitReason::io_instruction, 0x0060'0008, "IN, 1 byte, port 0x60"},
    {ExitReason::io_instruction, 0xffff'0001, "OUT, 2 bytes, port 0xffff"},
    {ExitReason::io_instruction, 0x0064'0040, "OUT, 1 byte, port 0x64, immediate"},
    {ExitReason::io_instruction, 0x03f8'003b, "REP INS, 4 bytes, port 0x3f8"},
    {ExitReason::ept_violation, 0x181, "read, allowed ----, translation of a linear address"},
    {ExitReason::ept_violation, 0x08a, "write, allowed r---, walk of a linear address"},
    {ExitReason::ept_violation, 0x01c, "fetch, allowed rw--"},
    {ExitReason::ept_violation, 0x060, "no access, allowed --xu"},
    {ExitReason::ept_violation, 0x1'fe03,
     "read, write, allowed ----, user-mode address, writable address, execute-disable address, NMI "
     "unblocking "
     "due to IRET, shadow-stack access, supervisor shadow stack, guest-paging verification, asynchronous"},
    {ExitReason::task_switch, 0x0000'0018, "to TSS selector 0x18 by CALL"},
    {ExitReason::task_switch, 0x4000'0020, "to TSS selector 0x20 by IRET"},
    {ExitReason::task_switch, 0x8000'ffff, "to TSS selector 0xffff by JMP"},
    {ExitReason::task_switch, 0xc000'0000, "to TSS selector 0x0 by a task gate"},
    {ExitReason::apic_access, 0x0020, "linear data read, offset 0x20"},
    {ExitReason::apic_access, 0x1300, "linear data write, offset 0x300"},
    {ExitReason::apic_access, 0x2fff, "linear instruction fetch, offset 0xfff"},
    {ExitReason::apic_access, 0x3000, "linear access during event delivery, offset 0x0"},
    {ExitReason::apic_access, 0xa000, "guest-physical access during event delivery, offset 0x0"},
    {ExitReason::apic_access, 0x1'f000, "guest-physical access by an instruction, offset 0x0, asynchronous"},
    {ExitReason::apic_access, 0x7010, "access of a reserved type, offset 0x10"},
    {ExitReason::entry_failure_guest_state, 0, ""},
    {ExitReason::entry_failure_guest_state, 2, "loading the PDPTEs"},
    {ExitReason::entry_failure_guest_state, 3, "NMI injected under blocking by STI"},
    {ExitReason::entry_failure_guest_state, 4, "VMCS link pointer"},
    {ExitReason::entry_failure_msr_loading, 5, "entry 5 of the list"},
    {ExitReason::cpuid, 0x1234, ""},
};

TEST(Qualification, IsReadByTheReason) {
    for (const auto& [reason, qualification, text] : cases)
        EXPECT_EQ(qualification_text(static_cast<std::uint32_t>(reason), qualification), text)
            << std::hex << qualification;
    EXPECT_EQ(qualification_text(0x8000'0021, 4), "VMCS link pointer") << "whatever the flags";
}

TEST(Qualification, OfADebugException) {
    EXPECT_EQ(qualification_text(0, 0x4005, debug_exception), "B0, B2, BS");
    EXPECT_EQ(qualification_text(0, 0x1'280a, debug_exception), "B1, B3, BLD, BD, RTM");
    EXPECT_EQ(qualification_text(0, 0x4005, 0x8000'0501), "B0, B2, BS") << "INT1";
    EXPECT_EQ(qualification_text(0, 0x4005, 0x8000'0b0e), "") << "a #PF: an address";
    EXPECT_EQ(qualification_text(0, 0x4005, 0x8000'0201), "") << "an NMI";
    EXPECT_EQ(qualification_text(0, 0x4005, 0x0000'0301), "") << "none";
}

TEST(Event, IsPutTogetherAndReadAgain) {
    EXPECT_EQ(event(EventType::external_interrupt, 0x20), 0x8000'0020U);
    EXPECT_EQ(event(EventType::nmi, 2), 0x8000'0202U);
    EXPECT_EQ(event_with_error_code(EventType::hardware_exception, 14), 0x8000'0b0eU);
    EXPECT_EQ(event(EventType::software_exception, 3), 0x8000'0603U);
    const auto page_fault = decode_event(0x8000'0b0e);
    EXPECT_TRUE(page_fault.valid && page_fault.error_code && !page_fault.nmi_unblocking &&
                !page_fault.nested);
    EXPECT_EQ(page_fault.type, EventType::hardware_exception);
    EXPECT_EQ(page_fault.vector, 14);
}

TEST(Event, AsText) {
    EXPECT_EQ(event_text(0), "");
    EXPECT_EQ(event_text(0x0000'0b0e), "not valid");
    EXPECT_EQ(event_text(0x8000'0020), "external interrupt, vector 32");
    EXPECT_EQ(event_text(0x8000'1202), "NMI, vector 2, NMI unblocking due to IRET");
    EXPECT_EQ(event_text(0x8000'2b0d), "hardware exception, vector 13, error code, nested exception");
    EXPECT_EQ(event_text(0x8000'0480), "software interrupt, vector 128");
    EXPECT_EQ(event_text(0x8000'0501), "privileged software exception, vector 1");
    EXPECT_EQ(event_text(0x8000'0603), "software exception, vector 3");
    EXPECT_EQ(event_text(0x8000'0700), "other event, vector 0");
    EXPECT_EQ(event_text(0x8000'0100), "reserved type, vector 0");
}

TEST(InstructionInformation, ComesApart) {
    // Every part has a value that no other has.
    const auto seen = decode_instruction_information(3U | 5U << 3 | 2U << 7 | 1U << 10 | 1U << 11 | 4U << 15 |
                                                     9U << 18 | 11U << 23 | 14U << 28);
    EXPECT_EQ(seen.scale, 3);
    EXPECT_EQ(seen.register1, 5);
    EXPECT_EQ(seen.address_bytes, 8);
    EXPECT_TRUE(seen.register_operand);
    EXPECT_EQ(seen.operand_size, 1);
    EXPECT_EQ(seen.segment, Segment::fs);
    EXPECT_EQ(seen.index, 9);
    EXPECT_EQ(seen.base, 11);
    EXPECT_EQ(seen.register2, 14);
    EXPECT_EQ(seen.identity, 2);
    EXPECT_TRUE(seen.has_index && seen.has_base);
    EXPECT_FALSE(decode_instruction_information(1U << 22).has_index);
    EXPECT_FALSE(decode_instruction_information(1U << 27).has_base);
    EXPECT_EQ(decode_instruction_information(0).address_bytes, 2);
    EXPECT_EQ(decode_instruction_information(1U << 7).address_bytes, 4);
}

TEST(InstructionInformation, IsReadByTheReason) {
    const auto text = [](ExitReason reason, std::uint32_t information) {
        return instruction_information_text(static_cast<std::uint32_t>(reason), information);
    };
    constexpr std::uint32_t long_mode = 2U << 7;
    constexpr std::uint32_t ds = 3U << 15;
    constexpr std::uint32_t no_index = 1U << 22;
    constexpr std::uint32_t no_base = 1U << 27;
    EXPECT_EQ(text(ExitReason::invept, long_mode | ds | no_index | 7U << 23 | 1U << 28),
              "[RDI + displacement] in DS, 64-bit addresses, type in RCX");
    EXPECT_EQ(text(ExitReason::invvpid, long_mode | ds | 1U << 18 | 3U | no_base | 15U << 28),
              "[RCX * 8 + displacement] in DS, 64-bit addresses, type in R15");
    EXPECT_EQ(text(ExitReason::vmread, 1U << 10 | 3U << 3 | 2U << 28), "RBX, field in RDX");
    EXPECT_EQ(text(ExitReason::vmwrite, long_mode | 2U << 15 | no_index | 4U << 23),
              "[RSP + displacement] in SS, 64-bit addresses, field in RAX");
    EXPECT_EQ(text(ExitReason::vmptrld, no_index | no_base | ds), "[displacement] in DS, 16-bit addresses");
    EXPECT_EQ(text(ExitReason::gdtr_or_idtr_access, 1U << 7 | no_index | 3U << 28),
              "LIDT of [RAX + displacement] in ES, 32-bit addresses");
    EXPECT_EQ(text(ExitReason::ldtr_or_tr_access, 1U << 10 | 1U << 28), "STR of RAX");
    EXPECT_EQ(text(ExitReason::rdrand, 8U << 3 | 2U << 11), "R8, 64-bit");
    EXPECT_EQ(text(ExitReason::cpuid, ~0U), "");
}

} // namespace
} // namespace nestbed::vmx
