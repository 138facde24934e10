// Single steps and breakpoints in L2, and across VMRUN in L1 (APM volume 2, 13.1, 15.6, 15.12.2).
#include "core/guest/guard.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {

constexpr std::uint64_t dr6_init = 0xffff'0ff0;
constexpr std::uint64_t dr6_b0 = 1;
constexpr std::uint64_t dr6_bs = 1U << 14;
constexpr std::uint64_t dr7_init = 0x400;
constexpr std::uint64_t dr7_execute_0 = dr7_init | 1;                     // L0, of one byte
constexpr std::uint64_t dr7_write_0 = dr7_init | 1 | 1U << 16 | 3U << 18; // L0, writes of four bytes

L2_CODE(l2_step_nops, 64, "nop; nop; nop; vmmcall");
L2_CODE(l2_step_cpuid, 64, "cpuid; nop; nop; vmmcall");
L2_CODE(l2_step_rdmsr, 64,
        "movl $0x802, %ecx; .globl l2_step_at_rdmsr; l2_step_at_rdmsr: rdmsr; nop; vmmcall");
extern "C" const char l2_step_at_rdmsr[];

void write_dr0(const void* address) {
    asm volatile("movq %0, %%dr0" : : "r"(address));
}

// In L2: notes each #DB, and lets the code run on without TF.
bool note_step(guest::ExceptionFrame& frame) {
    auto& context = conform::l2_context();
    context.value[0] = read_dr6();
    context.value[1] = frame.rflags;
    if (frame.vector == 1) {
        frame.rflags &= ~rflags_tf;
        frame.rflags |= rflags_rf;
    }
    return frame.vector == 1;
}

// L2 begins with TF=1 at `first`, whose length is known: one #DB, behind it.
void step(const char* first, std::uint64_t bytes) {
    L2 guest;
    start_blob(guest, first);
    guest.save().rflags = rflags_fixed | rflags_tf;
    guest.registers.rcx = 0x802;
    guest.context().hook = &note_step;
    guest.run_to(ExitCode::vmmcall, "L2 runs on without TF");
    expect_equal(guest.context().exceptions[1], 1U, "#DBs that L2 has seen");
    expect_equal(guest.context().delivered, 1U, "events that L2 has seen");
    expect_equal(guest.context().last.rip, address_of(first) + bytes, "RIP on the stack");
    expect_equal(guest.context().value[0], dr6_init | dr6_bs, "DR6");
    expect_equal(guest.context().value[1] & rflags_tf, rflags_tf, "RFLAGS.TF on the stack");
}
void step_intercepted(const char* first, std::uint64_t bytes) {
    L2 guest;
    start_blob(guest, first);
    guest.save().rflags = rflags_fixed | rflags_tf;
    guest.registers.rcx = 0x802;
    guest.intercept_exception(1);
    guest.run_to(exception_exit(1), "the single step");
    expect_equal(guest.save().rip, address_of(first) + bytes, "RIP");
    expect_equal(guest.save().dr6, dr6_init | dr6_bs, "DR6");
    expect_equal(guest.save().rflags & rflags_tf, rflags_tf, "RFLAGS.TF");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "EXITINTINFO.V");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    guest.save().rflags &= ~rflags_tf;
    guest.run_to(ExitCode::vmmcall, "L2 runs on without TF");
}
void step_nop() {
    step(l2_step_nops, 1);
}
void step_nop_intercepted() {
    step_intercepted(l2_step_nops, 1);
}
void step_cpuid() {
    step(l2_step_cpuid, 2);
}
void step_cpuid_intercepted() {
    step_intercepted(l2_step_cpuid, 2);
}
void step_rdmsr() {
    step(l2_step_at_rdmsr, 2);
}
void step_rdmsr_intercepted() {
    step_intercepted(l2_step_at_rdmsr, 2);
}

} // namespace

SVM_CASE(event_step, "svm.event.step", "TF=1 at VMRUN is a #DB behind L2's first instruction", "13.1.4",
         &step_nop)
SVM_CASE(event_step_i, "svm.event.step_intercepted", "The same, intercepted, with DR6.BS", "15.12.2",
         &step_nop_intercepted)
SVM_CASE(event_step_cpuid, "svm.event.step_cpuid",
         "A single step over CPUID, which L0 carries out for L2, is a #DB behind it", "13.1.4", &step_cpuid)
SVM_CASE(event_step_cpuid_i, "svm.event.step_cpuid_intercepted", "The same, intercepted, with DR6.BS",
         "15.12.2", &step_cpuid_intercepted)
SVM_CASE(event_step_rdmsr, "svm.event.step_rdmsr",
         "A single step over RDMSR of an APIC register, which L0 carries out for L2, is a #DB behind it",
         "13.1.4", &step_rdmsr)
SVM_CASE(event_step_rdmsr_i, "svm.event.step_rdmsr_intercepted", "The same, intercepted, with DR6.BS",
         "15.12.2", &step_rdmsr_intercepted)

