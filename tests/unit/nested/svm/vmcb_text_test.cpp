#include "nested/svm/vmcb_text.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nested/svm/event.hpp"
#include "nested/svm/exit_code.hpp"
#include "nested/svm/intercept.hpp"
#include "nested/svm/vmcb.hpp"

namespace nestbed::svm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const VmcbField& field_named(std::string_view name) {
    const auto found = std::ranges::find(vmcb_fields(), name, &VmcbField::name);
    if (found == vmcb_fields().end())
        throw std::out_of_range{std::string{name}};
    return *found;
}

VmcbBytes bytes_of(const Vmcb& vmcb) {
    VmcbBytes bytes;
    std::memcpy(bytes.data(), &vmcb, sizeof vmcb);
    return bytes;
}

TEST(VmcbFields, AreInOrderWithinThePageAndDoNotOverlap) {
    std::set<std::string_view> names;
    std::size_t end = 0;
    for (const auto& field : vmcb_fields()) {
        EXPECT_TRUE(names.insert(field.name).second) << field.name << " twice";
        EXPECT_GE(field.offset, end) << field.name;
        EXPECT_THAT(field.bytes, testing::AnyOf(1, 2, 4, 8)) << field.name;
        EXPECT_EQ(field.offset % field.bytes, 0U) << field.name;
        end = std::size_t{field.offset} + field.bytes;
        EXPECT_LE(end, sizeof(VmcbBytes)) << field.name;
    }
}

// Written through the structures that the guest writes through.
#define CONTROL(text, member)                                                                                \
    { text, offsetof(Vmcb, control) + offsetof(ControlArea, member), sizeof(ControlArea::member) }
#define SAVE(text, member)                                                                                   \
    { text, offsetof(Vmcb, save) + offsetof(SaveArea, member), sizeof(SaveArea::member) }
#define SEGMENT(text, member)                                                                                \
    {text ".selector", offsetof(Vmcb, save) + offsetof(SaveArea, member) + offsetof(Segment, selector), 2},  \
        {text ".attributes",                                                                                 \
         offsetof(Vmcb, save) + offsetof(SaveArea, member) + offsetof(Segment, attributes), 2},              \
        {text ".limit", offsetof(Vmcb, save) + offsetof(SaveArea, member) + offsetof(Segment, limit), 4}, {  \
        text ".base", offsetof(Vmcb, save) + offsetof(SaveArea, member) + offsetof(Segment, base), 8         \
    }

