// VMCB clean bits (APM volume 2, 15.15): a bit that is set may be believed where L1 has not changed the
// fields, a bit that is clear must be honoured, and none may be believed for a VMCB that this vCPU does not
// know.
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

L2_CODE(l2_clean_look, 64,
        "movq %cr0, %r8; movq %cr2, %r9; movq %cr3, %r10; movq %cr4, %r11; movq %dr6, %r12; movq %dr7, %r13\n"
        "subq $16, %rsp; sgdt (%rsp); movq 2(%rsp), %r14; sidt (%rsp); movq 2(%rsp), %r15; addq $16, %rsp\n"
        "xorl %ebx, %ebx; movw %cs, %bx; xorl %ecx, %ecx; movw %ds, %cx; xorl %edx, %edx; movw %es, %dx\n"
        "xorl %esi, %esi; movw %ss, %si\n"
        "vmmcall");
L2_CODE(l2_clean_cpuid, 64, "cpuid; vmmcall");
L2_CODE(l2_clean_rdtsc, 64, "rdtsc; shlq $32, %rdx; orq %rdx, %rax; movq %rax, %rbx; vmmcall");
L2_CODE(l2_clean_rdmsr, 64, "movl $0xc0000081, %ecx; rdmsr; vmmcall");
L2_CODE(l2_clean_in, 64, "movw $0x5e4, %dx; inb %dx, %al; vmmcall");
L2_CODE(l2_clean_read, 64, "movq (%rdi), %rbx; vmmcall");
L2_CODE(l2_clean_exit, 64, "vmmcall");
L2_CODE(l2_clean_efer, 64, "movl $0xc0000080, %ecx; rdmsr; movl %eax, %ebx; vmmcall");

namespace {

constexpr std::uint64_t all_bits = 0x1fff;

void look(L2& guest) {
    start_blob(guest, l2_clean_look);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
}

// One set of values that differs in everything a clean bit covers.
void give_values(L2& guest, unsigned which) {
    auto& save = guest.save();
    save.cr2 = 0x1000'0000U + which;
    save.cr0 = which % 2 != 0 ? save.cr0 | 8 : save.cr0 & ~std::uint64_t{8};
    save.cr4 = which % 2 != 0 ? save.cr4 | 4 : save.cr4 & ~std::uint64_t{4};
    save.dr6 = 0xffff'0ff0 | (which & 0xf);
    save.dr7 = 0x400 | (which & 0xf) << 16;
    save.gdtr.base = 0x10'0000U * (which + 1);
    save.idtr.base = 0x10'0000U * (which + 1) + 0x1000;
    save.ds.selector = static_cast<std::uint16_t>(0x40 + 8 * which);
    save.es.selector = static_cast<std::uint16_t>(0x48 + 8 * which);
    save.ss.selector = static_cast<std::uint16_t>(0x50 + 8 * which);
    save.cs.selector = static_cast<std::uint16_t>(0x58 + 8 * which);
}
void expect_values(const SaveArea& values, const GeneralRegisters& seen, const char* who) {
    expect_equal(seen.r8, values.cr0, Text{who, ": CR0 as L2 sees it"});
    expect_equal(seen.r9, values.cr2, Text{who, ": CR2 as L2 sees it"});
    expect_equal(seen.r10, values.cr3, Text{who, ": CR3 as L2 sees it"});
    expect_equal(seen.r11, values.cr4, Text{who, ": CR4 as L2 sees it"});
    expect_equal(seen.r12, values.dr6, Text{who, ": DR6 as L2 sees it"});
    expect_equal(seen.r13, values.dr7, Text{who, ": DR7 as L2 sees it"});
    expect_equal(seen.r14, values.gdtr.base, Text{who, ": GDTR.base as L2 sees it"});
    expect_equal(seen.r15, values.idtr.base, Text{who, ": IDTR.base as L2 sees it"});
    expect_equal(seen.rbx, values.cs.selector, Text{who, ": CS as L2 sees it"});
    expect_equal(seen.rcx, values.ds.selector, Text{who, ": DS as L2 sees it"});
    expect_equal(seen.rdx, values.es.selector, Text{who, ": ES as L2 sees it"});
    expect_equal(seen.rsi, values.ss.selector, Text{who, ": SS as L2 sees it"});
}
void expect_kept(const SaveArea& before, const SaveArea& after, const char* who) {
    expect_equal(after.cr0, before.cr0, Text{who, ": VMCB.CR0 after the exit"});
    expect_equal(after.cr2, before.cr2, Text{who, ": VMCB.CR2 after the exit"});
    expect_equal(after.cr3, before.cr3, Text{who, ": VMCB.CR3 after the exit"});
    expect_equal(after.cr4, before.cr4, Text{who, ": VMCB.CR4 after the exit"});
    expect_equal(after.dr6, before.dr6, Text{who, ": VMCB.DR6 after the exit"});
    expect_equal(after.dr7, before.dr7, Text{who, ": VMCB.DR7 after the exit"});
    expect_equal(after.gdtr.base, before.gdtr.base, Text{who, ": VMCB.GDTR.base after the exit"});
    expect_equal(after.idtr.base, before.idtr.base, Text{who, ": VMCB.IDTR.base after the exit"});
    expect_equal(after.cs.selector, before.cs.selector, Text{who, ": VMCB.CS.selector after the exit"});
    expect_equal(after.ds.selector, before.ds.selector, Text{who, ": VMCB.DS.selector after the exit"});
    expect_equal(after.es.selector, before.es.selector, Text{who, ": VMCB.ES.selector after the exit"});
    expect_equal(after.ss.selector, before.ss.selector, Text{who, ": VMCB.SS.selector after the exit"});
}
void look_and_expect(L2& guest, const char* who) {
    const auto before = guest.save();
    look(guest);
    expect_values(before, guest.registers, who);
    expect_kept(before, guest.save(), who);
}

template<std::uint64_t Bit>
void unchanged() {
    L2 guest;
    give_values(guest, 1);
    look_and_expect(guest, "first run, nothing clean");
    guest.control().clean = Bit;
    look_and_expect(guest, "second run, bit set");
    look_and_expect(guest, "third run, bit set");
}
// Everything but `Bit` is said to be clean, and only what `Bit` covers has changed.
template<std::uint64_t Bit>
void changed(void (*change)(SaveArea&)) {
    L2 guest;
    give_values(guest, 1);
    look_and_expect(guest, "first run, nothing clean");
    change(guest.save());
    guest.control().clean = all_bits & ~Bit;
    look_and_expect(guest, "second run, changed, its bit clear");
    guest.control().clean = all_bits;
    look_and_expect(guest, "third run, unchanged, all bits set");
}

} // namespace

