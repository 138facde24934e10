// What L1 has after #VMEXIT is what it had at VMRUN (APM volume 2, 15.5.1 "Saving Host State", 15.6): field
// by field, with L2 having something else in each.
#include <initializer_list>

#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/guest/probe.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using guest::catch_fault;

L2_CODE(l2_switch_16, 16, "movw $0x4242, %bx; vmmcall");
L2_CODE(l2_switch_32, 32, "movl $0x42424242, %ebx; vmmcall");
L2_CODE(l2_switch_64, 64, "vmmcall");
L2_CODE(l2_switch_flags_clear, 64, "pushq $2; popfq; vmmcall");
L2_CODE(l2_switch_flags_set, 64, "pushq $0x247ed7; popfq; vmmcall");

namespace {

constexpr std::uint64_t cf = 1U << 0, pf = 1U << 2, af = 1U << 4, zf = 1U << 6, sf = 1U << 7, tf = 1U << 8,
                        interrupt_flag = 1U << 9, df = 1U << 10, of = 1U << 11, iopl = 3U << 12,
                        nt = 1U << 14, rf = 1U << 16, ac = 1U << 18, id = 1U << 21;
constexpr std::uint64_t one = 2; // bit 1, always set

// 64-bit code that touches no memory but its stack, with L1's FS, GS, TR unless it is started.
struct Plain {
    explicit Plain(const char* code = l2_switch_64) {
        guest.save().rip = reinterpret_cast<std::uint64_t>(code);
        guest.save().rsp = conform::physical(guest.context().stack) + 8192;
    }
    // GIF is 0 around it, interrupts are off before.
    Probed run(ProbeOptions options = {}) {
        guest::disable_interrupts();
        clgi();
        const auto probed = probe_vmrun(guest, options);
        stgi();
        expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
        return probed;
    }
    L2 guest;
};

void flags_case(std::uint64_t host, const char* l2) {
    Plain plain{l2};
    const auto probed = plain.run({.rflags = host});
    expect_equal(probed.rflags_after, host & ~rf,
                 "L1's RFLAGS after the exit"); // RF: 15.5.1, cleared by VMRUN's end
}
template<std::uint64_t Host>
void flags_against_clear() {
    flags_case(Host, l2_switch_flags_clear);
}
template<std::uint64_t Host>
void flags_against_set() {
    flags_case(Host, l2_switch_flags_set);
}

} // namespace

#define HOST_FLAG(name, text, bits)                                                                          \
    SVM_CASE(host_flag_##name##_set, "svm.switch.host_rflags_" #name "_set",                                 \
             "L1's RFLAGS with " text " set, L2 having cleared all", "15.6",                                 \
             &flags_against_clear<one | (bits)>, )                                                           \
    SVM_CASE(host_flag_##name##_clear, "svm.switch.host_rflags_" #name "_clear",                             \
             "L1's RFLAGS with all but " text " set, L2 having set all", "15.6",                             \
             (&flags_against_set<(one | cf | pf | af | zf | sf | df | of | iopl | ac | id) &                 \
                                 ~std::uint64_t{bits}>), )
HOST_FLAG(cf, "CF", cf)
HOST_FLAG(pf, "PF", pf)
HOST_FLAG(af, "AF", af)
HOST_FLAG(zf, "ZF", zf)
HOST_FLAG(sf, "SF", sf)
HOST_FLAG(df, "DF", df)
HOST_FLAG(of, "OF", of)
HOST_FLAG(iopl, "IOPL", iopl)
HOST_FLAG(ac, "AC", ac)
HOST_FLAG(id, "ID", id)
HOST_FLAG(interrupt, "IF", interrupt_flag)
HOST_FLAG(nt, "NT", nt)
#undef HOST_FLAG
SVM_CASE(host_flags_none, "svm.switch.host_rflags_none", "L1's RFLAGS with none set, L2 having set all",
         "15.6", &flags_against_set<one>, )
SVM_CASE(
    host_flags_all, "svm.switch.host_rflags_all", "L1's RFLAGS with all set, L2 having cleared all", "15.6",
    (&flags_against_clear<one | cf | pf | af | zf | sf | df | of | iopl | nt | ac | id | interrupt_flag>), )