SVM_TEST(event_step_all, "svm.event.step_every_instruction",
         "With TF kept set and #DB intercepted, L2 leaves behind every instruction", "15.12.2") {
    L2 guest;
    start_blob(guest, l2_step_nops);
    guest.save().rflags = rflags_fixed | rflags_tf;
    guest.intercept_exception(1);
    for (unsigned i = 1; i <= 3; ++i) {
        guest.run_to(exception_exit(1), conform::Text{"step ", i});
        expect_equal(guest.save().rip, address_of(l2_step_nops) + i, "RIP");
    }
    guest.run_to(ExitCode::vmmcall, "the last instruction leaves by its own intercept");
    expect_equal(guest.save().rip, address_of(l2_step_nops) + 3, "RIP");
}
SVM_TEST(event_step_tf_inject, "svm.event.step_inject",
         "An injected event saves TF on the stack and clears it for the handler; the step follows its IRET",
         "15.20") {
    L2 guest;
    start_blob(guest, l2_step_nops);
    guest.save().rflags = rflags_fixed | rflags_tf | rflags_if;
    guest.control().event_inj = event(EventType::interrupt, 0x33);
    guest.context().hook = &note_step;
    guest.run_to(ExitCode::vmmcall, "L2 runs on without TF");
    expect_equal(guest.context().delivered, 2U, "events that L2 has seen");
    expect_equal(guest.context().order[0], 0x33U, "the first");
    expect_equal(guest.context().order[1], 1U, "the second");
    expect_equal(guest.context().last.rip, address_of(l2_step_nops) + 1, "RIP that #DB pushed");
}
SVM_TEST(event_step_exit, "svm.event.step_intercepted_instruction",
         "An intercepted instruction under TF leaves before its step, with DR6 and RIP untouched", "15.7") {
    L2 guest;
    start_blob(guest, l2_step_cpuid);
    guest.intercept(Intercept::cpuid);
    guest.intercept_exception(1);
    guest.save().rflags = rflags_fixed | rflags_tf;
    guest.run_to(ExitCode::cpuid, "CPUID");
    expect_equal(guest.save().rip, address_of(l2_step_cpuid), "RIP");
    expect_equal(guest.save().dr6, dr6_init, "DR6");
    expect_equal(guest.save().rflags & rflags_tf, rflags_tf, "RFLAGS.TF");
    guest.skip(2);
    guest.run_to(exception_exit(1), "the step of the instruction behind it");
    expect_equal(guest.save().rip, address_of(l2_step_cpuid) + 3, "RIP");
}