#define UNCHANGED(name, bit)                                                                                 \
    SVM_CASE(switch_clean_unchanged_##name, "svm.switch.clean_unchanged_" #name,                             \
             "With this bit set and nothing changed L2 has its state as before", "15.15.1", &unchanged<bit>, \
             .needs = "vmcb_clean")
UNCHANGED(intercepts, clean::intercepts)
UNCHANGED(iopm, clean::iopm)
UNCHANGED(asid, clean::asid)
UNCHANGED(tpr, clean::tpr)
UNCHANGED(np, clean::np)
UNCHANGED(crx, clean::crx)
UNCHANGED(drx, clean::drx)
UNCHANGED(dt, clean::dt)
UNCHANGED(seg, clean::seg)
UNCHANGED(cr2, clean::cr2)
UNCHANGED(lbr, clean::lbr)
UNCHANGED(avic, clean::avic)
UNCHANGED(defined, all_bits)
UNCHANGED(all, clean::all) // 15.15.4: reserved bits may be written with ones
#undef UNCHANGED

#define CHANGED(name, bit, ...)                                                                              \
    SVM_TEST(switch_clean_changed_##name, "svm.switch.clean_changed_" #name,                                 \
             "A field changed by L1 counts where its clean bit is clear, though all others are set",         \
             "15.15.2") {                                                                                    \
        changed<bit>([](SaveArea & save) __VA_ARGS__);                                                       \
    }