SVM_TEST(host_flags_vm, "svm.switch.host_rflags_vm", "RFLAGS.VM of L2 does not reach L1", "15.6") {
    // Virtual-8086 mode, from which a VMMCALL leaves at once.
    Plain plain;
    auto& save = plain.guest.save();
    const auto code = reinterpret_cast<std::uint64_t>(l2_switch_16);
    set_protected_mode(save, 0, 0);
    const Segment segment{static_cast<std::uint16_t>(code >> 4), 0x0f3, 0xffff, code & ~std::uint64_t{15}};
    save.cs = save.ss = save.ds = save.es = segment;
    save.rip = code & 15;
    save.rsp = 0x8000;
    save.rflags = one | 1U << 17;
    save.cpl = 3;
    const auto probed = plain.run();
    expect_equal(probed.rflags_after, one, "L1's RFLAGS");
    expect_equal(probed.cs, nestbed::wire::kernel_code_selector, "L1's CS");
    expect_equal(save.rflags >> 17 & 1, 1U, "RFLAGS.VM in the VMCB");
}
SVM_TEST(host_flags_rf, "svm.switch.host_rflags_rf",
         "Completion of VMRUN clears L1's RFLAGS.RF; L2's is its own", "15.5.1") {
    Plain plain;
    plain.guest.save().rflags = one | rf;
    const auto probed = plain.run({.rflags = one});
    expect_equal(probed.rflags_after & rf, 0U, "L1's RFLAGS.RF");
}