// Breakpoints: DR0 to DR3 are shared, DR6 and DR7 are the VMCB's (15.5.1).
SVM_TEST(event_bp_execute, "svm.event.breakpoint_execute",
         "An execution breakpoint of the VMCB's DR7 is a #DB at its instruction in L2, once", "13.1.3") {
    L2 guest;
    start_blob(guest, l2_step_nops);
    write_dr0(l2_step_nops + 2);
    guest.save().dr7 = dr7_execute_0;
    guest.context().hook = &note_step;
    guest.run_to(ExitCode::vmmcall, "L2 runs on with RF=1");
    expect_equal(guest.context().exceptions[1], 1U, "#DBs that L2 has seen");
    expect_equal(guest.context().last.rip, address_of(l2_step_nops) + 2, "RIP on the stack");
    expect_equal(guest.context().value[0], dr6_init | dr6_b0, "DR6");
}
SVM_TEST(event_bp_execute_i, "svm.event.breakpoint_execute_intercepted",
         "An execution breakpoint in L2, intercepted, leaves at its instruction with DR6.B0", "15.12.2") {
    L2 guest;
    start_blob(guest, l2_step_nops);
    write_dr0(l2_step_nops + 2);
    guest.save().dr7 = dr7_execute_0;
    guest.intercept_exception(1);
    guest.run_to(exception_exit(1), "the breakpoint");
    expect_equal(guest.save().rip, address_of(l2_step_nops) + 2, "RIP");
    expect_equal(guest.save().dr6, dr6_init | dr6_b0, "DR6");
    expect_equal(guest.save().dr7, dr7_execute_0, "DR7");
    // RF=1 at VMRUN passes over it.
    guest.save().rflags |= rflags_rf;
    guest.run_to(ExitCode::vmmcall, "L2 goes on with RF=1");
}
SVM_TEST(event_bp_write, "svm.event.breakpoint_write",
         "A data breakpoint in L2 is a #DB behind the write, with DR6.B0", "13.1.3") {
    static std::uint32_t watched;
    L2 guest;
    auto code = [] { guest::store(watched, 5U); };
    guest.start(code);
    write_dr0(&watched);
    guest.save().dr7 = dr7_write_0;
    guest.context().hook = &note_step;
    guest.run_to_end();
    expect_equal(guest.context().exceptions[1], 1U, "#DBs that L2 has seen");
    expect_equal(guest.context().value[0], dr6_init | dr6_b0, "DR6");
    expect_equal(guest::load(watched), 5U, "what L2 wrote");
}
SVM_TEST(event_bp_not_l1, "svm.event.breakpoint_of_l1_not_in_l2",
         "A breakpoint of L1's DR7 is not L2's: VMRUN loads the VMCB's", "15.5.1") {
    static std::uint32_t watched;
    L2 guest;
    auto code = [] { guest::store(watched, 6U); };
    guest.start(code);
    guest.context().hook = &note_step;
    write_dr0(&watched);
    write_dr7(dr7_write_0);
    guest.run_to_end();
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(guest::load(watched), 6U, "what L2 wrote");
    expect_equal(guest.save().dr7, dr7_init, "the VMCB's DR7");
}
SVM_TEST(event_bp_not_l2, "svm.event.breakpoint_of_l2_not_in_l1",
         "#VMEXIT disables all breakpoints: DR7 is 400h in L1, whatever it was on either side", "15.6") {
    static std::uint32_t watched;
    L2 guest;
    auto code = [] {};
    guest.start(code);
    write_dr0(&watched);
    write_dr7(dr7_init | 0x100);
    guest.save().dr7 = dr7_write_0;
    guest.run_to_end();
    expect_equal(read_dr7(), dr7_init, "DR7 in L1");
    const auto fault = guest::catch_fault([] { guest::store(watched, 7U); });
    expect(!fault.raised, "L1 writes what L2's breakpoint watches without #DB");
    expect_equal(guest.save().dr7, dr7_write_0, "the VMCB's DR7");
}
SVM_TEST(event_dr6_of_l2, "svm.event.dr6_of_l2", "L2 finds the VMCB's DR6, and what it writes is saved there",
         "15.5.1") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = read_dr6();
        write_dr6(dr6_init | 4);
    };
    guest.start(code);
    guest.save().dr6 = dr6_init | dr6_bs | 8;
    guest.run_to_end();
    expect_equal(seen, dr6_init | dr6_bs | 8, "DR6 as L2 finds it");
    expect_equal(guest.save().dr6, dr6_init | 4, "DR6 in the VMCB");
}
SVM_TEST(event_dr7_of_l2, "svm.event.dr7_of_l2", "L2 finds the VMCB's DR7, and what it writes is saved there",
         "15.5.1") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = read_dr7();
        write_dr7(dr7_init | 0x200);
    };
    guest.start(code);
    guest.save().dr7 = dr7_init | 0x100; // LE, GE below: they enable nothing
    guest.run_to_end();
    expect_equal(seen, dr7_init | 0x100, "DR7 as L2 finds it");
    expect_equal(guest.save().dr7, dr7_init | 0x200, "DR7 in the VMCB");
    expect_equal(read_dr7(), dr7_init, "DR7 in L1");
}
SVM_TEST(event_dr0_shared, "svm.event.dr0_shared", "DR0 is not switched: L2 finds L1's, L1 finds L2's",
         "15.5.1") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        asm volatile("movq %%dr0, %0" : "=r"(seen));
        asm volatile("movq %0, %%dr0" : : "r"(std::uint64_t{0x5678}));
    };
    guest.start(code);
    write_dr0(reinterpret_cast<void*>(0x1234));
    guest.run_to_end();
    expect_equal(seen, 0x1234U, "DR0 as L2 finds it");
    asm volatile("movq %%dr0, %0" : "=r"(seen));
    expect_equal(seen, 0x5678U, "DR0 as L1 finds it");
}

// TF in L1: the step of VMRUN is over once L2 has left (15.5.1: as any instruction).
namespace {
extern "C" const char svm_enter_vmrun[];
std::uint64_t steps;
std::uint64_t behind_vmrun;
std::uint64_t in_l2_code;
std::uint64_t l2_code_at;
bool count_step(guest::ExceptionFrame& frame) {
    ++steps;
    if (frame.rip == reinterpret_cast<std::uint64_t>(svm_enter_vmrun) + 3) {
        ++behind_vmrun;
        frame.rflags &= ~rflags_tf;
    }
    if (frame.rip >= l2_code_at && frame.rip <= l2_code_at + 4)
        ++in_l2_code;
    if (steps > 1000)
        frame.rflags &= ~rflags_tf;
    return true;
}
} // namespace
SVM_TEST(event_step_vmrun, "svm.event.step_vmrun_in_l1",
         "TF=1 in L1 across VMRUN is one #DB behind VMRUN, and no step of L2's", "15.5.1") {
    guest::set_exception_handler(1, &count_step);
    L2 guest;
    start_blob(guest, l2_step_nops);
    guest.context().hook = &note_step;
    l2_code_at = address_of(l2_step_nops);
    clgi();
    asm volatile("pushfq; orq $0x100, (%%rsp); popfq" : : : "memory", "cc");
    svm_enter(guest.vmcb_pa(), &guest.registers, conform::physical(this_host().state));
    asm volatile("pushfq; andq $~0x100, (%%rsp); popfq" : : : "memory", "cc");
    stgi();
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(behind_vmrun, 1U, "#DBs of L1 right behind VMRUN");
    expect_equal(in_l2_code, 0U, "#DBs of L1 in L2's code");
    expect_equal(guest.context().delivered, 0U, "events that L2 has seen");
    expect_equal(guest.save().rflags & rflags_tf, 0U, "RFLAGS.TF of L2");
}

} // namespace nestbed::svm