CHANGED(cr0, clean::crx, { save.cr0 ^= 8; })
CHANGED(cr4, clean::crx, { save.cr4 ^= 4; })
CHANGED(cr3, clean::crx, { save.cr3 = NestedPageTables{}.root(); })
CHANGED(cr2, clean::cr2, { save.cr2 = 0xcafe'0000; })
CHANGED(dr6, clean::drx, { save.dr6 = 0xffff'4ff0; })
CHANGED(dr7, clean::drx, { save.dr7 = 0x00a0'0400; })
CHANGED(gdt, clean::dt, { save.gdtr.base = 0x0777'0000; })
CHANGED(idt, clean::dt, { save.idtr.base = 0x0888'0000; })
CHANGED(ds, clean::seg, { save.ds.selector = 0x70; })
CHANGED(es, clean::seg, { save.es.selector = 0x78; })
CHANGED(ss, clean::seg, { save.ss.selector = 0x80; })
CHANGED(cs, clean::seg, { save.cs.selector = 0x88; })
#undef CHANGED

SVM_TEST(switch_clean_changed_efer, "svm.switch.clean_changed_efer",
         "EFER changed by L1 counts with the CRx bit clear and all others set", "15.15.2") {
    L2 guest;
    start_blob(guest, l2_clean_efer);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    guest.save().efer ^= msr::efer_bit::sce;
    guest.control().clean = all_bits & ~clean::crx;
    const auto expected = guest.save().efer;
    start_blob(guest, l2_clean_efer);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, expected, "EFER as L2 sees it");
}
SVM_TEST(switch_clean_changed_cpl, "svm.switch.clean_changed_cpl",
         "CPL, CS and SS changed by L1 count with the SEG bit clear and all others set", "15.15.2") {
    L2 guest;
    guest.intercept_exception(13);
    start_blob(guest, l2_clean_look);
    guest.run_to(ExitCode::vmmcall, "ring 0 of L2 leaves by VMMCALL");
    start_blob(guest, l2_clean_look); // MOV from CR0 is its first instruction
    guest.save().cs = {nestbed::wire::user_code_selector, 0xafb, 0xffff'ffff, 0};
    guest.save().ss = {nestbed::wire::user_data_selector, 0xcf3, 0xffff'ffff, 0};
    guest.save().cpl = 3;
    guest.control().clean = all_bits & ~clean::seg;
    guest.run_to(exception_exit(13), "#GP in ring 3");
    expect_equal(guest.save().cpl, 3U, "VMCB.CPL");
}
// RFLAGS, RIP, RSP and RAX are never cached (15.15.4): look() starts anew each time, which shows the other
// two.
SVM_TEST(switch_clean_uncached, "svm.switch.clean_uncached",
         "RIP, RSP, RAX and RFLAGS changed by L1 count with all bits set", "15.15.4") {
    L2 guest;
    start_blob(guest, l2_clean_look);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    guest.control().clean = clean::all;
    start_blob(guest, l2_clean_exit);
    guest.save().rsp -= 64;
    guest.save().rax = 0x7777'8888;
    guest.save().rflags = 2 | 0x8d5;
    const auto rsp = guest.save().rsp;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().rip, address_of(l2_clean_exit), "VMCB.RIP");
    expect_equal(guest.save().rsp, rsp, "VMCB.RSP");
    expect_equal(guest.save().rax, 0x7777'8888U, "VMCB.RAX");
    expect_equal(guest.save().rflags, 2U | 0x8d5, "VMCB.RFLAGS");
}
SVM_TEST(switch_clean_event_inj, "svm.switch.clean_event_inj",
         "EVENTINJ and INTERRUPT_SHADOW count with all bits set", "15.15.4") {
    L2 guest;
    auto nothing = [] {};
    warm_up(guest);
    guest.control().clean = clean::all;
    guest.start(nothing);
    // Not a software interrupt: without nRIP KVM cannot inject one again that something came in between of.
    guest.control().event_inj = event(EventType::interrupt, 0x61);
    guest.run_to_end();
    expect_equal(guest.context().interrupts[0x61], 1U, "times that L2 took the event");
}

// Control fields.

SVM_TEST(switch_clean_changed_intercepts, "svm.switch.clean_changed_intercepts",
         "An intercept set by L1 counts with the I bit clear and all others set, and so does clearing it",
         "15.15.2") {
    L2 guest;
    start_blob(guest, l2_clean_cpuid);
    guest.run_to(ExitCode::vmmcall, "CPUID is not intercepted");
    guest.control().clean = all_bits & ~clean::intercepts;
    guest.intercept(Intercept::cpuid);
    start_blob(guest, l2_clean_cpuid);
    guest.run_to(ExitCode::cpuid, "CPUID is intercepted");
    guest.intercept(Intercept::cpuid, false);
    start_blob(guest, l2_clean_cpuid);
    guest.run_to(ExitCode::vmmcall, "CPUID is not intercepted any more");
}
SVM_TEST(switch_clean_changed_tsc_offset, "svm.switch.clean_changed_tsc_offset",
         "TSC_OFFSET changed by L1 counts with the I bit clear and all others set", "15.15.2") {
    L2 guest;
    start_blob(guest, l2_clean_rdtsc);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    constexpr std::uint64_t offset = 0x4000'0000'0000'0000;
    guest.control().tsc_offset = offset;
    guest.control().clean = all_bits & ~clean::intercepts;
    start_blob(guest, l2_clean_rdtsc);
    const auto before = guest::rdtsc();
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    const auto after = guest::rdtsc();
    expect(guest.registers.rbx >= before + offset && guest.registers.rbx <= after + offset,
           "L2's TSC lies between L1's before and after, plus the offset");
}
namespace {
// The maps' contents are not covered by a clean bit's cache of the pointers alone: L1 that changes a map
// clears the bit (15.15.3: "IOPM_BASE, MSRPM_BASE").
void map_changed(bool other_map) {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    start_blob(guest, l2_clean_rdmsr);
    guest.run_to(ExitCode::vmmcall, "STAR is not intercepted");
    guest.control().clean = all_bits & ~clean::iopm;
    auto* map = guest.msrpm();
    if (other_map) {
        map = static_cast<std::uint8_t*>(conform::allocate_pages(2));
        guest.control().msrpm_base_pa = conform::physical(map);
    }
    map[0x800 + 0x81 / 4] = 3 << (0x81 % 4 * 2); // C000_0081h: the second 2 KiB (15.11)
    start_blob(guest, l2_clean_rdmsr);
    guest.run_to(ExitCode::msr, "STAR is intercepted");
}
void io_map_changed(bool other_map) {
    L2 guest;
    guest.intercept(Intercept::ioio_prot);
    start_blob(guest, l2_clean_in);
    guest.run_to(ExitCode::vmmcall, "port 5E4h is not intercepted");
    guest.control().clean = all_bits & ~clean::iopm;
    auto* map = guest.iopm();
    if (other_map) {
        map = static_cast<std::uint8_t*>(conform::allocate_pages(3));
        guest.control().iopm_base_pa = conform::physical(map);
    }
    map[0x5e4 / 8] = 1U << (0x5e4 % 8);
    start_blob(guest, l2_clean_in);
    guest.run_to(ExitCode::ioio, "port 5E4h is intercepted");
}
} // namespace
SVM_TEST(switch_clean_msrpm, "svm.switch.clean_changed_msrpm",
         "The MSR map changed by L1 counts with the IOPM bit clear and all others set", "15.15.2") {
    map_changed(false);
}
SVM_TEST(switch_clean_msrpm_base, "svm.switch.clean_changed_msrpm_base",
         "Another MSR map counts with the IOPM bit clear and all others set", "15.15.2") {
    map_changed(true);
}
SVM_TEST(switch_clean_iopm, "svm.switch.clean_changed_iopm",
         "The I/O map changed by L1 counts with the IOPM bit clear and all others set", "15.15.2") {
    io_map_changed(false);
}
SVM_TEST(switch_clean_iopm_base, "svm.switch.clean_changed_iopm_base",
         "Another I/O map counts with the IOPM bit clear and all others set", "15.15.2") {
    io_map_changed(true);
}
SVM_TEST(switch_clean_np, "svm.switch.clean_changed_n_cr3",
         "N_CR3 changed by L1 counts with the NP bit clear and all others set", "15.15.2", .needs = "npt") {
    L2 guest;
    NestedPageTables first;
    NestedPageTables second;
    auto* const pages = static_cast<std::uint64_t*>(conform::allocate_pages(2));
    pages[0] = 0x1111;
    pages[512] = 0x2222;
    second.entry(conform::physical(pages), 1) = second.entry(conform::physical(pages + 512), 1);
    first.use_in(guest);
    start_blob(guest, l2_clean_read, conform::physical(pages));
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, 0x1111U, "what L2 reads through the first tables");
    second.use_in(guest);
    guest.control().clean = all_bits & ~clean::np;
    guest.control().tlb_control = tlb_control::flush_all;
    start_blob(guest, l2_clean_read, conform::physical(pages));
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, 0x2222U, "what L2 reads through the second tables");
}
SVM_TEST(switch_clean_tpr, "svm.switch.clean_changed_v_irq",
         "V_IRQ set by L1 counts with the TPR bit clear and all others set", "15.15.2") {
    L2 guest;
    auto nothing = [] { asm volatile("nop"); };
    warm_up(guest);
    guest.control().clean = all_bits & ~clean::tpr;
    guest.control().int_ctl |= int_ctl::v_irq | int_ctl::v_ign_tpr | 1U << int_ctl::v_intr_prio_shift;
    guest.control().int_vector = 0x62;
    guest.save().rflags |= 1U << 9;
    guest.start(nothing);
    guest.run_to_end();
    expect_equal(guest.context().interrupts[0x62], 1U, "times that L2 took the interrupt");
}
// L2's own changes are no changes by L1: what L2 did counts, whatever the bits say (15.15.2).
L2_CODE(l2_clean_change, 64,
        "movq %rdi, %dr7; movq $0x41414141, %rax; movq %rax, %cr2; movq %cr4, %rax; orq $4, %rax; movq %rax, "
        "%cr4\n"
        "movl $0x10, %eax; movw %ax, %ds; vmmcall");
SVM_TEST(switch_clean_l2_changes, "svm.switch.clean_changed_by_l2",
         "What L2 itself changed is kept over a VMRUN with all bits set", "15.15.2") {
    L2 guest;
    give_values(guest, 1);
    guest.save().cs.selector = nestbed::wire::kernel_code_selector;
    guest.save().gdtr.base = conform::physical(guest.context().gdt);
    start_blob(guest, l2_clean_change, 0x0055'0400);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().ds.selector, 0x10U, "VMCB.DS.selector after L2 loaded it");
    guest.control().clean = clean::all;
    look_and_expect(guest, "second run, all bits set");
    expect_equal(guest.registers.r13, 0x0055'0400U, "DR7 as L2 set it");
    expect_equal(guest.registers.r9, 0x4141'4141U, "CR2 as L2 set it");
    expect_equal(guest.registers.rcx, 0x10U, "DS as L2 set it");
}
// A VMRUN that is refused must not spoil what is clean.
SVM_TEST(switch_clean_after_refused, "svm.switch.clean_after_refused_vmrun",
         "After a VMRUN of the same VMCB that was refused, all bits set still give L2 its state", "15.15.2") {
    L2 guest;
    give_values(guest, 1);
    look_and_expect(guest, "first run");
    guest.control().clean = all_bits & ~clean::asid;
    guest.control().asid = 0;
    start_blob(guest, l2_clean_look);
    expect_equal(vmrun_refused(guest), ExitCode::invalid, "EXITCODE with ASID 0");
    stgi();
    guest.control().asid = 1;
    look_and_expect(guest, "after the refusal, only the ASID's bit clear");
    guest.control().clean = all_bits;
    look_and_expect(guest, "and with all bits set");
}
SVM_TEST(switch_clean_after_other_refused, "svm.switch.clean_after_other_refused",
         "After a VMRUN of another VMCB that was refused, all bits set still give L2 its state", "15.15.2") {
    L2 guest;
    L2 other;
    give_values(guest, 1);
    give_values(other, 2);
    look_and_expect(guest, "first run");
    other.control().asid = 0;
    start_blob(other, l2_clean_look);
    expect_equal(vmrun_refused(other), ExitCode::invalid, "EXITCODE with ASID 0");
    stgi();
    guest.control().clean = all_bits;
    look_and_expect(guest, "after the other's refusal, all bits set");
}
SVM_TEST(switch_clean_after_l1_work, "svm.switch.clean_after_l1_debug",
         "L1's own use of DR6, DR7, CR2 and CR0.TS between two runs does not reach L2", "15.15.2") {
    L2 guest;
    give_values(guest, 1);
    look_and_expect(guest, "first run");
    guest.control().clean = all_bits;
    write_dr6(0xffff'0ff4);
    write_dr7(0x00f0'0400);
    asm volatile("movq %0, %%cr2" : : "r"(0x1234UL));
    look_and_expect(guest, "second run, all bits set");
    write_dr6(0xffff'0ff0);
    write_dr7(0x400);
}

} // namespace nestbed::svm
