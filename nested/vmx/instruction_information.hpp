// The VM-exit instruction-information field (SDM volume 3, "Information for VM Exits Due to Instruction
// Execution"). Which of its parts mean something depends on the instruction; undefined parts may hold
// anything. Compiles freestanding.
#pragma once

#include <cstdint>

#include "nested/vmx/qualification.hpp"

namespace nestbed::vmx {

enum class Segment : std::uint8_t { es, cs, ss, ds, fs, gs }; // 6 and 7 are not used

struct InstructionInformation {
    std::uint8_t scale = 0;         // bits 1:0, as a shift: index times 1, 2, 4 or 8
    std::uint8_t register1 = 0;     // bits 6:3, where the operand is a register
    std::uint8_t address_bytes = 0; // bits 9:7: 2, 4 or 8
    bool register_operand = false;  // bit 10; else memory. Clear for instructions that know only memory
    std::uint8_t operand_size =
        0; // bits 12:11: 0 16 bits, 1 32 bits, 2 64 bits; bit 12 is not LGDT's and its kin's
    Segment segment = Segment::es; // bits 17:15
    bool has_index = false;        // bit 22 clear
    std::uint8_t index = 0;        // bits 21:18
    bool has_base = false;         // bit 27 clear
    std::uint8_t base = 0;         // bits 26:23
    std::uint8_t register2 = 0;    // bits 31:28, of INVEPT, INVPCID, INVVPID, VMREAD and VMWRITE
    std::uint8_t identity = 0;     // bits 29:28: SGDT, SIDT, LGDT, LIDT, or SLDT, STR, LLDT, LTR
};

constexpr InstructionInformation decode_instruction_information(std::uint32_t field) {
    return {detail::field(field, 0, 2),
            detail::field(field, 3, 4),
            static_cast<std::uint8_t>(2U << detail::field(field, 7, 3)),
            detail::bit(field, 10),
            detail::field(field, 11, 2),
            static_cast<Segment>(detail::field(field, 15, 3)),
            !detail::bit(field, 22),
            detail::field(field, 18, 4),
            !detail::bit(field, 27),
            detail::field(field, 23, 4),
            detail::field(field, 28, 4),
            detail::field(field, 28, 2)};
}

} // namespace nestbed::vmx
