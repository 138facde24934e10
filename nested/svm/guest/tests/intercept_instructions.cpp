// Instruction intercepts: with its bit set an instruction leaves L2 and has done nothing; with its bit clear,
// and every other bit set, it runs.
#include "core/guest/apic.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/snippet.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::physical;

namespace {

constexpr std::uint64_t cr4_osxsave = 1U << 18;

struct Instruction {
    const char* name;
    Intercept bit;
    ExitCode exit;
    Snippet code64, code32, code16;
    void (*prepare)(L2&, Mode);        // operands
    void (*check)(L2&, const Before&); // that it did what it is for, in 64-bit mode
    const char* (*lacking)() = [] { return static_cast<const char*>(nullptr); };
};

const Snippet& code_of(const Instruction& instruction, Mode mode) {
    return bits_of(mode) == 64   ? instruction.code64
           : bits_of(mode) == 32 ? instruction.code32
                                 : instruction.code16;
}

struct [[gnu::packed]] DescriptorTable {
    std::uint16_t limit;
    std::uint64_t base;
};
const DescriptorTable& stored_table(L2& guest) {
    return *guest::pointer_to<DescriptorTable>(guest.registers.rsi);
}
std::uint64_t& stack_of(L2& guest, unsigned index) {
    return guest::pointer_to<std::uint64_t>(guest.save().rsp)[index];
}

void no_operand(L2&, Mode) {}
void memory_operand(L2& guest, Mode mode) {
    point_at_buffer(guest, mode);
}
void nothing_to_see(L2& guest, const Before& before) {
    expect_equal(guest.save().rax, before.save.rax, "RAX, which the instruction does not touch");
}

void table_operand(L2& guest, Mode mode) {
    auto* const buffer = point_at_buffer(guest, mode);
    *reinterpret_cast<DescriptorTable*>(buffer) = {0x1a7, 0x0012'3450};
}

void vmcb_operand(L2& guest, Mode) {
    guest.save().rax = physical(conform::allocate_pages(1));
}

void iret_frame(L2& guest, const Snippet& code) {
    guest.save().rsp -= 64;
    const auto& save = guest.save();
    const std::uint64_t frame[] = {reinterpret_cast<std::uint64_t>(code.after), save.cs.selector, 0x8c7,
                                   save.rsp + 64, save.ss.selector};
    for (unsigned i = 0; i < 5; ++i)
        stack_of(guest, i) = frame[i];
}

bool has(std::uint32_t leaf, std::uint32_t guest::CpuidRegisters::*which, unsigned bit) {
    return (guest::cpuid(leaf, 0).*which >> bit & 1) != 0;
}
using Cpuid = guest::CpuidRegisters;

// All intercepts of instructions but this, and those of control and debug registers.
void intercept_all_but(L2& guest, Intercept bit) {
    for (auto i = static_cast<unsigned>(Intercept::idtr_read); i <= static_cast<unsigned>(Intercept::invlpga);
         ++i)
        guest.intercept(static_cast<Intercept>(i));
    for (auto i = static_cast<unsigned>(Intercept::vmrun); i <= static_cast<unsigned>(Intercept::xsetbv); ++i)
        guest.intercept(static_cast<Intercept>(i));
    guest.intercept(Intercept::cr0_sel_write);
    guest.control().intercept_cr = 0xffff'ffff;
    guest.control().intercept_dr = 0xffff'ffff;
    guest.intercept(bit, false);
}

// An interrupt of L1's own after so many ticks of the bus clock, 1 GHz under KVM.
void start_timer(std::uint64_t ticks) {
    guest::set_interrupt_handler(0x51, [](std::uint64_t) {});
    guest::wrmsr(0x83e, 0xb);                                                         // divide by 1
    guest::wrmsr(static_cast<std::uint32_t>(guest::apic::Register::lvt_timer), 0x51); // one shot
    guest::wrmsr(0x838, ticks);
}

template<const Instruction& instruction, Mode mode>
void exits() {
    if (const char* const lacking = instruction.lacking(); lacking != nullptr)
        return conform::not_applicable(lacking);
    L2 guest;
    const auto& code = code_of(instruction, mode);
    place(guest, code, mode);
    instruction.prepare(guest, mode);
    const auto before = state_of(guest);
    guest.intercept(instruction.bit);
    if (!guest.run_to(instruction.exit, instruction.name))
        return;
    expect_untouched(guest, before, instruction.name);
    expect_next_rip(guest, rip_of(code, code.after, mode), instruction.name);
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V: no event was on its way");
}

template<const Instruction& instruction>
void executes() {
    if (const char* const lacking = instruction.lacking(); lacking != nullptr)
        return conform::not_applicable(lacking);
    L2 guest;
    place(guest, instruction.code64, Mode::long64);
    instruction.prepare(guest, Mode::long64);
    const auto before = state_of(guest);
    intercept_all_but(guest, instruction.bit);
    if (run_past(guest, instruction.code64, Mode::long64, instruction.name))
        instruction.check(guest, before);
}

// L1 looks at the instruction once, then lets it run.
template<const Instruction& instruction>
void exits_then_executes() {
    if (const char* const lacking = instruction.lacking(); lacking != nullptr)
        return conform::not_applicable(lacking);
    L2 guest;
    place(guest, instruction.code64, Mode::long64);
    instruction.prepare(guest, Mode::long64);
    const auto before = state_of(guest);
    guest.intercept(instruction.bit);
    if (!guest.run_to(instruction.exit, instruction.name))
        return;
    guest.intercept(instruction.bit, false);
    if (run_past(guest, instruction.code64, Mode::long64, instruction.name))
        instruction.check(guest, before);
}

// 15.9, table 15-7: most instructions check for exceptions other than those of memory first.
template<const Instruction& instruction, std::uint8_t vector, Mode mode>
void faults_first() {
    if (const char* const lacking = instruction.lacking(); lacking != nullptr)
        return conform::not_applicable(lacking);
    L2 guest;
    const auto& code = code_of(instruction, mode);
    place(guest, code, mode);
    instruction.prepare(guest, mode);
    const auto before = state_of(guest);
    guest.intercept(instruction.bit);
    if (run_to_exception(guest, code, mode, vector, 0, instruction.name))
        expect_untouched(guest, before, instruction.name);
}

// The same, with the exception left to L2's own handler.
template<const Instruction& instruction, std::uint8_t vector>
void fault_is_delivered() {
    if (const char* const lacking = instruction.lacking(); lacking != nullptr)
        return conform::not_applicable(lacking);
    L2 guest;
    place(guest, instruction.code64, Mode::long64_ring3);
    instruction.prepare(guest, Mode::long64_ring3);
    guest.intercept(instruction.bit);
    const auto frame = run_to_handler(guest, vector, instruction.name);
    expect_equal(frame.rip, reinterpret_cast<std::uint64_t>(instruction.code64.at),
                 "RIP that L2's handler finds");
    expect_equal(frame.cs, nestbed::wire::user_code_selector, "CS that L2's handler finds");
    expect_equal(frame.error_code, 0U, "error code that L2's handler finds");
}

} // namespace

// NOLINTBEGIN: names are made of the instruction's
#define INSTRUCTION(id, the_bit, the_exit, text, prepare, check, ...)                                        \
    L2_SNIPPET(id##_16, 16, text);                                                                           \
    L2_SNIPPET(id##_32, 32, text);                                                                           \
    L2_SNIPPET(id##_64, 64, text);                                                                           \
    static constexpr Instruction id##_instruction {                                                          \
#id, Intercept::the_bit, ExitCode::the_exit, id##_64, id##_32, id##_16, prepare,                     \
            check __VA_OPT__(, ) __VA_ARGS__                                                                 \
    }

#define EXITS(id, mode, suffix, where)                                                                       \
    SVM_CASE(id##_exits##suffix, "svm.intercept." #id "_exits" #suffix,                                      \
             #id " that L1 intercepts leaves L2" where " and has done nothing", "15.9",                      \
             (&exits<id##_instruction, Mode::mode>))
#define EXITS_64(id) EXITS(id, long64, , "")
#define EXITS_RING3(id) EXITS(id, long64_ring3, _ring3, " from ring 3")
#define EXITS_32(id) EXITS(id, protected32, _protected, " from protected mode")
#define EXITS_COMPATIBILITY(id) EXITS(id, compatibility, _compatibility, " from compatibility mode")
#define EXITS_PAE(id) EXITS(id, pae32, _pae, " from protected mode with PAE paging")
#define EXITS_16(id) EXITS(id, real16, _real, " from real mode")
#define EXECUTES(id)                                                                                         \
    SVM_CASE(id##_executes, "svm.intercept." #id "_executes",                                                \
             #id " runs in L2 where every intercept but its own is set", "15.9",                             \
             (&executes<id##_instruction>));                                                                 \
    SVM_CASE(id##_exits_then_executes, "svm.intercept." #id "_exits_then_executes",                          \
             #id " runs once L1 has taken its intercept back", "15.9",                                       \
             (&exits_then_executes<id##_instruction>))
#define FAULTS_FIRST(id, vector, mode, suffix, what)                                                         \
    SVM_CASE(id##_##suffix, "svm.intercept." #id "_" #suffix, #id " " what " before its intercept acts",     \
             "15.9, table 15-7", (&faults_first<id##_instruction, vector, Mode::mode>))
#define GP_IN_RING3(id)                                                                                      \
    FAULTS_FIRST(id, 13, long64_ring3, ring3_gp, "in ring 3 raises #GP");                                    \
    SVM_CASE(id##_ring3_gp_delivered, "svm.intercept." #id "_ring3_gp_delivered",                            \
             #id " in ring 3, intercepted or not, is a #GP that L2's own handler gets", "15.9, table 15-7",  \
             (&fault_is_delivered<id##_instruction, 13>))
#define UD_IN_REAL_MODE(id) FAULTS_FIRST(id, 6, real16, real_ud, "in real mode raises #UD")
// NOLINTEND

namespace {
void saw_idtr(L2& guest, const Before& before) {
    expect_equal(stored_table(guest).limit, before.save.idtr.limit, "limit that SIDT stored");
    expect_equal(stored_table(guest).base, before.save.idtr.base, "base that SIDT stored");
}
void saw_gdtr(L2& guest, const Before& before) {
    expect_equal(stored_table(guest).limit, before.save.gdtr.limit, "limit that SGDT stored");
    expect_equal(stored_table(guest).base, before.save.gdtr.base, "base that SGDT stored");
}
void ldtr_value(L2& guest, Mode mode) {
    if (mode != Mode::real16)
        guest.save().ldtr = {0x58, 0x082, 0x7f, 0x123000};
}
void tr_value(L2& guest, Mode) {
    guest.save().tr.selector = 0x70; // nothing looks it up again
}
void loaded_idtr(L2& guest, const Before&) {
    expect_equal(guest.save().idtr.limit, 0x1a7U, "IDTR limit that L2 loaded");
    expect_equal(guest.save().idtr.base, 0x0012'3450U, "IDTR base that L2 loaded");
}
void loaded_gdtr(L2& guest, const Before&) {
    expect_equal(guest.save().gdtr.limit, 0x1a7U, "GDTR limit that L2 loaded");
    expect_equal(guest.save().gdtr.base, 0x0012'3450U, "GDTR base that L2 loaded");
}
void loads_null(L2& guest, Mode mode) {
    ldtr_value(guest, mode);
    guest.save().rax = 0;
}
void loads_task(L2& guest, Mode) {
    guest.save().tr.selector = 0x70;
    guest.save().rax = nestbed::wire::task_selector;
}
} // namespace

INSTRUCTION(sidt, idtr_read, idtr_read, "sidt (%esi)", &memory_operand, &saw_idtr);
EXITS_64(sidt);
EXITS_RING3(sidt);
EXITS_32(sidt);
EXITS_16(sidt);
EXECUTES(sidt);

INSTRUCTION(sgdt, gdtr_read, gdtr_read, "sgdt (%esi)", &memory_operand, &saw_gdtr);
EXITS_64(sgdt);
EXITS_RING3(sgdt);
EXITS_32(sgdt);
EXITS_16(sgdt);
EXECUTES(sgdt);

INSTRUCTION(sldt, ldtr_read, ldtr_read, "sldt %ax", &ldtr_value, [](L2& guest, const Before&) {
    expect_equal(guest.save().rax & 0xffff, 0x58U, "selector that SLDT stored");
});
EXITS_64(sldt);
EXITS_RING3(sldt);
EXITS_32(sldt);
UD_IN_REAL_MODE(sldt);
EXECUTES(sldt);

INSTRUCTION(str, tr_read, tr_read, "str %ax", &tr_value, [](L2& guest, const Before&) {
    expect_equal(guest.save().rax & 0xffff, 0x70U, "selector that STR stored");
});
EXITS_64(str);
EXITS_RING3(str);
EXITS_32(str);
UD_IN_REAL_MODE(str);
EXECUTES(str);

INSTRUCTION(lidt, idtr_write, idtr_write, "lidt (%esi)", &table_operand, &loaded_idtr);
EXITS_64(lidt);
EXITS_32(lidt);
EXITS_16(lidt);
GP_IN_RING3(lidt);
EXECUTES(lidt);

INSTRUCTION(lgdt, gdtr_write, gdtr_write, "lgdt (%esi)", &table_operand, &loaded_gdtr);
EXITS_64(lgdt);
EXITS_32(lgdt);
EXITS_16(lgdt);
GP_IN_RING3(lgdt);
EXECUTES(lgdt);

INSTRUCTION(lldt, ldtr_write, ldtr_write, "lldt %ax", &loads_null, [](L2& guest, const Before&) {
    expect_equal(guest.save().ldtr.selector, 0U, "LDTR that L2 loaded");
});
EXITS_64(lldt);
EXITS_32(lldt);
GP_IN_RING3(lldt);
UD_IN_REAL_MODE(lldt);
EXECUTES(lldt);

INSTRUCTION(ltr, tr_write, tr_write, "ltr %ax", &loads_task, [](L2& guest, const Before& before) {
    expect_equal(guest.save().tr.selector, nestbed::wire::task_selector, "TR that L2 loaded");
    expect_equal(guest.save().tr.base, before.save.tr.base, "TR base that L2 loaded");
    expect_equal(guest.context().gdt[nestbed::wire::task_selector + 5], 0x8bU, "the task's type: busy");
});
EXITS_64(ltr);
EXITS_32(ltr);
GP_IN_RING3(ltr);
UD_IN_REAL_MODE(ltr);
EXECUTES(ltr);

INSTRUCTION(rdtsc, rdtsc, rdtsc, "rdtsc", &no_operand, [](L2& guest, const Before& before) {
    expect(guest.registers.rdx != before.registers.rdx, "RDTSC changes RDX");
    expect_equal(guest.registers.rdx >> 32, 0U, "upper half of RDX after RDTSC");
    const auto value = guest.registers.rdx << 32 | guest.save().rax;
    const auto now = guest::rdtsc();
    expect(value < now && now - value < std::uint64_t{1} << 36, "L2's time-stamp counter is L1's");
});
EXITS_64(rdtsc);
EXITS_RING3(rdtsc);
EXITS_32(rdtsc);
EXITS_16(rdtsc);
EXECUTES(rdtsc);

INSTRUCTION(
    rdtsc_tsd, rdtsc, rdtsc, "rdtsc", [](L2& guest, Mode) { guest.save().cr4 |= 1U << 2; }, &nothing_to_see);
GP_IN_RING3(rdtsc_tsd);

INSTRUCTION(
    rdpmc, rdpmc, rdpmc, "rdpmc", [](L2& guest, Mode) { guest.registers.rcx = 0; }, &nothing_to_see);
EXITS_64(rdpmc);
EXITS_32(rdpmc);
GP_IN_RING3(rdpmc);
SVM_TEST(rdpmc_executes, "svm.intercept.rdpmc_executes", "RDPMC that is not intercepted stays in L2",
         "15.9") {
    L2 guest;
    place(guest, rdpmc_64, Mode::long64);
    guest.registers.rcx = 0;
    intercept_all_but(guest, Intercept::rdpmc);
    guest.intercept_exception(13); // a machine without performance counters
    const auto code = guest.run();
    expect(code == ExitCode::vmmcall || code == exception_exit(13), "RDPMC runs, or is a #GP of L2's");
}

INSTRUCTION(
    pushf, pushf, pushf, "pushf", [](L2& guest, Mode) { guest.save().rflags |= 0x8d5; },
    [](L2& guest, const Before& before) {
        expect_equal(guest.save().rsp, before.save.rsp - 8, "RSP after PUSHF");
        expect_equal(stack_of(guest, 0) & 0xfd5, 0x8d5U, "flags that PUSHF stored");
    });
EXITS_64(pushf);
EXITS_RING3(pushf);
EXITS_32(pushf);
EXITS_16(pushf);
EXITS_COMPATIBILITY(pushf);
EXECUTES(pushf);

INSTRUCTION(
    popf, popf, popf, "popf",
    [](L2& guest, Mode mode) {
        if (mode == Mode::long64)
            stack_of(guest, 0) = 0x8d7;
    },
    [](L2& guest, const Before& before) {
        expect_equal(guest.save().rsp, before.save.rsp + 8, "RSP after POPF");
        expect_equal(guest.save().rflags, 0x8d7U, "RFLAGS after POPF");
    });
EXITS_64(popf);
EXITS_RING3(popf);
EXITS_32(popf);
EXITS_16(popf);
EXITS_COMPATIBILITY(popf);
EXECUTES(popf);

INSTRUCTION(
    cpuid, cpuid, cpuid, "cpuid",
    [](L2& guest, Mode) {
        guest.save().rax = 0x8000'0000;
        guest.registers.rcx = 0;
    },
    [](L2& guest, const Before&) {
        const auto here = guest::cpuid(0x8000'0000, 0);
        expect_equal(guest.save().rax, here.eax, "EAX of leaf 8000_0000h: as L1 sees it");
        expect_equal(guest.registers.rbx, here.ebx, "EBX");
        expect_equal(guest.registers.rcx, here.ecx, "ECX");
        expect_equal(guest.registers.rdx, here.edx, "EDX");
    });
EXITS_64(cpuid);
EXITS_RING3(cpuid);
EXITS_32(cpuid);
EXITS_16(cpuid);
EXITS_COMPATIBILITY(cpuid);
EXITS_PAE(cpuid);
EXECUTES(cpuid);

L2_SNIPPET(iretq_64, 64, "iretq");
L2_SNIPPET(iret_32, 32, "iret");
L2_SNIPPET(iret_16, 16, "iret");
static constexpr Instruction iret_instruction{
    "iret",
    Intercept::iret,
    ExitCode::iret,
    iretq_64,
    iret_32,
    iret_16,
    [](L2& guest, Mode mode) {
        if (bits_of(mode) == 64)
            iret_frame(guest, iretq_64);
    },
    [](L2& guest, const Before& before) {
        expect_equal(guest.save().rsp, before.save.rsp + 64, "RSP after IRET");
        expect_equal(guest.save().rflags, 0x8c7U, "RFLAGS after IRET");
    }};
EXITS_64(iret);
EXITS_RING3(iret);
EXITS_32(iret);
EXITS_16(iret);
EXECUTES(iret);

INSTRUCTION(invd, invd, invd, "invd", &no_operand, &nothing_to_see);
EXITS_64(invd);
EXITS_32(invd);
EXITS_16(invd);
GP_IN_RING3(invd);
// Not intercepted it might throw away what L1 wrote, so that nothing could be judged after it.

INSTRUCTION(wbinvd, wbinvd, wbinvd, "wbinvd", &no_operand, &nothing_to_see);
EXITS_64(wbinvd);
EXITS_32(wbinvd);
EXITS_16(wbinvd);
GP_IN_RING3(wbinvd);
EXECUTES(wbinvd);

INSTRUCTION(pause, pause, pause, "pause", &no_operand, &nothing_to_see);
EXITS_64(pause);
EXITS_RING3(pause);
EXITS_32(pause);
EXITS_16(pause);
EXECUTES(pause);

INSTRUCTION(hlt, hlt, hlt, "hlt", &no_operand, &nothing_to_see);
EXITS_64(hlt);
EXITS_32(hlt);
EXITS_16(hlt);
GP_IN_RING3(hlt);

INSTRUCTION(invlpg, invlpg, invlpg, "invlpg (%esi)", &memory_operand, &nothing_to_see);
EXITS_64(invlpg);
EXITS_32(invlpg);
EXITS_PAE(invlpg);
EXITS_16(invlpg);
GP_IN_RING3(invlpg);
EXECUTES(invlpg);

INSTRUCTION(invlpga, invlpga, invlpga, ".byte 0x0f, 0x01, 0xdf", &vmcb_operand, &nothing_to_see);
EXITS_64(invlpga);
EXITS_32(invlpga);
GP_IN_RING3(invlpga);
UD_IN_REAL_MODE(invlpga);
EXECUTES(invlpga);

INSTRUCTION(vmrun, vmrun, vmrun, ".byte 0x0f, 0x01, 0xd8", &vmcb_operand, &nothing_to_see);
EXITS_64(vmrun);
EXITS_32(vmrun);
GP_IN_RING3(vmrun);
UD_IN_REAL_MODE(vmrun);

INSTRUCTION(vmmcall, vmmcall, vmmcall, "vmmcall", &no_operand, &nothing_to_see);
EXITS_64(vmmcall);
EXITS_RING3(vmmcall);
EXITS_32(vmmcall);
EXITS_COMPATIBILITY(vmmcall);
EXITS_PAE(vmmcall);
EXITS_16(vmmcall);

INSTRUCTION(
    vmload, vmload, vmload, ".byte 0x0f, 0x01, 0xda",
    [](L2& guest, Mode mode) {
        vmcb_operand(guest, mode);
        auto& from = guest::pointer_to<Vmcb>(guest.save().rax)->save;
        from.kernel_gs_base = 0x1234'5000;
        from.star = 0x0023'0010'0000'0000;
        from.sysenter_eip = 0x77'0000;
        from.fs = {0x10, 0xc93, 0xffff'ffff, 0x6789'0000};
        from.gs = guest.save().gs;
        from.tr = guest.save().tr;
        from.ldtr = guest.save().ldtr;
    },
    [](L2& guest, const Before&) {
        expect_equal(guest.save().kernel_gs_base, 0x1234'5000U, "KernelGSBase that L2 loaded");
        expect_equal(guest.save().star, 0x0023'0010'0000'0000U, "STAR that L2 loaded");
        expect_equal(guest.save().sysenter_eip, 0x77'0000U, "SYSENTER_EIP that L2 loaded");
        expect_equal(guest.save().fs.base, 0x6789'0000U, "FS base that L2 loaded");
    });
EXITS_64(vmload);
EXITS_32(vmload);
GP_IN_RING3(vmload);
UD_IN_REAL_MODE(vmload);
EXECUTES(vmload);

INSTRUCTION(
    vmsave, vmsave, vmsave, ".byte 0x0f, 0x01, 0xdb",
    [](L2& guest, Mode mode) {
        vmcb_operand(guest, mode);
        guest.save().kernel_gs_base = 0x4444'1000;
        guest.save().lstar = 0x5555'0000;
    },
    [](L2& guest, const Before& before) {
        const auto& to = guest::pointer_to<Vmcb>(before.save.rax)->save;
        expect_equal(to.kernel_gs_base, 0x4444'1000U, "KernelGSBase that L2 stored");
        expect_equal(to.lstar, 0x5555'0000U, "LSTAR that L2 stored");
        expect_equal(to.gs.base, physical(&guest.context()), "GS base that L2 stored");
        expect_equal(to.tr.base, before.save.tr.base, "TR base that L2 stored");
    });
EXITS_64(vmsave);
EXITS_32(vmsave);
GP_IN_RING3(vmsave);
UD_IN_REAL_MODE(vmsave);
EXECUTES(vmsave);

INSTRUCTION(stgi, stgi, stgi, ".byte 0x0f, 0x01, 0xdc", &no_operand, &nothing_to_see);
EXITS_64(stgi);
EXITS_32(stgi);
GP_IN_RING3(stgi);
UD_IN_REAL_MODE(stgi);
EXECUTES(stgi);

INSTRUCTION(clgi, clgi, clgi, ".byte 0x0f, 0x01, 0xdd", &no_operand, &nothing_to_see);
EXITS_64(clgi);
EXITS_32(clgi);
GP_IN_RING3(clgi);
UD_IN_REAL_MODE(clgi);
EXECUTES(clgi);

INSTRUCTION(skinit, skinit, skinit, ".byte 0x0f, 0x01, 0xde", &vmcb_operand, &nothing_to_see);
EXITS_64(skinit);
EXITS_32(skinit);
UD_IN_REAL_MODE(skinit);
GP_IN_RING3(skinit);
SVM_TEST(skinit_not_offered, "svm.intercept.skinit_not_offered",
         "SKINIT that nobody intercepts is a #UD where CPUID does not show it", "15.27.1") {
    if (has(0x8000'0001, &Cpuid::ecx, 12))
        return conform::not_applicable("the vCPU has SKINIT (CPUID Fn8000_0001 ECX bit 12)");
    L2 guest;
    place(guest, skinit_64, Mode::long64);
    run_to_exception(guest, skinit_64, Mode::long64, 6, 0, "SKINIT");
}

INSTRUCTION(
    rdtscp, rdtscp, rdtscp, "rdtscp", &no_operand,
    [](L2& guest, const Before& before) {
        expect(guest.registers.rdx != before.registers.rdx, "RDTSCP changes RDX");
        expect_equal(guest.registers.rcx, guest::rdmsr(msr::tsc_aux), "ECX: TSC_AUX");
    },
    [] { return has(0x8000'0001, &Cpuid::edx, 27) ? nullptr : "the vCPU has no RDTSCP"; });
EXITS_64(rdtscp);
EXITS_RING3(rdtscp);
EXITS_32(rdtscp);
EXITS_16(rdtscp);
EXECUTES(rdtscp);

INSTRUCTION(
    rdtscp_tsd, rdtscp, rdtscp, "rdtscp", [](L2& guest, Mode) { guest.save().cr4 |= 1U << 2; },
    &nothing_to_see, [] { return has(0x8000'0001, &Cpuid::edx, 27) ? nullptr : "the vCPU has no RDTSCP"; });
GP_IN_RING3(rdtscp_tsd);

INSTRUCTION(icebp, icebp, icebp, ".byte 0xf1", &no_operand, &nothing_to_see);
EXITS_64(icebp);
EXITS_RING3(icebp);
EXITS_32(icebp);
EXITS_16(icebp);

INSTRUCTION(
    monitor, monitor, monitor, ".byte 0x0f, 0x01, 0xc8",
    [](L2& guest, Mode mode) {
        point_at_buffer(guest, mode);
        guest.save().rax = guest.registers.rsi;
        guest.registers.rcx = guest.registers.rdx = 0;
    },
    &nothing_to_see, [] { return has(1, &Cpuid::ecx, 3) ? nullptr : "the vCPU has no MONITOR"; });
EXITS_64(monitor);
EXITS_32(monitor);
EXECUTES(monitor);

INSTRUCTION(
    mwait, mwait, mwait, ".byte 0x0f, 0x01, 0xc9",
    [](L2& guest, Mode) { guest.registers.rcx = guest.save().rax = 0; }, &nothing_to_see,
    [] { return has(1, &Cpuid::ecx, 3) ? nullptr : "the vCPU has no MONITOR"; });
EXITS_64(mwait);
EXITS_32(mwait);

INSTRUCTION(
    xsetbv, xsetbv, xsetbv, ".byte 0x0f, 0x01, 0xd1",
    [](L2& guest, Mode) {
        guest.save().cr4 |= cr4_osxsave;
        guest.registers.rcx = guest.registers.rdx = 0;
        guest.save().rax = 1; // x87, as after a reset
    },
    &nothing_to_see, [] { return has(1, &Cpuid::ecx, 26) ? nullptr : "the vCPU has no XSAVE"; });
EXITS_64(xsetbv);
EXITS_32(xsetbv);
EXITS_16(xsetbv);
EXECUTES(xsetbv);

INSTRUCTION(
    rdpru, rdpru, rdpru, ".byte 0x0f, 0x01, 0xfd", [](L2& guest, Mode) { guest.registers.rcx = 0; },
    &nothing_to_see, [] { return has(0x8000'0008, &Cpuid::ebx, 4) ? nullptr : "the vCPU has no RDPRU"; });
EXITS_64(rdpru);
EXITS_RING3(rdpru);

INSTRUCTION(
    invpcid, invpcid, invpcid, ".byte 0x66, 0x0f, 0x38, 0x82, 0x06", // (%rsi), %eax
    [](L2& guest, Mode mode) {
        point_at_buffer(guest, mode);
        guest.save().rax = 2; // every PCID
    },
    &nothing_to_see, [] { return has(7, &Cpuid::ebx, 10) ? nullptr : "the vCPU has no INVPCID"; });
EXITS_64(invpcid);
EXECUTES(invpcid);
GP_IN_RING3(invpcid);

// The same with RAX that is no page's address: a hypervisor below that looks into the #GP of these three,
// since some processors raise it wrongly, must find that this one is right in any case.
INSTRUCTION(vmrun_unaligned, vmrun, vmrun, ".byte 0x0f, 0x01, 0xd8", &no_operand, &nothing_to_see);
INSTRUCTION(vmload_unaligned, vmload, vmload, ".byte 0x0f, 0x01, 0xda", &no_operand, &nothing_to_see);
INSTRUCTION(vmsave_unaligned, vmsave, vmsave, ".byte 0x0f, 0x01, 0xdb", &no_operand, &nothing_to_see);
GP_IN_RING3(vmrun_unaligned);
GP_IN_RING3(vmload_unaligned);
GP_IN_RING3(vmsave_unaligned);

// Instructions whose way into L2 is not a line of the table.

INSTRUCTION(swint, swint, swint, "int $0x35", &no_operand, &nothing_to_see);
EXITS_64(swint);
EXITS_RING3(swint);
EXITS_32(swint);
EXITS_16(swint);

SVM_TEST(swint_executes, "svm.intercept.swint_executes", "INT n that is not intercepted is L2's own",
         "15.9") {
    L2 guest;
    place(guest, swint_64, Mode::long64);
    intercept_all_but(guest, Intercept::swint);
    guest.intercept(Intercept::iret, false);
    guest.control().intercept_exceptions = ~(1U << 2); // INT 35h is no exception
    run_past(guest, swint_64, Mode::long64, "INT 35h");
    expect_equal(guest.context().interrupts[0x35], 1U, "times that L2's handler 35h ran");
    expect_equal(guest.context().last.rip, reinterpret_cast<std::uint64_t>(swint_64.after),
                 "RIP in the frame: after INT n");
}

L2_SNIPPET(int_n_3, 64, ".byte 0xcd, 0x03");
SVM_TEST(swint_int_n_3_exits, "svm.intercept.swint_int_n_3_exits",
         "INT n with n = 3 (CD 03) is INT n for the intercept", "15.9") {
    L2 guest;
    const auto before = place(guest, int_n_3, Mode::long64);
    guest.intercept(Intercept::swint);
    guest.run_to(ExitCode::swint, "CD 03");
    expect_untouched(guest, before, "CD 03");
}
L2_SNIPPET(int3, 64, "int3");
SVM_TEST(swint_int3_executes, "svm.intercept.swint_int3_executes",
         "INT3 (CC) is not what the INT n intercept is about", "15.9") {
    L2 guest;
    place(guest, int3, Mode::long64);
    guest.intercept(Intercept::swint);
    guest.context().resume |= 1U << 3;
    run_past(guest, int3, Mode::long64, "INT3");
    expect_equal(guest.context().exceptions[3], 1U, "times that L2's #BP handler ran");
}
L2_SNIPPET(int_no_gate, 64, "int $0xee");
SVM_TEST(swint_before_gate, "svm.intercept.swint_before_gate", "INT n leaves L2 before its gate is looked at",
         "15.9, table 15-7") {
    L2 guest;
    const auto before = place(guest, int_no_gate, Mode::long64);
    guest.context().idt[16 * 0xee + 5] = 0; // not present
    guest.intercept(Intercept::swint);
    guest.intercept_exception(11);
    guest.intercept_exception(13);
    guest.run_to(ExitCode::swint, "INT 0EEh with a gate that is not present");
    expect_untouched(guest, before, "INT 0EEh");
}

SVM_TEST(icebp_executes, "svm.intercept.icebp_executes", "ICEBP that is not intercepted is L2's own #DB",
         "15.9") {
    L2 guest;
    place(guest, icebp_64, Mode::long64);
    intercept_all_but(guest, Intercept::icebp);
    guest.intercept(Intercept::iret, false);
    guest.control().intercept_cr = 0; // the handler reads CR2
    guest.context().resume |= 1U << 1;
    run_past(guest, icebp_64, Mode::long64, "ICEBP");
    expect_equal(guest.context().exceptions[1], 1U, "times that L2's #DB handler ran");
    expect_equal(guest.context().last.rip, reinterpret_cast<std::uint64_t>(icebp_64.after),
                 "RIP in the frame: after ICEBP");
}

SVM_TEST(vmmcall_not_intercepted, "svm.intercept.vmmcall_not_intercepted",
         "VMMCALL that L1 does not intercept is a #UD in L2", "15.9 and volume 3, VMMCALL") {
    L2 guest;
    place(guest, vmmcall_64, Mode::long64);
    guest.intercept(Intercept::vmmcall, false);
    // Linux 6.1 never gets over it: an interrupt of L1's ends the wait.
    guest.control().int_ctl |= int_ctl::v_intr_masking;
    start_timer(500'000'000);
    run_to_exception(guest, vmmcall_64, Mode::long64, 6, 0, "VMMCALL");
}

L2_SNIPPET(vmcall, 64, "vmcall");
SVM_TEST(vmcall_ud, "svm.intercept.vmcall_ud", "VMCALL, of the other vendor, is a #UD that L1 can intercept",
         "15.12") {
    L2 guest;
    place(guest, vmcall, Mode::long64);
    run_to_exception(guest, vmcall, Mode::long64, 6, 0, "VMCALL");
}

L2_SNIPPET(rsm_64, 64, "rsm");
SVM_TEST(rsm_executes, "svm.intercept.rsm_executes", "RSM outside SMM is a #UD in L2", "15.9") {
    L2 guest;
    place(guest, rsm_64, Mode::long64);
    intercept_all_but(guest, Intercept::rsm);
    run_to_exception(guest, rsm_64, Mode::long64, 6, 0, "RSM");
}

// The manual leaves open which of the two comes first outside SMM.
SVM_TEST(rsm_exits, "svm.intercept.rsm_exits",
         "RSM outside SMM leaves L2 by its intercept, or as the #UD that it is", "15.9") {
    L2 guest;
    const auto before = place(guest, rsm_64, Mode::long64);
    guest.intercept(Intercept::rsm);
    guest.intercept_exception(6);
    const auto code = guest.run();
    expect(code == ExitCode::rsm || code == exception_exit(6), "EXITCODE: RSM or #UD");
    expect_untouched(guest, before, "RSM");
}

SVM_TEST(hlt_executes, "svm.intercept.hlt_executes",
         "HLT that is not intercepted halts L2 until an interrupt of L1's comes", "15.9") {
    L2 guest;
    place(guest, hlt_64, Mode::long64);
    intercept_all_but(guest, Intercept::hlt);
    guest.save().rflags |= 1U << 9;
    // On a busy host the first tries may run out before L2 reaches HLT.
    for (std::uint64_t ticks = 20'000'000; ticks < 1'000'000'000; ticks *= 3) {
        start_timer(ticks);
        if (!guest.run_to(ExitCode::intr, "the timer's interrupt ends the halt") ||
            guest.save().rip != reinterpret_cast<std::uint64_t>(hlt_64.at))
            break;
    }
    expect_equal(guest.save().rip, reinterpret_cast<std::uint64_t>(hlt_64.after), "RIP: after HLT");
}

} // namespace nestbed::svm
