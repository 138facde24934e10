// The next RIP that an exit saves (APM volume 2, 15.7.1): for every instruction that can be intercepted.
#include "core/guest/guard.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {

// `prepare` sets the intercept; RDI points at a page that L2 may touch.
void next_rip(const char* code, std::uint64_t before, std::uint64_t length, ExitCode exit,
              void (*prepare)(L2&)) {
    L2 guest;
    start_blob(guest, code, conform::physical(conform::allocate_pages(2)));
    guest.control().next_rip = 0x5a5a'5a5a; // whatever was there must not stay
    prepare(guest);
    guest.run_to(exit, "the instruction is intercepted");
    expect_equal(guest.save().rip, address_of(code) + before, "VMCB.RIP at the instruction");
    expect_equal(guest.control().next_rip, address_of(code) + before + length,
                 "VMCB.nRIP behind the instruction");
}
void all_io(L2& guest) {
    guest.intercept(Intercept::ioio_prot);
    for (unsigned i = 0; i < iopm_bytes; ++i)
        guest.iopm()[i] = 0xff;
}
void all_msrs(L2& guest) {
    guest.intercept(Intercept::msr_prot);
    for (unsigned i = 0; i < msrpm_bytes; ++i)
        guest.msrpm()[i] = 0xff;
}

} // namespace

