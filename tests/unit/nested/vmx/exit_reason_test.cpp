#include "nested/vmx/exit_reason.hpp"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "nested/vmx/exit_text.hpp"
#include "nested/vmx/instruction_error.hpp"

namespace nestbed::vmx {
namespace {

TEST(ExitReason, AreAllThatThereAreOnce) {
    EXPECT_EQ(std::size(exit_reason_names), 80U);
    std::set<std::string> names;
    int last = -1;
    for (const auto& known : exit_reason_names) {
        EXPECT_GT(static_cast<int>(known.reason), last) << known.name;
        last = static_cast<int>(known.reason);
        EXPECT_TRUE(names.insert(known.name).second) << known.name;
    }
    EXPECT_EQ(last, 85);
    for (const int unused : {35, 38, 42, 71, 82, 83, 86, 0xffff})
        EXPECT_EQ(name_of(static_cast<ExitReason>(unused)), nullptr) << unused;
}

struct ReasonCase {
    std::uint32_t field;
    std::string text;
};

TEST(ExitReason, AreReadInFull) {
    for (const auto& [field, text] :
         {ReasonCase{0, "Exception or non-maskable interrupt (NMI) (0)"}, ReasonCase{2, "Triple fault (2)"},
          ReasonCase{10, "CPUID (10)"}, ReasonCase{18, "VMCALL (18)"}, ReasonCase{30, "I/O instruction (30)"},
          ReasonCase{44, "APIC access (44)"}, ReasonCase{48, "EPT violation (48)"},
          ReasonCase{52, "VMX-preemption timer expired (52)"}, ReasonCase{59, "VMFUNC (59)"},
          ReasonCase{64, "XRSTORS (64)"}, ReasonCase{75, "Instruction timeout (75)"},
          ReasonCase{99, "reason 99"},
          ReasonCase{0x8000'0021, "VM-entry failure due to invalid guest state (33), entry failure"},
          ReasonCase{0x3e00'000c,
                     "HLT (12), prematurely busy shadow stack, bus lock, enclave mode, pending MTF, "
                     "from VMX root operation"},
          ReasonCase{0x41ff'ffff, "reason 65535"}}) // what the manual leaves undefined is not told
        EXPECT_EQ(exit_reason_text(field), text);
}

TEST(ExitReason, ItsFlagsHaveTheirOwnBits) {
    EXPECT_TRUE(decode_exit_reason(1U << 25).busy_shadow_stack);
    EXPECT_TRUE(decode_exit_reason(1U << 26).bus_lock);
    EXPECT_TRUE(decode_exit_reason(1U << 27).enclave_mode);
    EXPECT_TRUE(decode_exit_reason(1U << 28).pending_mtf);
    EXPECT_TRUE(decode_exit_reason(1U << 29).from_vmx_root);
    EXPECT_TRUE(decode_exit_reason(1U << 31).entry_failure);
    EXPECT_FALSE(decode_exit_reason(~(1U << 31)).entry_failure);
}

TEST(InstructionError, AreAllThatThereAreOnce) {
    EXPECT_EQ(std::size(instruction_error_names), 25U);
    std::set<std::string> names;
    std::uint32_t last = 0;
    for (const auto& known : instruction_error_names) {
        EXPECT_GT(static_cast<std::uint32_t>(known.error), last) << known.name;
        last = static_cast<std::uint32_t>(known.error);
        EXPECT_TRUE(names.insert(known.name).second) << known.name;
    }
    EXPECT_EQ(last, 28U);
    for (const std::uint32_t unused : {0U, 14U, 21U, 27U, 29U, ~0U})
        EXPECT_EQ(name_of(static_cast<InstructionError>(unused)), nullptr) << unused;
}

TEST(InstructionError, AreReadInFull) {
    EXPECT_EQ(instruction_error_text(0), "");
    EXPECT_EQ(instruction_error_text(1), "VMCALL executed in VMX root operation (1)");
    EXPECT_EQ(instruction_error_text(4), "VMLAUNCH with non-clear VMCS (4)");
    EXPECT_EQ(instruction_error_text(7), "VM entry with invalid control field(s) (7)");
    EXPECT_EQ(instruction_error_text(8), "VM entry with invalid host-state field(s) (8)");
    EXPECT_EQ(instruction_error_text(12), "VMREAD or VMWRITE of an unsupported VMCS component (12)");
    EXPECT_EQ(instruction_error_text(13), "VMWRITE to read-only VMCS component (13)");
    EXPECT_EQ(instruction_error_text(26), "VM entry with events blocked by MOV SS (26)");
    EXPECT_EQ(instruction_error_text(28), "Invalid operand to INVEPT/INVVPID (28)");
    EXPECT_EQ(instruction_error_text(27), "error 27");
}

} // namespace
} // namespace nestbed::vmx
