#include "nested/vmx/vmcs_text.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::vmx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct MeaningCase {
    Field field;
    std::uint64_t value;
    std::string text;
};

const MeaningCase cases[]{
    {Field::pin_based_controls, 0x3f,
     "External-interrupt exiting, bit 1, bit 2, NMI exiting, bit 4, Virtual NMIs"},
    {Field::primary_controls, 0x8400'0080, "HLT exiting, bit 26, Activate secondary controls"},
    {Field::secondary_controls, 0xa2, "Enable EPT, Enable VPID, Unrestricted guest"},
    {Field::tertiary_controls, 0x8000'0000'0000'0010, "IPI virtualization, bit 63"},
    {Field::exit_controls, 0x200, "Host address-space size"},
    {Field::secondary_exit_controls, 0x8, "Prematurely busy shadow stack"},
    {Field::entry_controls, 0x8200, "IA-32e mode guest, Load IA32_EFER"},
    {Field::exception_bitmap, 0x4002, "vectors 1, 14"},
    {Field::exception_bitmap, 0, ""},
    {Field::ept_pointer, 0x1234'505e, "0x12345000, write-back, 4 levels, accessed and dirty flags"},
    {Field::ept_pointer, 0xa0, "0x0, uncacheable, 5 levels, supervisor shadow-stack control"},
    {Field::ept_pointer, 0x19, "0x0, memory type 1, 4 levels"},
    {Field::exit_reason, 0x8000'0022, "VM-entry failure due to MSR loading (34), entry failure"},
    {Field::instruction_error, 7, "VM entry with invalid control field(s) (7)"},
    {Field::exit_interruption_information, 0x8000'0306, "hardware exception, vector 6"},
    {Field::idt_vectoring_information, 0x8000'0202, "NMI, vector 2"},
    {Field::entry_interruption_information, 0x8000'0b0d, "hardware exception, vector 13, error code"},
    {Field::guest_activity_state, 0, "active"},
    {Field::guest_activity_state, 3, "wait-for-SIPI"},
    {Field::guest_activity_state, 4, ""},
    {Field::guest_interruptibility_state, 0x9, "blocking by STI, blocking by NMI"},
    {Field::guest_pending_debug_exceptions, 0x5001, "B0, enabled breakpoint, BS"},
    {Field::guest_cs_access_rights, 0xa09b, "type 11, DPL 0, S, P, L, G"},
    {Field::guest_tr_access_rights, 0x8b, "type 11, DPL 0, P"},
    {Field::guest_ss_access_rights, 0xc0f3, "type 3, DPL 3, S, P, D/B, G"},
    {Field::guest_ldtr_access_rights, 0x1'0000, "unusable"},
    {Field::guest_rip, 0x1234, ""},
};

TEST(VmcsText, ValuesHaveTheirMeaning) {
    for (const auto& [field, value, text] : cases)
        EXPECT_EQ(meaning(field, value), text) << field_text(static_cast<std::uint32_t>(field));
}

TEST(VmcsText, FieldsHaveTheirNames) {
    EXPECT_EQ(field_text(0x681e), "Guest RIP");
    EXPECT_EQ(field_text(0x2010), "TSC offset");
    EXPECT_EQ(field_text(0x2011), "TSC offset (high)");
    EXPECT_EQ(field_text(0x681f), "field 0x681f");
    EXPECT_EQ(field_text(0xffff'ffff), "field 0xffffffff");
}

TEST(VmcsText, IsGroupedByAreaAndSorted) {
    const std::vector<FieldValue> vmcs{{0x6c16, 0xffff'8000'0000'1000},
                                       {0x4402, 28},
                                       {0x6400, 0x10'0003},
                                       {0x681e, 0x7c00},
                                       {0x401e, 0x82},
                                       {0x2011, 1},
                                       {0x2010, 2}};
    EXPECT_THAT(
        describe_vmcs(vmcs),
        ElementsAre(
            "Control fields:", //
            "  TSC offset                                       0x2",
            "  TSC offset (high)                                0x1",
            "  Secondary processor-based VM-execution controls  0x82  (Enable EPT, Unrestricted guest)",
            "Read-only data fields:",
            "  Exit reason                                      0x1c  (Control-register accesses (28))",
            "  Exit qualification                               0x100003  (MOV to CR3 from RAX)",
            "Guest-state area:", //
            "  Guest RIP                                        0x7c00",
            "Host-state area:", //
            "  Host RIP                                         0xffff800000001000"));
    EXPECT_THAT(describe_vmcs({}), IsEmpty());
}

TEST(VmcsText, ReadsTheDetailsOfAnExitTogether) {
    EXPECT_THAT(
        describe_vmcs(
            std::vector<FieldValue>{{0x4402, 0}, {0x4404, 0x8000'0301}, {0x440e, 0}, {0x6400, 0x4000}}),
        ElementsAre(
            "Read-only data fields:",
            "  Exit reason                                      0x0  (Exception or non-maskable interrupt "
            "(NMI) (0))",
            "  VM-exit interruption information                 0x80000301  (hardware exception, vector 1)",
            "  VM-exit instruction information                  0x0",
            "  Exit qualification                               0x4000  (BS)"));
    EXPECT_THAT(describe_vmcs(std::vector<FieldValue>{{0x4402, 23}, {0x440e, 1U << 10}}),
                ElementsAre("Read-only data fields:", //
                            "  Exit reason                                      0x17  (VMREAD (23))",
                            "  VM-exit instruction information                  0x400  (RAX, field in RAX)"));
}

} // namespace
} // namespace nestbed::vmx