// name, instructions before it and their length, the instruction and its length, exit, preparation
#define NRIP_CASE(name, first, before, text, length, exit, ...)                                              \
    L2_CODE(l2_nrip_##name, 64, first text "\nvmmcall");                                                     \
    SVM_TEST(nrip_##name, "svm.optional.nrip_" #name, "An exit saves the address behind the instruction",    \
             "15.7.1", .needs = "nrip_save") {                                                               \
        next_rip(l2_nrip_##name, before, length, exit, [](L2 & guest) __VA_ARGS__);                          \
    }
#define NRIP_BIT(name, text, length)                                                                         \
    NRIP_CASE(name, "", 0, text, length, ExitCode::name, { guest.intercept(Intercept::name); })
NRIP_BIT(cpuid, "cpuid", 2)
NRIP_BIT(rdtsc, "rdtsc", 2)
NRIP_BIT(rdtscp, "rdtscp", 3)
NRIP_BIT(hlt, "hlt", 1)
NRIP_BIT(pause, "pause", 2)
NRIP_BIT(invd, "invd", 2)
NRIP_BIT(wbinvd, "wbinvd", 2)
NRIP_BIT(rdpmc, "rdpmc", 2)
NRIP_BIT(pushf, "pushfq", 1)
NRIP_BIT(popf, "popfq", 1)
NRIP_BIT(iret, "iretq", 2)
NRIP_BIT(swint, "int $0x61", 2)
NRIP_BIT(icebp, ".byte 0xf1", 1)
NRIP_BIT(invlpg, "invlpg (%rdi)", 3)
NRIP_BIT(invlpga, "invlpga %rax, %ecx", 3)
NRIP_BIT(vmrun, "vmrun %rax", 3)
NRIP_BIT(vmmcall, "vmmcall", 3)
NRIP_BIT(vmload, "vmload %rax", 3)
NRIP_BIT(vmsave, "vmsave %rax", 3)
NRIP_BIT(stgi, "stgi", 3)
NRIP_BIT(clgi, "clgi", 3)
NRIP_BIT(skinit, "skinit %eax", 3)
NRIP_BIT(monitor, "monitor %rax, %ecx, %edx", 3)
NRIP_BIT(mwait, "mwait %eax, %ecx", 3)
NRIP_BIT(idtr_read, "sidt (%rdi)", 3)
NRIP_BIT(gdtr_read, "sgdt (%rdi)", 3)
NRIP_BIT(ldtr_read, "sldt (%rdi)", 3)
NRIP_BIT(tr_read, "str (%rdi)", 3)
NRIP_BIT(idtr_write, "lidt (%rdi)", 3)
NRIP_BIT(gdtr_write, "lgdt (%rdi)", 3)
NRIP_BIT(ldtr_write, "lldt (%rdi)", 3)
NRIP_CASE(tr_write, "movl $0x28, %eax\n", 5, "ltr %ax", 3, ExitCode::tr_write,
          { guest.intercept(Intercept::tr_write); })
NRIP_CASE(cpuid_prefixes, "", 0, ".byte 0x66, 0x2e, 0x48; cpuid", 5, ExitCode::cpuid,
          { guest.intercept(Intercept::cpuid); })
NRIP_CASE(cpuid_after_nop, "nop\n", 1, "cpuid", 2, ExitCode::cpuid, { guest.intercept(Intercept::cpuid); })
NRIP_CASE(rdmsr, "movl $0xc0000081, %ecx\n", 5, "rdmsr", 2, ExitCode::msr, { all_msrs(guest); })
NRIP_CASE(wrmsr, "movl $0xc0000081, %ecx\n", 5, "wrmsr", 2, ExitCode::msr, { all_msrs(guest); })
NRIP_CASE(in_immediate, "", 0, "inb $0xe4, %al", 2, ExitCode::ioio, { all_io(guest); })
NRIP_CASE(in_dx, "movw $0x5e4, %dx\n", 4, "inb %dx, %al", 1, ExitCode::ioio, { all_io(guest); })
NRIP_CASE(out_word, "movw $0x5e4, %dx\n", 4, "outw %ax, %dx", 2, ExitCode::ioio, { all_io(guest); })
NRIP_CASE(out_dword, "movw $0x5e4, %dx\n", 4, "outl %eax, %dx", 1, ExitCode::ioio, { all_io(guest); })
NRIP_CASE(cr0_read, "", 0, "movq %cr0, %rax", 3, ExitCode::read_cr0, { guest.control().intercept_cr |= 1; })
NRIP_CASE(cr3_read, "", 0, "movq %cr3, %rax", 3, read_cr_exit(3),
          { guest.control().intercept_cr |= 1U << 3; })
NRIP_CASE(cr4_read, "", 0, "movq %cr4, %r9", 4, read_cr_exit(4), { guest.control().intercept_cr |= 1U << 4; })
NRIP_CASE(cr8_read, "", 0, "movq %cr8, %rax", 4, read_cr_exit(8),
          { guest.control().intercept_cr |= 1U << 8; })
NRIP_CASE(cr0_write, "movq %cr0, %rax\n", 3, "movq %rax, %cr0", 3, ExitCode::write_cr0,
          { guest.control().intercept_cr |= 1U << 16; })
NRIP_CASE(cr3_write, "movq %cr3, %rax\n", 3, "movq %rax, %cr3", 3, write_cr_exit(3),
          { guest.control().intercept_cr |= 1U << 19; })
NRIP_CASE(cr4_write, "movq %cr4, %rax\n", 3, "movq %rax, %cr4", 3, write_cr_exit(4),
          { guest.control().intercept_cr |= 1U << 20; })
NRIP_CASE(clts, "", 0, "clts", 2, ExitCode::write_cr0, { guest.control().intercept_cr |= 1U << 16; })
NRIP_CASE(lmsw, "smsw %rax\n", 4, "lmsw %ax", 3, ExitCode::write_cr0,
          { guest.control().intercept_cr |= 1U << 16; })
NRIP_CASE(smsw, "", 0, "smsw %rax", 4, ExitCode::read_cr0, { guest.control().intercept_cr |= 1; })
NRIP_CASE(cr0_selective, "movq %cr0, %rax; xorl $0x40000, %eax\n", 8, "movq %rax, %cr0", 3,
          ExitCode::cr0_sel_write, { guest.intercept(Intercept::cr0_sel_write); })
NRIP_CASE(dr0_read, "", 0, "movq %dr0, %rax", 3, read_dr_exit(0), { guest.control().intercept_dr |= 1; })
NRIP_CASE(dr7_read, "", 0, "movq %dr7, %rax", 3, read_dr_exit(7),
          { guest.control().intercept_dr |= 1U << 7; })
NRIP_CASE(dr6_write, "movq %dr6, %rax\n", 3, "movq %rax, %dr6", 3, write_dr_exit(6),
          { guest.control().intercept_dr |= 1U << 22; })
NRIP_CASE(int3, "", 0, "int3", 1, exception_exit(3), { guest.intercept_exception(3); })
#undef NRIP_BIT
#undef NRIP_CASE

SVM_TEST(nrip_xsetbv, "svm.optional.nrip_xsetbv", "An exit saves the address behind the instruction",
         "15.7.1", .needs = "nrip_save") {
    if (!cpuid_bit(1, 'c', 26))
        return conform::not_applicable("the vCPU has no XSAVE (CPUID Fn0000_0001 ECX bit 26)");
    L2 guest;
    auto code = [] {
        asm volatile(".globl l2_nrip_xsetbv\nl2_nrip_xsetbv: xsetbv" : : "a"(1), "d"(0), "c"(0));
    };
    guest.start(code);
    guest.save().cr4 |= 1U << 18;
    guest.intercept(Intercept::xsetbv);
    guest.run_to(ExitCode::xsetbv, "XSETBV is intercepted");
    expect_equal(guest.control().next_rip, guest.save().rip + 3, "VMCB.nRIP behind the instruction");
}

// Injected software interrupts: with the feature nRIP is the return address (15.20). Without it RIP is, which
// is not tried: KVM then skips an instruction when it has to inject once more, and is known to get it wrong.
namespace {
void injected(bool next, std::uint8_t vector, EventType type) {
    L2 guest;
    auto code = [] { asm volatile("nop; nop; nop; nop"); };
    guest.context().resume |= 1U << 3 | 1U << 4;
    warm_up(guest);
    guest.start(code);
    const auto rip = guest.save().rip;
    guest.control().event_inj = event(type, vector);
    guest.control().next_rip = next ? rip + 0 : 0x7777'0000;
    if (next) {
        // RIP is no code: only nRIP leads on.
        guest.save().rip = 0x7777'0000;
    }
    if (!guest.run_to_end())
        return;
    expect_equal(guest.context().last.vector, vector, "vector that L2 took");
    expect_equal(guest.context().last.rip, rip, "return address in L2's frame");
    expect_equal(guest.context().delivered, 1U, "events that L2 took");
}
} // namespace
SVM_TEST(nrip_injected_int, "svm.optional.nrip_injected_software_interrupt",
         "An injected software interrupt returns to nRIP", "15.20", .needs = "nrip_save") {
    injected(true, 0x61, EventType::software_interrupt);
}
SVM_TEST(nrip_injected_int3, "svm.optional.nrip_injected_int3_as_software_interrupt",
         "INT3 injected as a software interrupt returns to nRIP", "15.20", .needs = "nrip_save") {
    injected(true, 3, EventType::software_interrupt);
}
SVM_TEST(nrip_external_interrupt, "svm.optional.nrip_stale_external_interrupt",
         "An injected external interrupt returns to RIP, whatever nRIP has", "15.20") {
    injected(false, 0x62, EventType::interrupt);
}
SVM_TEST(nrip_resume, "svm.optional.nrip_stale_resume",
         "Without an injected event VMRUN goes on at RIP, whatever nRIP has", "15.5.1") {
    L2 guest;
    auto code = [] { asm volatile("nop"); };
    guest.start(code);
    guest.control().next_rip = 0x7777'0000;
    guest.run_to_end();
}

} // namespace nestbed::svm