// The single step over VMRUN is one step of L1: its trap comes after the exit (15.5.1 "VMRUN and TF/RF
// Bits").
namespace {
extern "C" const char svm_probe_next[];
struct {
    unsigned count;
    std::uint64_t rip, dr6;
} step;
bool on_step(guest::ExceptionFrame& frame) {
    ++step.count;
    step.rip = frame.rip;
    step.dr6 = read_dr6();
    frame.rflags &= ~tf;
    return true;
}
void single_step(const char* l2, bool gif) {
    Plain plain{l2};
    guest::set_exception_handler(1, &on_step);
    write_dr6(0xffff'0ff0);
    guest::disable_interrupts();
    if (!gif)
        clgi();
    const auto probed = probe_vmrun(plain.guest, {.rflags = one | tf, .load_guest = false});
    stgi();
    expect_equal(plain.guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(step.count, 1U, "#DB in L1");
    expect_equal(step.rip, reinterpret_cast<std::uint64_t>(svm_probe_next),
                 "RIP of the #DB, right after VMRUN");
    expect_equal(plain.guest.context().delivered, 0U, "exceptions in L2");
    expect_equal(probed.rsp_after, probed.rsp_before, "L1's RSP");
}
} // namespace
SVM_TEST(host_step, "svm.switch.host_single_step",
         "RFLAGS.TF of L1 traps once, right after VMRUN, with GIF = 0 too", "15.5.1") {
    single_step(l2_switch_64, false);
}
SVM_TEST(host_step_gif, "svm.switch.host_single_step_gif",
         "RFLAGS.TF of L1 traps once, right after a VMRUN with GIF = 1", "15.5.1") {
    single_step(l2_switch_64, true);
}
SVM_TEST(host_step_flags, "svm.switch.host_single_step_l2_clears_flags",
         "RFLAGS.TF of L1 is not L2's to clear", "15.5.1") {
    single_step(l2_switch_flags_clear, false);
}
SVM_TEST(host_step_dr6, "svm.switch.host_single_step_dr6", "The trap after a stepped VMRUN sets DR6.BS",
         "15.5.1") {
    single_step(l2_switch_64, false);
    expect_equal(step.dr6 >> 14 & 1, 1U, "DR6.BS in the handler");
}
SVM_TEST(guest_step, "svm.switch.host_not_stepped_by_l2", "RFLAGS.TF of L2 does not trap in L1", "15.5.1") {
    Plain plain;
    guest::set_exception_handler(1, &on_step);
    plain.guest.save().rflags = one | tf;
    plain.run({.load_guest = false});
    expect_equal(step.count, 0U, "#DB in L1");
}
SVM_TEST(host_step_refused, "svm.switch.host_single_step_refused",
         "RFLAGS.TF of L1 traps after a refused VMRUN too", "15.5.1") {
    Plain plain;
    guest::set_exception_handler(1, &on_step);
    guest::disable_interrupts();
    clgi();
    plain.guest.control().asid = 0;
    probe_vmrun(plain.guest, {.rflags = one | tf, .load_guest = false});
    stgi();
    expect_equal(static_cast<std::uint32_t>(plain.guest.control().exit_code), 0xffff'ffffU, "EXITCODE 31:0");
    expect_equal(step.count, 1U, "#DB in L1");
    expect_equal(step.rip, reinterpret_cast<std::uint64_t>(svm_probe_next),
                 "RIP of the #DB, right after VMRUN");
}

// RAX, RSP.

SVM_TEST(host_rax, "svm.switch.host_rax", "L1's RAX is the VMCB's address again, L2's is in the VMCB",
         "15.6") {
    Plain plain;
    plain.guest.save().rax = 0xdead'beef'cafe'f00d;
    const auto probed = plain.run();
    expect_equal(probed.rax_after, plain.guest.vmcb_pa(), "L1's RAX");
    expect_equal(plain.guest.save().rax, 0xdead'beef'cafe'f00dU, "RAX in the VMCB");
}
SVM_TEST(host_rsp, "svm.switch.host_rsp", "L1's RSP is its own again, L2's is in the VMCB", "15.6") {
    Plain plain;
    plain.guest.save().rsp = 0x1234'5678'9abc'def7;
    const auto probed = plain.run();
    expect_equal(probed.rsp_after, probed.rsp_before, "L1's RSP");
    expect_equal(plain.guest.save().rsp, 0x1234'5678'9abc'def7U, "RSP in the VMCB");
}
SVM_TEST(host_registers, "svm.switch.host_general_registers",
         "VMRUN and #VMEXIT switch no general register but RAX and RSP", "15.5.1") {
    Plain plain;
    auto& r = plain.guest.registers;
    r = {.rbx = 0xb1,
         .rcx = 0xc1,
         .rdx = 0xd1,
         .rsi = 0x51,
         .rdi = 0xd2,
         .rbp = 0xb2,
         .r8 = 0x81,
         .r9 = 0x91,
         .r10 = 0xa1,
         .r11 = 0xa2,
         .r12 = 0xa3,
         .r13 = 0xa4,
         .r14 = 0xa5,
         .r15 = 0xa6};
    plain.run();
    const std::uint64_t wanted[] = {0xb1, 0xc1, 0xd1, 0x51, 0xd2, 0xb2, 0x81,
                                    0x91, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6};
    const auto* const seen = reinterpret_cast<const std::uint64_t*>(&r);
    for (unsigned i = 0; i < 14; ++i)
        expect_equal(seen[i], wanted[i], conform::Text{"general register ", i, ", in the order RBX ... R15"});
}

// After L2 in each mode L1 is in 64-bit mode with everything as before.
namespace {
void whole_state(void (*set_mode)(SaveArea&, std::uint64_t, std::uint64_t), const char* code,
                 bool npt = false) {
    L2 guest;
    if (npt) {
        NestedPageTables tables;
        tables.use_in(guest);
    }
    set_mode(guest.save(), reinterpret_cast<std::uint64_t>(code), 0x8000);
    const auto cr0 = guest::control_register<0>();
    const auto cr3 = guest::control_register<3>();
    const auto cr4 = guest::control_register<4>();
    const auto cr8 = guest::control_register<8>();
    const auto efer = guest::rdmsr(msr::efer);
    guest::disable_interrupts();
    clgi();
    const auto probed = probe_vmrun(guest);
    stgi();
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(guest::control_register<0>(), cr0, "L1's CR0");
    expect_equal(guest::control_register<3>(), cr3, "L1's CR3");
    expect_equal(guest::control_register<4>(), cr4, "L1's CR4");
    expect_equal(guest::control_register<8>(), cr8, "L1's CR8");
    expect_equal(guest::rdmsr(msr::efer), efer, "L1's EFER");
    expect_equal(probed.cs, nestbed::wire::kernel_code_selector, "L1's CS");
    expect_equal(probed.ss, nestbed::wire::kernel_data_selector, "L1's SS");
    expect_equal(probed.ds, nestbed::wire::kernel_data_selector, "L1's DS");
    expect_equal(probed.es, nestbed::wire::kernel_data_selector, "L1's ES");
    expect_equal(probed.rsp_after, probed.rsp_before, "L1's RSP");
    // And it works: an interrupt and an exception are taken.
    expect_equal(gif_is_set(), true, "L1 takes interrupts");
    expect(catch_fault([] { asm volatile("ud2"); }).is(6), "L1 takes exceptions");
}
} // namespace
#define AFTER_MODE(mode, code)                                                                               \
    SVM_TEST(host_after_##mode, "svm.switch.host_after_" #mode, "L1 is as it was after L2 in this mode",     \
             "15.6") {                                                                                       \
        whole_state(&set_##mode, code);                                                                      \
    }                                                                                                        \
    SVM_TEST(host_after_##mode##_npt, "svm.switch.host_after_" #mode "_npt",                                 \
             "L1 is as it was after L2 in this mode with nested paging", "15.6", .needs = "npt") {           \
        whole_state(&set_##mode, code, true);                                                                \
    }
AFTER_MODE(real_mode, l2_switch_16)
AFTER_MODE(protected_mode, l2_switch_32)
AFTER_MODE(pae_mode, l2_switch_32)
AFTER_MODE(legacy_paging_mode, l2_switch_32)
AFTER_MODE(compatibility_mode, l2_switch_32)
#undef AFTER_MODE

// CPL.
SVM_TEST(host_cpl, "svm.switch.host_cpl", "L1 is at CPL 0 after an exit from L2 at CPL 3", "15.6") {
    L2 guest;
    auto code = [] { conform::in_ring_3([] { vmmcall(0x33); }); };
    guest.start(code);
    guest::disable_interrupts();
    clgi();
    const auto probed = probe_vmrun(guest);
    stgi();
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(guest.save().cpl, 3U, "CPL in the VMCB");
    expect_equal(probed.cs & 3, 0U, "CS.RPL of L1");
    expect_equal(probed.ss & 3, 0U, "SS.RPL of L1");
    expect(!catch_fault([] { guest::rdmsr(msr::efer); }).raised, "L1 may use RDMSR");
}
SVM_TEST(host_cpl_from_vmcb, "svm.switch.host_cpl_vmcb", "L1 is at CPL 0 after a guest entered at CPL 3",
         "15.6") {
    Plain plain;
    auto& save = plain.guest.save();
    save.cpl = 3;
    save.cs = {nestbed::wire::user_code_selector, 0xafb, 0xffff'ffff, 0};
    save.ss = {nestbed::wire::user_data_selector, 0xcf3, 0xffff'ffff, 0};
    const auto probed = plain.run();
    expect_equal(save.cpl, 3U, "CPL in the VMCB");
    expect_equal(probed.cs, nestbed::wire::kernel_code_selector, "CS of L1");
    expect_equal(probed.ss, nestbed::wire::kernel_data_selector, "SS of L1");
    expect(!catch_fault([] { guest::rdmsr(msr::efer); }).raised, "L1 may use RDMSR");
}

// GIF.
SVM_TEST(host_gif, "svm.switch.host_gif", "GIF is 0 after an exit though it was 1 at VMRUN", "15.6") {
    Plain plain;
    stgi();
    guest::disable_interrupts();
    probe_vmrun(plain.guest);
    expect_equal(plain.guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(gif_is_set(), false, "GIF after the exit");
    expect_equal(gif_is_set(), true, "GIF after STGI");
}

// The task priority is no part of the switch without V_INTR_MASKING, and protected with it
// (15.21.1, 15.21.2).
namespace {
void write_cr8(std::uint64_t value) {
    asm volatile("movq %0, %%cr8" : : "r"(value));
}
} // namespace
SVM_TEST(host_cr8, "svm.switch.host_cr8", "CR8 is what it was after an exit", "15.21.1") {
    Plain plain;
    for (const std::uint64_t value : {0U, 1U, 5U, 15U}) {
        guest::disable_interrupts();
        write_cr8(value);
        plain.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_switch_64);
        plain.run();
        const auto seen = guest::control_register<8>();
        write_cr8(0);
        expect_equal(seen, value, "CR8 after the exit");
    }
}
SVM_TEST(host_cr8_masking, "svm.switch.host_cr8_masking",
         "CR8 is L1's after an exit with V_INTR_MASKING and V_TPR", "15.21.2") {
    Plain plain;
    guest::disable_interrupts();
    write_cr8(5);
    plain.guest.control().int_ctl = int_ctl::v_intr_masking | 9;
    plain.run();
    const auto seen = guest::control_register<8>();
    write_cr8(0);
    expect_equal(seen, 5U, "CR8 after the exit");
    expect_equal(plain.guest.control().int_ctl & 0xf, 9U, "V_TPR in the VMCB");
}
SVM_TEST(host_cr8_tpr_field, "svm.switch.host_cr8_v_tpr_unmasked",
         "V_TPR without V_INTR_MASKING is not L1's CR8", "15.21.2") {
    Plain plain;
    guest::disable_interrupts();
    write_cr8(0);
    plain.guest.control().int_ctl = 9;
    plain.run();
    const auto seen = guest::control_register<8>();
    write_cr8(0);
    expect_equal(seen, 0U, "CR8 after the exit");
}

// DR7: "disables all breakpoints in the host DR7 register" (15.6). DR0 to DR3 are not switched.
SVM_TEST(host_dr7, "svm.switch.host_dr7", "L1's breakpoints are disabled after an exit", "15.6") {
    Plain plain;
    for (const std::uint64_t enabled : {0x01U, 0x02U, 0x04U, 0x08U, 0x10U, 0x20U, 0x40U, 0x80U, 0xffU}) {
        write_dr7(0x400 | enabled);
        plain.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_switch_64);
        plain.run();
        const auto seen = read_dr7();
        write_dr7(0x400);
        expect_equal(seen & 0xff, 0U,
                     conform::Text{"L0 to G3 of DR7 that was ", conform::Hex{0x400 | enabled}});
    }
}
SVM_TEST(host_dr7_from_l2, "svm.switch.host_dr7_of_l2", "L2's breakpoints do not reach L1", "15.6") {
    static std::uint64_t watched = 0;
    asm volatile("movq %0, %%dr0" : : "r"(&watched));
    write_dr7(0x400);
    Plain plain;
    plain.guest.save().dr7 = 0x400 | 0x3 | 0xdU << 16; // DR0, writes of 4 bytes
    guest::set_exception_handler(1, &on_step);
    plain.run();
    expect_equal(read_dr7() & 0xff, 0U, "L0 to G3 of L1's DR7");
    guest::store(watched, std::uint64_t{1});
    expect_equal(step.count, 0U, "#DB in L1");
}
SVM_TEST(host_dr7_effect, "svm.switch.host_dr7_no_trap",
         "A breakpoint of L1 does not trap after the exit, nor in L2", "15.6") {
    static std::uint64_t watched = 0;
    asm volatile("movq %0, %%dr0" : : "r"(&watched));
    guest::set_exception_handler(1, &on_step);
    L2 guest;
    auto code = [] { guest::store(watched, std::uint64_t{2}); };
    guest.start(code);
    write_dr7(0x400 | 0x3 | 0xdU << 16);
    guest.run_to_end();
    guest::store(watched, std::uint64_t{3});
    expect_equal(step.count, 0U, "#DB in L1");
    expect_equal(guest.context().delivered, 0U, "exceptions in L2");
}
SVM_TEST(host_dr_addresses, "svm.switch.host_dr0_to_dr3",
         "DR0 to DR3 are L1's in L2 and L2's in L1 afterwards", "15.5.1") {
    asm volatile("movq %0, %%dr0; movq %1, %%dr1; movq %2, %%dr2; movq %3, %%dr3"
                 :
                 : "r"(0x1110UL), "r"(0x2220UL), "r"(0x3330UL), "r"(0x4440UL));
    L2 guest;
    std::uint64_t in_l2[4]{};
    auto code = [&] {
        asm volatile("movq %%dr0, %0; movq %%dr1, %1; movq %%dr2, %2; movq %%dr3, %3"
                     : "=&r"(in_l2[0]), "=&r"(in_l2[1]), "=&r"(in_l2[2]), "=&r"(in_l2[3]));
        asm volatile("movq %0, %%dr0; movq %1, %%dr1; movq %2, %%dr2; movq %3, %%dr3"
                     :
                     : "r"(0x5550UL), "r"(0x6660UL), "r"(0x7770UL), "r"(0x8880UL));
    };
    guest.start(code);
    guest.run_to_end();
    std::uint64_t after[4]{};
    asm volatile("movq %%dr0, %0; movq %%dr1, %1; movq %%dr2, %2; movq %%dr3, %3"
                 : "=&r"(after[0]), "=&r"(after[1]), "=&r"(after[2]), "=&r"(after[3]));
    for (unsigned i = 0; i < 4; ++i) {
        expect_equal(in_l2[i], 0x1110U * (i + 1), conform::Text{"DR", i, " in L2"});
        expect_equal(after[i], 0x1110U * (i + 5), conform::Text{"DR", i, " in L1 afterwards"});
    }
}
// DR6 is loaded by VMRUN and not among what #VMEXIT reloads (15.6): L2's may stay, or L1's come back.
SVM_TEST(host_dr6, "svm.switch.host_dr6", "DR6 after an exit is L1's or L2's", "15.6") {
    Plain plain;
    write_dr6(0xffff'0ff1);
    plain.guest.save().dr6 = 0xffff'0ff2;
    plain.run();
    const auto seen = read_dr6();
    expect(seen == 0xffff'0ff1 || seen == 0xffff'0ff2, conform::Text{"DR6 is either: ", conform::Hex{seen}});
    expect_equal(plain.guest.save().dr6, 0xffff'0ff2U, "DR6 in the VMCB");
}

// Descriptor tables.
namespace {
struct [[gnu::packed]] TableRegister {
    std::uint16_t limit;
    std::uint64_t base;
};
TableRegister store_gdtr() {
    TableRegister value{};
    asm volatile("sgdt %0" : "=m"(value));
    return value;
}
TableRegister store_idtr() {
    TableRegister value{};
    asm volatile("sidt %0" : "=m"(value));
    return value;
}
void load_gdtr(const TableRegister& value) {
    asm volatile("lgdt %0" : : "m"(value));
}
void load_idtr(const TableRegister& value) {
    asm volatile("lidt %0" : : "m"(value));
}
} // namespace
SVM_TEST(host_gdtr, "svm.switch.host_gdtr", "L1's GDTR is what it was, odd limit and base included", "15.6") {
    const auto right = store_gdtr();
    auto* const copy = static_cast<std::uint8_t*>(conform::allocate_pages(1)) + 0x128;
    for (unsigned i = 0; i <= right.limit; ++i)
        copy[i] = guest::pointer_to<std::uint8_t>(right.base)[i];
    for (const std::uint16_t limit : {std::uint16_t{0x37}, std::uint16_t{0x47}, std::uint16_t{0xffff}}) {
        load_gdtr({limit, conform::physical(copy)});
        Plain plain;
        plain.guest.save().gdtr = {0, 0, 0x1234, 0x5678'9000};
        plain.run();
        const auto seen = store_gdtr();
        expect_equal(seen.limit, limit, "GDTR.limit of L1");
        expect_equal(seen.base, conform::physical(copy), "GDTR.base of L1");
        expect_equal(plain.guest.save().gdtr.limit, 0x1234U, "GDTR.limit in the VMCB");
        expect_equal(plain.guest.save().gdtr.base, 0x5678'9000U, "GDTR.base in the VMCB");
    }
    load_gdtr(right);
}
SVM_TEST(host_idtr, "svm.switch.host_idtr", "L1's IDTR is what it was, odd limit and base included", "15.6") {
    const auto right = store_idtr();
    auto* const copy = static_cast<std::uint8_t*>(conform::allocate_pages(2)) + 0x248;
    for (unsigned i = 0; i <= right.limit; ++i)
        copy[i] = guest::pointer_to<std::uint8_t>(right.base)[i];
    for (const std::uint16_t limit : {std::uint16_t{0xfff}, std::uint16_t{0x123}, std::uint16_t{0xffff}}) {
        load_idtr({limit, conform::physical(copy)});
        Plain plain;
        plain.guest.save().idtr = {0, 0, 0x4321, 0x8765'4000};
        plain.run();
        const auto seen = store_idtr();
        load_idtr(right);
        expect_equal(seen.limit, limit, "IDTR.limit of L1");
        expect_equal(seen.base, conform::physical(copy), "IDTR.base of L1");
        expect_equal(plain.guest.save().idtr.limit, 0x4321U, "IDTR.limit in the VMCB");
        expect_equal(plain.guest.save().idtr.base, 0x8765'4000U, "IDTR.base in the VMCB");
    }
}
SVM_TEST(host_tables_changed, "svm.switch.host_tables_changed_by_l2", "LGDT and LIDT of L2 do not reach L1",
         "15.6") {
    const auto gdtr = store_gdtr();
    const auto idtr = store_idtr();
    L2 guest;
    auto code = [] {
        const TableRegister table{0x77, 0x3000};
        load_idtr(table);
        load_gdtr(table);
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(store_gdtr().limit, gdtr.limit, "GDTR.limit of L1");
    expect_equal(store_gdtr().base, gdtr.base, "GDTR.base of L1");
    expect_equal(store_idtr().limit, idtr.limit, "IDTR.limit of L1");
    expect_equal(store_idtr().base, idtr.base, "IDTR.base of L1");
    expect_equal(guest.save().gdtr.base, 0x3000U, "GDTR.base in the VMCB");
    expect_equal(guest.save().idtr.base, 0x3000U, "IDTR.base in the VMCB");
}

// Segments.
SVM_TEST(host_segments_null, "svm.switch.host_segments_null",
         "L1's null DS, ES and SS are null after an exit", "15.6") {
    Plain plain;
    plain.guest.save().ds =
        plain.guest.save().es = {nestbed::wire::kernel_data_selector, 0xc93, 0xffff'ffff, 0};
    guest::disable_interrupts();
    asm volatile("movw %w0, %%ds; movw %w0, %%es; movw %w0, %%ss" : : "r"(0));
    const auto probed = plain.run();
    asm volatile("movw %w0, %%ds; movw %w0, %%es; movw %w0, %%ss"
                 :
                 : "r"(nestbed::wire::kernel_data_selector));
    expect_equal(probed.ds, 0U, "DS of L1");
    expect_equal(probed.es, 0U, "ES of L1");
    expect_equal(probed.ss, 0U, "SS of L1");
}
SVM_TEST(host_segments_user, "svm.switch.host_segments_user",
         "L1's DS and ES with RPL 3 are so after an exit", "15.6") {
    Plain plain;
    plain.guest.save().ds = plain.guest.save().es = {0, 0, 0, 0};
    guest::disable_interrupts();
    asm volatile("movw %w0, %%ds; movw %w0, %%es" : : "r"(nestbed::wire::user_data_selector));
    const auto probed = plain.run();
    asm volatile("movw %w0, %%ds; movw %w0, %%es" : : "r"(nestbed::wire::kernel_data_selector));
    expect_equal(probed.ds, nestbed::wire::user_data_selector, "DS of L1");
    expect_equal(probed.es, nestbed::wire::user_data_selector, "ES of L1");
}
SVM_TEST(host_segments_other, "svm.switch.host_segments_of_l2",
         "L2's other CS, SS, DS and ES do not reach L1", "15.6") {
    Plain plain;
    auto& save = plain.guest.save();
    save.cs.selector = 0x1108;
    save.ss.selector = 0x2210;
    save.ds.selector = 0x3310;
    save.es.selector = 0x4410;
    const auto probed = plain.run();
    expect_equal(probed.cs, nestbed::wire::kernel_code_selector, "CS of L1");
    expect_equal(probed.ss, nestbed::wire::kernel_data_selector, "SS of L1");
    expect_equal(probed.ds, nestbed::wire::kernel_data_selector, "DS of L1");
    expect_equal(probed.es, nestbed::wire::kernel_data_selector, "ES of L1");
    expect_equal(save.cs.selector, 0x1108U, "CS in the VMCB");
    expect_equal(save.ss.selector, 0x2210U, "SS in the VMCB");
    expect_equal(save.ds.selector, 0x3310U, "DS in the VMCB");
    expect_equal(save.es.selector, 0x4410U, "ES in the VMCB");
}

} // namespace nestbed::svm