TEST(VmcbFields, LieWhereTheStructuresSay) {
    struct Case {
        std::string_view name;
        std::size_t offset;
        std::size_t bytes;
    };
    const std::vector<Case> cases{CONTROL("INTERCEPT_CR", intercept_cr),
                                  CONTROL("INTERCEPT_DR", intercept_dr),
                                  CONTROL("INTERCEPT_EXCEPTIONS", intercept_exceptions),
                                  CONTROL("INTERCEPT_MISC1", intercept_misc1),
                                  CONTROL("INTERCEPT_MISC2", intercept_misc2),
                                  CONTROL("INTERCEPT_MISC3", intercept_misc3),
                                  CONTROL("PAUSE_FILTER_THRESHOLD", pause_filter_threshold),
                                  CONTROL("PAUSE_FILTER_COUNT", pause_filter_count),
                                  CONTROL("IOPM_BASE_PA", iopm_base_pa),
                                  CONTROL("MSRPM_BASE_PA", msrpm_base_pa),
                                  CONTROL("TSC_OFFSET", tsc_offset),
                                  CONTROL("GUEST_ASID", asid),
                                  CONTROL("TLB_CONTROL", tlb_control),
                                  CONTROL("INT_CTL", int_ctl),
                                  CONTROL("V_INTR_VECTOR", int_vector),
                                  CONTROL("INTERRUPT_SHADOW", interrupt_shadow),
                                  CONTROL("EXITCODE", exit_code),
                                  CONTROL("EXITINFO1", exit_info_1),
                                  CONTROL("EXITINFO2", exit_info_2),
                                  CONTROL("EXITINTINFO", exit_int_info),
                                  CONTROL("NP_ENABLE", nested_ctl),
                                  CONTROL("AVIC_APIC_BAR", avic_apic_bar),
                                  CONTROL("GHCB_PA", ghcb_pa),
                                  CONTROL("EVENTINJ", event_inj),
                                  CONTROL("N_CR3", n_cr3),
                                  CONTROL("VIRT_EXT", virt_ext),
                                  CONTROL("VMCB_CLEAN", clean),
                                  CONTROL("NRIP", next_rip),
                                  CONTROL("FETCHED_BYTES", fetched_bytes),
                                  CONTROL("AVIC_BACKING_PAGE", avic_backing_page),
                                  CONTROL("AVIC_LOGICAL_TABLE", avic_logical_table),
                                  CONTROL("AVIC_PHYSICAL_TABLE", avic_physical_table),
                                  CONTROL("VMSA_PA", vmsa_pa),
                                  SEGMENT("ES", es),
                                  SEGMENT("CS", cs),
                                  SEGMENT("SS", ss),
                                  SEGMENT("DS", ds),
                                  SEGMENT("FS", fs),
                                  SEGMENT("GS", gs),
                                  SEGMENT("GDTR", gdtr),
                                  SEGMENT("LDTR", ldtr),
                                  SEGMENT("IDTR", idtr),
                                  SEGMENT("TR", tr),
                                  SAVE("CPL", cpl),
                                  SAVE("EFER", efer),
                                  SAVE("CR4", cr4),
                                  SAVE("CR3", cr3),
                                  SAVE("CR0", cr0),
                                  SAVE("DR7", dr7),
                                  SAVE("DR6", dr6),
                                  SAVE("RFLAGS", rflags),
                                  SAVE("RIP", rip),
                                  SAVE("RSP", rsp),
                                  SAVE("S_CET", s_cet),
                                  SAVE("SSP", ssp),
                                  SAVE("ISST_ADDR", isst_addr),
                                  SAVE("RAX", rax),
                                  SAVE("STAR", star),
                                  SAVE("LSTAR", lstar),
                                  SAVE("CSTAR", cstar),
                                  SAVE("SFMASK", sfmask),
                                  SAVE("KERNEL_GS_BASE", kernel_gs_base),
                                  SAVE("SYSENTER_CS", sysenter_cs),
                                  SAVE("SYSENTER_ESP", sysenter_esp),
                                  SAVE("SYSENTER_EIP", sysenter_eip),
                                  SAVE("CR2", cr2),
                                  SAVE("G_PAT", g_pat),
                                  SAVE("DBGCTL", dbgctl),
                                  SAVE("BR_FROM", br_from),
                                  SAVE("BR_TO", br_to),
                                  SAVE("LASTEXCPFROM", last_excp_from),
                                  SAVE("LASTEXCPTO", last_excp_to)};
    ASSERT_EQ(vmcb_fields().size(), cases.size()) << "every field, and no other";
    for (const auto& [name, offset, bytes] : cases) {
        const auto& field = field_named(name);
        EXPECT_EQ(field.offset, offset) << name;
        EXPECT_EQ(field.bytes, bytes) << name;
    }
}

#undef CONTROL
#undef SAVE
#undef SEGMENT

TEST(ReadField, TakesTheBytesOfTheFieldAndNoOther) {
    VmcbBytes vmcb;
    vmcb.fill(std::byte{0xff});
    struct Case {
        std::string_view name;
        std::uint64_t value;
    };
    const std::vector<Case> cases{
        {"CPL", 0x31}, {"CS.selector", 0x3231}, {"GUEST_ASID", 0x3433'3231}, {"RIP", 0x3837'3635'3433'3231}};
    for (const auto& [name, value] : cases) {
        auto bytes = vmcb;
        const auto& field = field_named(name);
        for (unsigned i = 0; i < field.bytes; ++i)
            bytes[field.offset + i] = static_cast<std::byte>(0x31 + i);
        EXPECT_EQ(read_field(bytes, field), value) << name;
    }
    for (const auto& field : vmcb_fields())
        EXPECT_EQ(read_field(vmcb, field), ~std::uint64_t{0} >> (64 - 8 * field.bytes)) << field.name;
}

struct CodeCase {
    ExitCode code;
    std::string text;
};

void PrintTo(const CodeCase& one, std::ostream* out) {
    *out << one.text;
}

class ExitCodeText : public testing::TestWithParam<CodeCase> {};

TEST_P(ExitCodeText, IsTheManualsName) {
    EXPECT_EQ(exit_code_text(static_cast<std::uint64_t>(GetParam().code)), GetParam().text);
}

constexpr ExitCode code(std::uint64_t value) {
    return static_cast<ExitCode>(value);
}

