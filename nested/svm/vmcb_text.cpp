#include "nested/svm/vmcb_text.hpp"

#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "nested/svm/event.hpp"
#include "nested/svm/exit_code.hpp"
#include "nested/svm/vmcb.hpp"

namespace nestbed::svm {

namespace {

// APM volume 2, appendix B, tables B-1 and B-2.
constexpr std::array fields{
    VmcbField{"INTERCEPT_CR", 0x000, 4},
    VmcbField{"INTERCEPT_DR", 0x004, 4},
    VmcbField{"INTERCEPT_EXCEPTIONS", 0x008, 4},
    VmcbField{"INTERCEPT_MISC1", 0x00c, 4},
    VmcbField{"INTERCEPT_MISC2", 0x010, 4},
    VmcbField{"INTERCEPT_MISC3", 0x014, 4},
    VmcbField{"PAUSE_FILTER_THRESHOLD", 0x03c, 2},
    VmcbField{"PAUSE_FILTER_COUNT", 0x03e, 2},
    VmcbField{"IOPM_BASE_PA", 0x040, 8},
    VmcbField{"MSRPM_BASE_PA", 0x048, 8},
    VmcbField{"TSC_OFFSET", 0x050, 8},
    VmcbField{"GUEST_ASID", 0x058, 4},
    VmcbField{"TLB_CONTROL", 0x05c, 1},
    VmcbField{"INT_CTL", 0x060, 4},
    VmcbField{"V_INTR_VECTOR", 0x064, 4},
    VmcbField{"INTERRUPT_SHADOW", 0x068, 8},
    VmcbField{"EXITCODE", 0x070, 8},
    VmcbField{"EXITINFO1", 0x078, 8},
    VmcbField{"EXITINFO2", 0x080, 8},
    VmcbField{"EXITINTINFO", 0x088, 8},
    VmcbField{"NP_ENABLE", 0x090, 8},
    VmcbField{"AVIC_APIC_BAR", 0x098, 8},
    VmcbField{"GHCB_PA", 0x0a0, 8},
    VmcbField{"EVENTINJ", 0x0a8, 8},
    VmcbField{"N_CR3", 0x0b0, 8},
    VmcbField{"VIRT_EXT", 0x0b8, 8},
    VmcbField{"VMCB_CLEAN", 0x0c0, 8},
    VmcbField{"NRIP", 0x0c8, 8},
    VmcbField{"FETCHED_BYTES", 0x0d0, 1},
    VmcbField{"AVIC_BACKING_PAGE", 0x0e0, 8},
    VmcbField{"AVIC_LOGICAL_TABLE", 0x0f0, 8},
    VmcbField{"AVIC_PHYSICAL_TABLE", 0x0f8, 8},
    VmcbField{"VMSA_PA", 0x108, 8},
    VmcbField{"ES.selector", 0x400, 2},
    VmcbField{"ES.attributes", 0x402, 2},
    VmcbField{"ES.limit", 0x404, 4},
    VmcbField{"ES.base", 0x408, 8},
    VmcbField{"CS.selector", 0x410, 2},
    VmcbField{"CS.attributes", 0x412, 2},
    VmcbField{"CS.limit", 0x414, 4},
    VmcbField{"CS.base", 0x418, 8},
    VmcbField{"SS.selector", 0x420, 2},
    VmcbField{"SS.attributes", 0x422, 2},
    VmcbField{"SS.limit", 0x424, 4},
    VmcbField{"SS.base", 0x428, 8},
    VmcbField{"DS.selector", 0x430, 2},
    VmcbField{"DS.attributes", 0x432, 2},
    VmcbField{"DS.limit", 0x434, 4},
    VmcbField{"DS.base", 0x438, 8},
    VmcbField{"FS.selector", 0x440, 2},
    VmcbField{"FS.attributes", 0x442, 2},
    VmcbField{"FS.limit", 0x444, 4},
    VmcbField{"FS.base", 0x448, 8},
    VmcbField{"GS.selector", 0x450, 2},
    VmcbField{"GS.attributes", 0x452, 2},
    VmcbField{"GS.limit", 0x454, 4},
    VmcbField{"GS.base", 0x458, 8},
    VmcbField{"GDTR.selector", 0x460, 2},
    VmcbField{"GDTR.attributes", 0x462, 2},
    VmcbField{"GDTR.limit", 0x464, 4},
    VmcbField{"GDTR.base", 0x468, 8},
    VmcbField{"LDTR.selector", 0x470, 2},
    VmcbField{"LDTR.attributes", 0x472, 2},
    VmcbField{"LDTR.limit", 0x474, 4},
    VmcbField{"LDTR.base", 0x478, 8},
    VmcbField{"IDTR.selector", 0x480, 2},
    VmcbField{"IDTR.attributes", 0x482, 2},
    VmcbField{"IDTR.limit", 0x484, 4},
    VmcbField{"IDTR.base", 0x488, 8},
    VmcbField{"TR.selector", 0x490, 2},
    VmcbField{"TR.attributes", 0x492, 2},
    VmcbField{"TR.limit", 0x494, 4},
    VmcbField{"TR.base", 0x498, 8},
    VmcbField{"CPL", 0x4cb, 1},
    VmcbField{"EFER", 0x4d0, 8},
    VmcbField{"CR4", 0x548, 8},
    VmcbField{"CR3", 0x550, 8},
    VmcbField{"CR0", 0x558, 8},
    VmcbField{"DR7", 0x560, 8},
    VmcbField{"DR6", 0x568, 8},
    VmcbField{"RFLAGS", 0x570, 8},
    VmcbField{"RIP", 0x578, 8},
    VmcbField{"RSP", 0x5d8, 8},
    VmcbField{"S_CET", 0x5e0, 8},
    VmcbField{"SSP", 0x5e8, 8},
    VmcbField{"ISST_ADDR", 0x5f0, 8},
    VmcbField{"RAX", 0x5f8, 8},
    VmcbField{"STAR", 0x600, 8},
    VmcbField{"LSTAR", 0x608, 8},
    VmcbField{"CSTAR", 0x610, 8},
    VmcbField{"SFMASK", 0x618, 8},
    VmcbField{"KERNEL_GS_BASE", 0x620, 8},
    VmcbField{"SYSENTER_CS", 0x628, 8},
    VmcbField{"SYSENTER_ESP", 0x630, 8},
    VmcbField{"SYSENTER_EIP", 0x638, 8},
    VmcbField{"CR2", 0x640, 8},
    VmcbField{"G_PAT", 0x668, 8},
    VmcbField{"DBGCTL", 0x670, 8},
    VmcbField{"BR_FROM", 0x678, 8},
    VmcbField{"BR_TO", 0x680, 8},
    VmcbField{"LASTEXCPFROM", 0x688, 8},
    VmcbField{"LASTEXCPTO", 0x690, 8},
};

// APM volume 2, appendix C; the ranges of control registers, debug registers and exceptions apart.
struct NamedCode {
    std::uint64_t code;
    std::string_view name;
};
constexpr std::array single_codes{
    NamedCode{0x60, "INTR"},
    NamedCode{0x61, "NMI"},
    NamedCode{0x62, "SMI"},
    NamedCode{0x63, "INIT"},
    NamedCode{0x64, "VINTR"},
    NamedCode{0x65, "CR0_SEL_WRITE"},
    NamedCode{0x66, "IDTR_READ"},
    NamedCode{0x67, "GDTR_READ"},
    NamedCode{0x68, "LDTR_READ"},
    NamedCode{0x69, "TR_READ"},
    NamedCode{0x6a, "IDTR_WRITE"},
    NamedCode{0x6b, "GDTR_WRITE"},
    NamedCode{0x6c, "LDTR_WRITE"},
    NamedCode{0x6d, "TR_WRITE"},
    NamedCode{0x6e, "RDTSC"},
    NamedCode{0x6f, "RDPMC"},
    NamedCode{0x70, "PUSHF"},
    NamedCode{0x71, "POPF"},
    NamedCode{0x72, "CPUID"},
    NamedCode{0x73, "RSM"},
    NamedCode{0x74, "IRET"},
    NamedCode{0x75, "SWINT"},
    NamedCode{0x76, "INVD"},
    NamedCode{0x77, "PAUSE"},
    NamedCode{0x78, "HLT"},
    NamedCode{0x79, "INVLPG"},
    NamedCode{0x7a, "INVLPGA"},
    NamedCode{0x7b, "IOIO"},
    NamedCode{0x7c, "MSR"},
    NamedCode{0x7d, "TASK_SWITCH"},
    NamedCode{0x7e, "FERR_FREEZE"},
    NamedCode{0x7f, "SHUTDOWN"},
    NamedCode{0x80, "VMRUN"},
    NamedCode{0x81, "VMMCALL"},
    NamedCode{0x82, "VMLOAD"},
    NamedCode{0x83, "VMSAVE"},
    NamedCode{0x84, "STGI"},
    NamedCode{0x85, "CLGI"},
    NamedCode{0x86, "SKINIT"},
    NamedCode{0x87, "RDTSCP"},
    NamedCode{0x88, "ICEBP"},
    NamedCode{0x89, "WBINVD"},
    NamedCode{0x8a, "MONITOR"},
    NamedCode{0x8b, "MWAIT"},
    NamedCode{0x8c, "MWAIT_CONDITIONAL"},
    NamedCode{0x8d, "XSETBV"},
    NamedCode{0x8e, "RDPRU"},
    NamedCode{0x8f, "EFER_WRITE_TRAP"},
    NamedCode{0xa0, "INVLPGB"},
    NamedCode{0xa1, "INVLPGB_ILLEGAL"},
    NamedCode{0xa2, "INVPCID"},
    NamedCode{0xa3, "MCOMMIT"},
    NamedCode{0xa4, "TLBSYNC"},
    NamedCode{0xa5, "BUSLOCK"},
    NamedCode{0xa6, "IDLE_HLT"},
    NamedCode{0x400, "NPF"},
    NamedCode{0x401, "AVIC_INCOMPLETE_IPI"},
    NamedCode{0x402, "AVIC_NOACCEL"},
    NamedCode{0x403, "VMGEXIT"},
    NamedCode{~std::uint64_t{0}, "INVALID"},
};

std::string code_name(std::uint64_t code) {
    if (code < 0x10)
        return fmt::format("CR{}_READ", code);
    if (code < 0x20)
        return fmt::format("CR{}_WRITE", code - 0x10);
    if (code < 0x30)
        return fmt::format("DR{}_READ", code - 0x20);
    if (code < 0x40)
        return fmt::format("DR{}_WRITE", code - 0x30);
    if (code < 0x60)
        return fmt::format("EXCP{}", code - 0x40);
    if (code >= 0x90 && code < 0xa0)
        return fmt::format("CR{}_WRITE_TRAP", code - 0x90);
    for (const auto& known : single_codes)
        if (known.code == code)
            return std::string{known.name};
    return {};
}

constexpr std::array misc1{
    "INTR",      "NMI",         "SMI",         "INIT",       "VINTR",      "CR0_SEL_WRITE", "IDTR_READ",
    "GDTR_READ", "LDTR_READ",   "TR_READ",     "IDTR_WRITE", "GDTR_WRITE", "LDTR_WRITE",    "TR_WRITE",
    "RDTSC",     "RDPMC",       "PUSHF",       "POPF",       "CPUID",      "RSM",           "IRET",
    "INTn",      "INVD",        "PAUSE",       "HLT",        "INVLPG",     "INVLPGA",       "IOIO_PROT",
    "MSR_PROT",  "TASK_SWITCH", "FERR_FREEZE", "SHUTDOWN"};
constexpr std::array misc2{"VMRUN",       "VMMCALL", "VMLOAD", "VMSAVE",         "STGI",    "CLGI",
                           "SKINIT",      "RDTSCP",  "ICEBP",  "WBINVD",         "MONITOR", "MWAIT",
                           "MWAIT_ARMED", "XSETBV",  "RDPRU",  "EFER_WRITE_TRAP"};
constexpr std::array misc3{"INVLPGB", "INVLPGB_ILLEGAL", "INVPCID", "MCOMMIT",
                           "TLBSYNC", "BUSLOCK",         "IDLE_HLT"};
constexpr std::array clean_names{"I",  "IOPM", "ASID", "TPR", "NP",   "CRx", "DRx",
                                 "DT", "SEG",  "CR2",  "LBR", "AVIC", "CET"};

struct Flag {
    std::uint64_t mask;
    std::string_view name;
};
constexpr std::array int_ctl_flags{
    Flag{int_ctl::v_irq, "V_IRQ"},
    Flag{int_ctl::vgif, "VGIF"},
    Flag{int_ctl::v_nmi, "V_NMI"},
    Flag{int_ctl::v_nmi_mask, "V_NMI_MASK"},
    Flag{int_ctl::v_ign_tpr, "V_IGN_TPR"},
    Flag{int_ctl::v_intr_masking, "V_INTR_MASKING"},
    Flag{int_ctl::vgif_enable, "VGIF_ENABLE"},
    Flag{int_ctl::v_nmi_enable, "V_NMI_ENABLE"},
    Flag{int_ctl::x2avic_enable, "X2AVIC"},
    Flag{int_ctl::avic_enable, "AVIC"},
};

template<typename Names>
std::string bit_names(std::uint64_t value, const Names& names) {
    std::vector<std::string> words;
    for (unsigned bit = 0; bit < 64; ++bit)
        if ((value >> bit & 1) != 0)
            words.push_back(bit < names.size() ? std::string{names[bit]} : fmt::format("bit {}", bit));
    return fmt::format("{}", fmt::join(words, ", "));
}

std::string register_pair(std::uint64_t value, std::string_view prefix) {
    std::vector<std::string> words;
    for (unsigned bit = 0; bit < 32; ++bit)
        if ((value >> bit & 1) != 0)
            words.push_back(fmt::format("{}{} {}", prefix, bit % 16, bit < 16 ? "read" : "write"));
    return fmt::format("{}", fmt::join(words, ", "));
}

// INTERCEPT_MISC2: instructions in the lower half, writes of CRn, seen after they are done, in the upper one.
std::string misc2_names(std::uint64_t value) {
    std::vector<std::string> words;
    for (unsigned bit = 0; bit < 32; ++bit)
        if ((value >> bit & 1) != 0)
            words.push_back(bit < misc2.size() ? std::string{misc2[bit]}
                                               : fmt::format("CR{}_WRITE_TRAP", bit - misc2.size()));
    return fmt::format("{}", fmt::join(words, ", "));
}

std::string int_ctl_text(std::uint64_t value) {
    auto text = fmt::format("V_TPR {}, V_INTR_PRIO {}", value & int_ctl::v_tpr,
                            (value & int_ctl::v_intr_prio) >> int_ctl::v_intr_prio_shift);
    for (const auto& flag : int_ctl_flags)
        if ((value & flag.mask) != 0)
            text += fmt::format(", {}", flag.name);
    return text;
}

std::string event_text(std::uint64_t value) {
    if ((value & event_valid) == 0)
        return value == 0 ? "" : "not valid";
    constexpr std::array types{"interrupt",          "type 1", "NMI",    "exception",
                               "software interrupt", "type 5", "type 6", "type 7"};
    auto text = fmt::format("{}, vector {}", types[value >> 8 & 7], value & 0xff);
    if ((value & event_has_error_code) != 0)
        text += fmt::format(", error code {:#x}", value >> 32);
    return text;
}

} // namespace

std::span<const VmcbField> vmcb_fields() {
    return fields;
}

std::uint64_t read_field(const VmcbBytes& vmcb, const VmcbField& field) {
    std::uint64_t value = 0; // little-endian, as the field is
    std::memcpy(&value, vmcb.data() + field.offset, field.bytes);
    return value;
}

std::string exit_code_text(std::uint64_t code) {
    const auto name = code_name(code);
    return name.empty() ? fmt::format("{:#x}", code) : fmt::format("VMEXIT_{} ({:#x})", name, code);
}

std::string meaning(const VmcbField& field, std::uint64_t value) {
    switch (field.offset) {
    case offsetof(ControlArea, intercept_cr):
        return register_pair(value, "CR");
    case offsetof(ControlArea, intercept_dr):
        return register_pair(value, "DR");
    case offsetof(ControlArea, intercept_exceptions): {
        std::vector<unsigned> vectors;
        for (unsigned bit = 0; bit < 32; ++bit)
            if ((value >> bit & 1) != 0)
                vectors.push_back(bit);
        return vectors.empty() ? std::string{} : fmt::format("vectors {}", fmt::join(vectors, ", "));
    }
    case offsetof(ControlArea, intercept_misc1):
        return bit_names(value, misc1);
    case offsetof(ControlArea, intercept_misc2):
        return misc2_names(value);
    case offsetof(ControlArea, intercept_misc3):
        return bit_names(value, misc3);
    case offsetof(ControlArea, int_ctl):
        return int_ctl_text(value);
    case offsetof(ControlArea, exit_code):
        return code_name(value);
    case offsetof(ControlArea, exit_int_info):
    case offsetof(ControlArea, event_inj):
        return event_text(value);
    case offsetof(ControlArea, clean):
        return bit_names(value, clean_names);
    default:
        return {};
    }
}

std::vector<std::string> describe_vmcbs(const VmcbBytes& written, const VmcbBytes& after) {
    std::vector<std::string> lines;
    for (const auto& field : fields) {
        const auto before = read_field(written, field);
        const auto now = read_field(after, field);
        if (before == 0 && now == 0)
            continue;
        auto line = fmt::format("{:<22} {:#x}", field.name, before);
        if (now != before)
            line += fmt::format(" -> {:#x}", now);
        if (const auto text = meaning(field, now); !text.empty())
            line += fmt::format("  ({})", text);
        lines.push_back(std::move(line));
    }
    return lines;
}

} // namespace nestbed::svm
