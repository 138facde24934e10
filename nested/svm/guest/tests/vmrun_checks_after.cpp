// What L1 and the VMCB are after a VMRUN that was refused: an exit like any other (APM volume 2, 15.6),
// though L2 has run nothing. Each matter by itself, for each kind of illegal state: processors and
// hypervisors find them at different moments.
#include "core/guest/runtime.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/tests/vmrun_checks.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect_equal;

namespace {

enum class Kind {
    control, // of the control area: ASID 0
    save,    // of the save area: EFER.SVME 0
    pdpe,    // of memory that the save area points to: a PDPE with a reserved bit
    event,   // EVENTINJ: a reserved type
};

void make_illegal(Kind kind, Candidate& candidate) {
    auto& guest = candidate.guest;
    switch (kind) {
    case Kind::control:
        guest.control().asid = 0;
        break;
    case Kind::save:
        guest.save().efer &= ~msr::efer_bit::svme;
        break;
    case Kind::pdpe:
        set_pae_mode(guest.save(), 0x10'0000, 0x8000);
        *guest::pointer_to<std::uint64_t>(guest.save().cr3) |= 0x1e6;
        break;
    case Kind::event:
        guest.control().event_inj = event_valid | 1U << 8 | 0x20;
        break;
    }
}

// Every case begins with this; the rest is its own.
struct Refusal {
    explicit Refusal(Kind kind) { make_illegal(kind, candidate); }
    Probed probe(ProbeOptions options = {}) {
        guest::disable_interrupts();
        RefusalRetry retry{candidate.guest};
        auto probed = probe_vmrun(candidate.guest, options);
        while (retry.again()) {
            candidate.ran = 0;
            gif ? stgi() : clgi();
            probed = probe_vmrun(candidate.guest, options);
        }
        // The high half is exit_code()'s.
        expect_equal(static_cast<std::uint32_t>(candidate.guest.control().exit_code), 0xffff'ffffU,
                     "EXITCODE 31:0");
        return probed;
    }
    Candidate candidate;
    bool gif = true; // at VMRUN
};

template<Kind K>
void exit_code() {
    Refusal refusal{K};
    refusal.candidate.guest.control().exit_code = 0x1234'5678'0000'0000;
    refusal.probe();
    stgi();
    expect_equal(refusal.candidate.guest.control().exit_code, ExitCode::invalid, "EXITCODE, all 64 bits");
}

// GIF was 1 at VMRUN, and is 0 after any exit (15.6, 15.17).
template<Kind K>
void gif() {
    Refusal refusal{K};
    stgi();
    refusal.probe();
    expect_equal(gif_is_set(), false, "GIF after the refusal of a VMRUN with GIF = 1");
    expect_equal(gif_is_set(), true, "GIF after STGI");
}

template<Kind K>
void gif_was_clear() {
    Refusal refusal{K};
    clgi();
    refusal.gif = false;
    refusal.probe();
    expect_equal(gif_is_set(), false, "GIF after the refusal of a VMRUN with GIF = 0");
    expect_equal(gif_is_set(), true, "GIF after STGI");
}

template<Kind K>
void registers() {
    Refusal refusal{K};
    auto& guest = refusal.candidate.guest;
    guest.save().rax = 0x5555'5555'5555'5555;
    guest.save().rsp = 0x7777'7777'7777'7000;
    guest.registers = {.rbx = 0xb1,
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
    const auto sent = guest.registers;
    const auto probed = refusal.probe();
    stgi();
    expect_equal(probed.rax_after, guest.vmcb_pa(), "L1's RAX");
    expect_equal(probed.rsp_after, probed.rsp_before, "L1's RSP");
    const auto* const before = reinterpret_cast<const std::uint64_t*>(&sent);
    const auto* const after = reinterpret_cast<const std::uint64_t*>(&guest.registers);
    constexpr const char* names[] = {"RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "R8",
                                     "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
    for (unsigned i = 0; i < 14; ++i)
        expect_equal(after[i], before[i], names[i]);
}

constexpr std::uint64_t arithmetic_flags = 0x8d5; // CF, PF, AF, ZF, SF, OF

template<Kind K>
void rflags() {
    Refusal refusal{K};
    refusal.candidate.guest.save().rflags = 2;
    auto probed = refusal.probe({.rflags = 2 | arithmetic_flags | 1U << 10 | 3U << 12});
    expect_equal(probed.rflags_after, 2U | arithmetic_flags | 1U << 10 | 3U << 12,
                 "L1's RFLAGS: CF, PF, AF, ZF, SF, DF, OF and IOPL were set");
    make_illegal(K, refusal.candidate); // an EVENTINJ is gone by now
    refusal.candidate.guest.save().rflags = 2 | arithmetic_flags | 1U << 10 | 3U << 12;
    probed = refusal.probe({.rflags = 2});
    stgi();
    expect_equal(probed.rflags_after, 2U, "L1's RFLAGS: none was set");
}

template<Kind K>
void control_registers() {
    const auto cr0_before = guest::control_register<0>();
    const auto cr3_before = guest::control_register<3>();
    const auto cr4_before = guest::control_register<4>();
    const auto efer_before = guest::rdmsr(msr::efer);
    Refusal refusal{K};
    auto& save = refusal.candidate.guest.save();
    save.cr0 ^= cr0::ts | cr0::wp;
    save.cr4 ^= cr4::pge | cr4::de;
    save.efer ^= msr::efer_bit::sce;
    const auto probed = refusal.probe();
    stgi();
    expect_equal(guest::control_register<0>(), cr0_before, "L1's CR0");
    expect_equal(guest::control_register<3>(), cr3_before, "L1's CR3");
    expect_equal(guest::control_register<4>(), cr4_before, "L1's CR4");
    expect_equal(guest::rdmsr(msr::efer), efer_before, "L1's EFER");
    expect_equal(probed.cs, nestbed::wire::kernel_code_selector, "L1's CS");
    expect_equal(probed.ss, nestbed::wire::kernel_data_selector, "L1's SS");
}

// "Disables all breakpoints in the host DR7 register" is of every #VMEXIT (15.6).
template<Kind K>
void dr7() {
    Refusal refusal{K};
    write_dr7(0x400 | 0xff);
    refusal.probe();
    const auto seen = read_dr7();
    write_dr7(0x400);
    stgi();
    expect_equal(seen & 0xff, 0U, "L1's DR7, bits L0 to G3");
}

// The guest state of a VMRUN that ran nothing is what was written. Exempt is what a processor may make of it
// when it has been loaded: attributes of segments, accessed bits and reserved bits of DR6, DR7 and RFLAGS.
template<Kind K>
void guest_state() {
    Refusal refusal{K};
    auto& save = refusal.candidate.guest.save();
    save.rax = 0x0123'4567'89ab'cdef;
    save.rflags = 0x8d7;
    save.cr2 = 0xfeed'f00d'0000'1000;
    auto& written = conform::allocate<Vmcb>();
    conform::copy_page(&written, &refusal.candidate.guest.vmcb());
    refusal.probe({.load_guest = true});
    stgi();
    const auto& before = written.save;
    expect_equal(save.rax, before.rax, "RAX in the VMCB");
    expect_equal(save.rip, before.rip, "RIP in the VMCB");
    expect_equal(save.rsp, before.rsp, "RSP in the VMCB");
    expect_equal(save.rflags, before.rflags, "RFLAGS in the VMCB");
    expect_equal(save.cr0, before.cr0, "CR0 in the VMCB");
    expect_equal(save.cr2, before.cr2, "CR2 in the VMCB");
    expect_equal(save.cr4, before.cr4, "CR4 in the VMCB");
    expect_equal(save.efer, before.efer, "EFER in the VMCB");
    expect_equal(save.dr7, before.dr7, "DR7 in the VMCB");
    expect_equal(save.cpl, before.cpl, "CPL in the VMCB");
    expect_equal(save.cs.selector, before.cs.selector, "CS in the VMCB");
    expect_equal(save.ss.selector, before.ss.selector, "SS in the VMCB");
    expect_equal(save.gdtr.base, before.gdtr.base, "GDTR.base in the VMCB");
    expect_equal(save.idtr.base, before.idtr.base, "IDTR.base in the VMCB");
    expect_equal(refusal.candidate.ran, 0U, "what L2 ran");
}

template<Kind K>
void guest_cr3() {
    Refusal refusal{K};
    refusal.candidate.guest.save().cr3 |= 0x18; // not L1's
    const auto before = refusal.candidate.guest.save().cr3;
    refusal.probe();
    stgi();
    expect_equal(refusal.candidate.guest.save().cr3, before, "CR3 in the VMCB");
}

// What VMRUN only reads is never written (15.5.1 "Control Bits").
template<Kind K>
void control_area() {
    Refusal refusal{K};
    auto& control = refusal.candidate.guest.control();
    control.tsc_offset = 0x1234'5678'9abc;
    control.intercept_cr = 0x10001;
    control.intercept_dr = 0x20002;
    control.intercept_exceptions = 0x4000;
    auto& written = conform::allocate<Vmcb>();
    conform::copy_page(&written, &refusal.candidate.guest.vmcb());
    refusal.probe();
    stgi();
    const auto& before = written.control;
    expect_equal(control.intercept_cr, before.intercept_cr, "CR intercepts");
    expect_equal(control.intercept_dr, before.intercept_dr, "DR intercepts");
    expect_equal(control.intercept_exceptions, before.intercept_exceptions, "exception intercepts");
    expect_equal(control.intercept_misc1, before.intercept_misc1, "intercepts at 00Ch");
    expect_equal(control.intercept_misc2, before.intercept_misc2, "intercepts at 010h");
    expect_equal(control.intercept_misc3, before.intercept_misc3, "intercepts at 014h");
    expect_equal(control.iopm_base_pa, before.iopm_base_pa, "IOPM_BASE_PA");
    expect_equal(control.msrpm_base_pa, before.msrpm_base_pa, "MSRPM_BASE_PA");
    expect_equal(control.tsc_offset, before.tsc_offset, "TSC_OFFSET");
    expect_equal(control.asid, before.asid, "ASID");
    expect_equal(control.tlb_control, before.tlb_control, "TLB_CONTROL");
    expect_equal(control.nested_ctl, before.nested_ctl, "NP_ENABLE");
    expect_equal(control.n_cr3, before.n_cr3, "N_CR3");
    expect_equal(control.virt_ext, before.virt_ext, "offset 0B8h");
    expect_equal(control.clean, before.clean, "VMCB clean bits");
}

// "Clear EVENTINJ field in VMCB" is of every #VMEXIT (APM volume 3, VMRUN): the event is neither delivered
// nor does it wait for the next VMRUN.
template<Kind K>
void event_cleared() {
    Refusal refusal{K};
    auto& control = refusal.candidate.guest.control();
    if (K != Kind::event)
        control.event_inj = event(EventType::exception, 13, 0x1234);
    refusal.probe();
    stgi();
    expect_equal(control.event_inj & event_valid, 0U, "EVENTINJ.V");
    expect_equal(refusal.candidate.guest.context().delivered, 0U, "events that L2 saw");
    const auto left = control.event_inj;
    refusal.candidate.put_right();
    control.event_inj = left;
    refusal.candidate.expect_runs("the guest put right runs");
    expect_equal(refusal.candidate.guest.context().delivered, 0U, "events that L2 saw afterwards");
}

// An event to be injected is lost with the refusal, but nothing of it reaches L1.
template<Kind K>
void event_not_in_l1() {
    Refusal refusal{K};
    if (K != Kind::event)
        refusal.candidate.guest.control().event_inj = event(EventType::interrupt, 0x51);
    guest::set_interrupt_handler(0x51, &guest::count_spurious_interrupt);
    const auto before = guest::this_vcpu().spurious_interrupts;
    refusal.probe();
    stgi();
    guest::enable_interrupts();
    for (int i = 0; i < 100; ++i)
        guest::pause();
    expect_equal(guest::this_vcpu().spurious_interrupts - before, 0U, "interrupts that L1 got");
}

// Refused many times in a row, then put right.
template<Kind K>
void again_and_again() {
    Refusal refusal{K};
    auto& bad = conform::allocate<Vmcb>();
    conform::copy_page(&bad, &refusal.candidate.guest.vmcb());
    for (int i = 0; i < 50; ++i) {
        conform::copy_page(&refusal.candidate.guest.vmcb(), &bad);
        refusal.candidate.expect_refused("the illegal state", 0xffff'ffff);
        refusal.candidate.put_right();
        refusal.candidate.expect_runs("the same VMCB put right runs");
    }
}

// Another guest is none the worse for it.
template<Kind K>
void other_guest() {
    Refusal refusal{K};
    Candidate other;
    other.guest.control().asid = 2;
    other.keep();
    other.expect_runs("another guest runs before");
    refusal.probe();
    stgi();
    other.expect_runs("another guest runs after");
}

} // namespace

#define AFTER(function, name, title, section)                                                                \
    SVM_CASE(function##_control, "svm.vmrun_checks." name "_after_asid_0", title ", after ASID 0", section,  \
             &function<Kind::control>, )                                                                     \
    SVM_CASE(function##_save, "svm.vmrun_checks." name "_after_svme_clear", title ", after EFER.SVME 0",     \
             section, &function<Kind::save>, )                                                               \
    SVM_CASE(function##_pdpe, "svm.vmrun_checks." name "_after_bad_pdpe", title ", after a bad PDPE",        \
             section, &function<Kind::pdpe>, )                                                               \
    SVM_CASE(function##_event, "svm.vmrun_checks." name "_after_bad_event",                                  \
             title ", after EVENTINJ of a reserved type", section, &function<Kind::event>, )

AFTER(exit_code, "exit_code", "VMEXIT_INVALID is -1 in all 64 bits", "15.6")
AFTER(gif, "gif", "A refused VMRUN leaves GIF 0 where it was 1", "15.6")
AFTER(gif_was_clear, "gif_was_clear", "A refused VMRUN leaves GIF 0 where it was 0", "15.6")
AFTER(registers, "registers", "L1 has its RAX and RSP and all other registers", "15.6")
AFTER(rflags, "rflags", "L1 has its RFLAGS", "15.6")
AFTER(control_registers, "control_registers", "L1 has its control registers and segments", "15.6")
AFTER(dr7, "dr7", "L1's breakpoints are disabled", "15.6")
AFTER(guest_state, "guest_state", "The save area is as it was", "15.6")
AFTER(guest_cr3, "guest_cr3", "CR3 in the save area is as it was", "15.6")
AFTER(control_area, "control_area", "The control area is as it was", "15.6")
AFTER(event_cleared, "event_cleared", "EVENTINJ is cleared and delivers nothing", "15.6")
AFTER(event_not_in_l1, "event_not_in_l1", "An event for L2 does not reach L1", "15.20")
AFTER(again_and_again, "again", "Refused and put right 50 times", "15.5.1")
AFTER(other_guest, "other_guest", "Another guest still runs", "15.5.1")

} // namespace nestbed::svm