INSTANTIATE_TEST_SUITE_P(Ranges, ExitCodeText,
                         testing::Values(CodeCase{ExitCode::read_cr0, "VMEXIT_CR0_READ (0x0)"},
                                         CodeCase{read_cr_exit(15), "VMEXIT_CR15_READ (0xf)"},
                                         CodeCase{ExitCode::write_cr0, "VMEXIT_CR0_WRITE (0x10)"},
                                         CodeCase{write_cr_exit(15), "VMEXIT_CR15_WRITE (0x1f)"},
                                         CodeCase{ExitCode::read_dr0, "VMEXIT_DR0_READ (0x20)"},
                                         CodeCase{read_dr_exit(15), "VMEXIT_DR15_READ (0x2f)"},
                                         CodeCase{ExitCode::write_dr0, "VMEXIT_DR0_WRITE (0x30)"},
                                         CodeCase{write_dr_exit(7), "VMEXIT_DR7_WRITE (0x37)"},
                                         CodeCase{ExitCode::exception, "VMEXIT_EXCP0 (0x40)"},
                                         CodeCase{exception_exit(14), "VMEXIT_EXCP14 (0x4e)"},
                                         CodeCase{exception_exit(31), "VMEXIT_EXCP31 (0x5f)"},
                                         CodeCase{ExitCode::write_cr0_trap, "VMEXIT_CR0_WRITE_TRAP (0x90)"},
                                         CodeCase{code(0x9f), "VMEXIT_CR15_WRITE_TRAP (0x9f)"}));

INSTANTIATE_TEST_SUITE_P(
    Single, ExitCodeText,
    testing::Values(
        CodeCase{ExitCode::intr, "VMEXIT_INTR (0x60)"}, CodeCase{ExitCode::nmi, "VMEXIT_NMI (0x61)"},
        CodeCase{ExitCode::smi, "VMEXIT_SMI (0x62)"}, CodeCase{ExitCode::init, "VMEXIT_INIT (0x63)"},
        CodeCase{ExitCode::vintr, "VMEXIT_VINTR (0x64)"},
        CodeCase{ExitCode::cr0_sel_write, "VMEXIT_CR0_SEL_WRITE (0x65)"},
        CodeCase{ExitCode::idtr_read, "VMEXIT_IDTR_READ (0x66)"},
        CodeCase{ExitCode::tr_write, "VMEXIT_TR_WRITE (0x6d)"},
        CodeCase{ExitCode::rdtsc, "VMEXIT_RDTSC (0x6e)"}, CodeCase{ExitCode::cpuid, "VMEXIT_CPUID (0x72)"},
        CodeCase{ExitCode::pause, "VMEXIT_PAUSE (0x77)"}, CodeCase{ExitCode::hlt, "VMEXIT_HLT (0x78)"},
        CodeCase{ExitCode::ioio, "VMEXIT_IOIO (0x7b)"}, CodeCase{ExitCode::msr, "VMEXIT_MSR (0x7c)"},
        CodeCase{ExitCode::task_switch, "VMEXIT_TASK_SWITCH (0x7d)"},
        CodeCase{ExitCode::shutdown, "VMEXIT_SHUTDOWN (0x7f)"},
        CodeCase{ExitCode::vmrun, "VMEXIT_VMRUN (0x80)"},
        CodeCase{ExitCode::vmmcall, "VMEXIT_VMMCALL (0x81)"},
        CodeCase{ExitCode::rdtscp, "VMEXIT_RDTSCP (0x87)"},
        CodeCase{ExitCode::xsetbv, "VMEXIT_XSETBV (0x8d)"},
        CodeCase{ExitCode::efer_write_trap, "VMEXIT_EFER_WRITE_TRAP (0x8f)"},
        CodeCase{ExitCode::invlpgb, "VMEXIT_INVLPGB (0xa0)"},
        CodeCase{ExitCode::bus_lock, "VMEXIT_BUSLOCK (0xa5)"},
        CodeCase{ExitCode::idle_hlt, "VMEXIT_IDLE_HLT (0xa6)"}, CodeCase{ExitCode::npf, "VMEXIT_NPF (0x400)"},
        CodeCase{ExitCode::avic_incomplete_ipi, "VMEXIT_AVIC_INCOMPLETE_IPI (0x401)"},
        CodeCase{ExitCode::avic_noaccel, "VMEXIT_AVIC_NOACCEL (0x402)"},
        CodeCase{ExitCode::vmgexit, "VMEXIT_VMGEXIT (0x403)"},
        CodeCase{ExitCode::invalid, "VMEXIT_INVALID (0xffffffffffffffff)"}));

INSTANTIATE_TEST_SUITE_P(Unknown, ExitCodeText,
                         testing::Values(CodeCase{code(0xa7), "0xa7"}, CodeCase{code(0x3ff), "0x3ff"},
                                         CodeCase{code(0x404), "0x404"},
                                         CodeCase{code(0xffff'ffff), "0xffffffff"},
                                         CodeCase{code(std::uint64_t{1} << 32), "0x100000000"}));

// Every code that tests can name has a name here.
TEST(ExitCodes, FromTheFirstToTheLastHaveNamesOfTheirOwn) {
    std::set<std::string> names;
    const auto take = [&](std::uint64_t value) {
        const auto text = exit_code_text(value);
        EXPECT_TRUE(text.starts_with("VMEXIT_")) << text;
        EXPECT_TRUE(names.insert(text.substr(0, text.find(' '))).second) << text;
    };
    for (std::uint64_t value = 0; value <= 0xa6; ++value)
        take(value);
    for (std::uint64_t value = 0x400; value <= 0x403; ++value)
        take(value);
    take(~std::uint64_t{0});
}

struct MeaningCase {
    std::string field;
    std::uint64_t value = 0;
    std::string text;
};

void PrintTo(const MeaningCase& one, std::ostream* out) {
    *out << one.field << " = " << one.value;
}

class Meaning : public testing::TestWithParam<MeaningCase> {};

TEST_P(Meaning, SaysWhatTheBitsAre) {
    EXPECT_EQ(meaning(field_named(GetParam().field), GetParam().value), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    All, Meaning,
    testing::Values(
        MeaningCase{"INTERCEPT_CR", 0, ""},
        MeaningCase{"INTERCEPT_CR", 1U << 3 | 1U << 20, "CR3 read, CR4 write"},
        MeaningCase{"INTERCEPT_DR", 1U << 15 | 1U << 16 | 1U << 31, "DR15 read, DR0 write, DR15 write"},
        MeaningCase{"INTERCEPT_EXCEPTIONS", 0, ""},
        MeaningCase{"INTERCEPT_EXCEPTIONS", 1U << 6 | 1U << 14 | 1U << 31, "vectors 6, 14, 31"},
        MeaningCase{"INTERCEPT_MISC1", 1U, "INTR"},
        MeaningCase{"INTERCEPT_MISC1", 1U << 18 | 1U << 31, "CPUID, SHUTDOWN"},
        MeaningCase{"INTERCEPT_MISC2", 1U | 1U << 15, "VMRUN, EFER_WRITE_TRAP"},
        MeaningCase{"INTERCEPT_MISC2", 1U << 16 | 1U << 31, "CR0_WRITE_TRAP, CR15_WRITE_TRAP"},
        MeaningCase{"INTERCEPT_MISC3", 1U << 6 | 1U << 7, "IDLE_HLT, bit 7"},
        MeaningCase{"INT_CTL", 0, "V_TPR 0, V_INTR_PRIO 0"},
        MeaningCase{"INT_CTL", int_ctl::v_intr_masking | 0xaU << int_ctl::v_intr_prio_shift | 0x35,
                    "V_TPR 53, V_INTR_PRIO 10, V_INTR_MASKING"},
        MeaningCase{"INT_CTL",
                    int_ctl::v_irq | int_ctl::vgif | int_ctl::v_nmi | int_ctl::v_nmi_mask |
                        int_ctl::v_ign_tpr | int_ctl::vgif_enable | int_ctl::v_nmi_enable |
                        int_ctl::x2avic_enable | int_ctl::avic_enable,
                    "V_TPR 0, V_INTR_PRIO 0, V_IRQ, VGIF, V_NMI, V_NMI_MASK, V_IGN_TPR, VGIF_ENABLE, "
                    "V_NMI_ENABLE, X2AVIC, AVIC"},
        MeaningCase{"EXITCODE", 0x72, "CPUID"}, MeaningCase{"EXITCODE", 0x4e, "EXCP14"},
        MeaningCase{"EXITCODE", ~std::uint64_t{0}, "INVALID"}, MeaningCase{"EXITCODE", 0x1234, ""},
        MeaningCase{"EXITINTINFO", 0, ""}, MeaningCase{"EXITINTINFO", 14, "not valid"},
        MeaningCase{"EXITINTINFO", event(EventType::interrupt, 0x41), "interrupt, vector 65"},
        MeaningCase{"EVENTINJ", event(EventType::nmi, 2), "NMI, vector 2"},
        MeaningCase{"EVENTINJ", event(EventType::exception, 14, 6), "exception, vector 14, error code 0x6"},
        MeaningCase{"EVENTINJ", event(EventType::software_interrupt, 0x80), "software interrupt, vector 128"},
        MeaningCase{"EVENTINJ", event_valid | 1U << 8, "type 1, vector 0"},
        MeaningCase{"EVENTINJ", ~std::uint64_t{0}, "type 7, vector 255, error code 0xffffffff"},
        MeaningCase{"VMCB_CLEAN", clean::intercepts | clean::np | clean::cet, "I, NP, CET"},
        MeaningCase{"VMCB_CLEAN", std::uint64_t{1} << 63, "bit 63"}, MeaningCase{"RIP", 0x1000, ""},
        MeaningCase{"GUEST_ASID", 1, ""}));

// The table of names and the enumeration that tests use are of one mind.
TEST(Meaning, NamesTheInterceptsAsTheirBitsAreSet) {
    struct Case {
        Intercept intercept;
        std::string_view field;
        std::string text;
    };
    const std::vector<Case> cases{{Intercept::intr, "INTERCEPT_MISC1", "INTR"},
                                  {Intercept::vintr, "INTERCEPT_MISC1", "VINTR"},
                                  {Intercept::cr0_sel_write, "INTERCEPT_MISC1", "CR0_SEL_WRITE"},
                                  {Intercept::swint, "INTERCEPT_MISC1", "INTn"},
                                  {Intercept::ioio_prot, "INTERCEPT_MISC1", "IOIO_PROT"},
                                  {Intercept::msr_prot, "INTERCEPT_MISC1", "MSR_PROT"},
                                  {Intercept::shutdown, "INTERCEPT_MISC1", "SHUTDOWN"},
                                  {Intercept::vmrun, "INTERCEPT_MISC2", "VMRUN"},
                                  {Intercept::icebp, "INTERCEPT_MISC2", "ICEBP"},
                                  {Intercept::xsetbv, "INTERCEPT_MISC2", "XSETBV"},
                                  {Intercept::efer_write_trap, "INTERCEPT_MISC2", "EFER_WRITE_TRAP"},
                                  {Intercept::cr_write_trap, "INTERCEPT_MISC2", "CR0_WRITE_TRAP"},
                                  {Intercept::invlpgb, "INTERCEPT_MISC3", "INVLPGB"},
                                  {Intercept::idle_hlt, "INTERCEPT_MISC3", "IDLE_HLT"}};
    for (const auto& [intercept, name, text] : cases) {
        Vmcb vmcb{};
        set_intercept(vmcb.control, intercept);
        const auto& field = field_named(name);
        EXPECT_EQ(meaning(field, read_field(bytes_of(vmcb), field)), text);
    }
}

TEST(DescribeVmcbs, LeavesOutWhatIsZeroInBoth) {
    EXPECT_THAT(describe_vmcbs(bytes_of({}), bytes_of({})), IsEmpty());
}

TEST(DescribeVmcbs, ShowsWhatWasWrittenAndWhatBecameOfIt) {
    Vmcb written{};
    written.control.intercept_exceptions = 1U << 14;
    written.control.asid = 1;
    written.control.event_inj = event(EventType::nmi, 2);
    written.save.rip = 0x1000;
    auto after = written;
    after.control.intercept_exceptions = 0;
    after.control.event_inj = 0;
    after.control.exit_code = static_cast<std::uint64_t>(ExitCode::cpuid);
    after.save.rip = 0x1002;
    EXPECT_THAT(describe_vmcbs(bytes_of(written), bytes_of(after)),
                ElementsAre("INTERCEPT_EXCEPTIONS   0x4000 -> 0x0", "GUEST_ASID             0x1",
                            "EXITCODE               0x0 -> 0x72  (CPUID)",
                            "EVENTINJ               0x80000202 -> 0x0",
                            "RIP                    0x1000 -> 0x1002"));
}

TEST(DescribeVmcbs, HasALineForEachFieldThatIsNotZero) {
    VmcbBytes ones;
    ones.fill(std::byte{0xff});
    EXPECT_EQ(describe_vmcbs(ones, bytes_of({})).size(), vmcb_fields().size());
    EXPECT_EQ(describe_vmcbs(bytes_of({}), ones).size(), vmcb_fields().size());
}

} // namespace
} // namespace nestbed::svm
