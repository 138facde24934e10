// Interrupt shadow, the control area's fields after an exit, and what VMRUN and the exit leave alone (APM
// volume 2, 15.5, 15.6, 15.21.5 and appendix B).
#include "core/guest/guard.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

L2_CODE(l2_exit_now, 64, "vmmcall");
L2_CODE(l2_exit_nop, 64, "nop; vmmcall");
L2_CODE(l2_exit_sti, 64, "sti; vmmcall");
L2_CODE(l2_exit_sti_nop, 64, "sti; nop; vmmcall");
L2_CODE(l2_exit_sti_cpuid, 64, "sti; cpuid; vmmcall");
L2_CODE(l2_exit_sti_rdmsr, 64, "movl $0x1b, %ecx; sti; rdmsr; vmmcall");
L2_CODE(l2_exit_ss, 64, "movw %ss, %ax; movw %ax, %ss; vmmcall");
L2_CODE(l2_exit_ss_nop, 64, "movw %ss, %ax; movw %ax, %ss; nop; vmmcall");
L2_CODE(l2_exit_cpuid, 64, "cpuid; vmmcall");
L2_CODE(l2_exit_rdmsr, 64, "rdmsr; vmmcall");

namespace {

// Bit 0 of offset 68h; bit 1 has a meaning of its own.
void shadow_out(const char* code, bool expected) {
    L2 guest;
    start_blob(guest, code);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.control().interrupt_shadow & 1, expected ? 1U : 0U, "INTERRUPT_SHADOW after the exit");
}
void shadow_in(const char* code, bool expected) {
    L2 guest;
    start_blob(guest, code);
    guest.save().rflags |= 1U << 9;
    guest.control().interrupt_shadow = 1;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.control().interrupt_shadow & 1, expected ? 1U : 0U, "INTERRUPT_SHADOW after the exit");
}

} // namespace

#define SHADOW_CASE(name, direction, code, expected)                                                         \
    SVM_TEST(switch_guest_shadow_##direction##_##name, "svm.switch.guest_shadow_" #direction "_" #name,      \
             "INTERRUPT_SHADOW after the exit says whether L2 stood right behind STI or MOV SS",             \
             "15.21.5") {                                                                                    \
        shadow_##direction(code, expected);                                                                  \
    }
SHADOW_CASE(none, out, l2_exit_nop, false)
SHADOW_CASE(sti, out, l2_exit_sti, true)
SHADOW_CASE(sti_nop, out, l2_exit_sti_nop, false)
SHADOW_CASE(sti_cpuid, out, l2_exit_sti_cpuid, false)
SHADOW_CASE(sti_rdmsr, out, l2_exit_sti_rdmsr, false)
SHADOW_CASE(mov_ss, out, l2_exit_ss, true)
SHADOW_CASE(mov_ss_nop, out, l2_exit_ss_nop, false)
SHADOW_CASE(kept, in, l2_exit_now, true)
SHADOW_CASE(ended_by_nop, in, l2_exit_nop, false)
SHADOW_CASE(ended_by_cpuid, in, l2_exit_cpuid, false)
SHADOW_CASE(ended_by_rdmsr, in, l2_exit_sti_rdmsr, false)
#undef SHADOW_CASE

SVM_TEST(switch_guest_shadow_next, "svm.switch.guest_shadow_not_kept_for_l1",
         "L2 that leaves in an interrupt shadow leaves none to L1", "15.6") {
    L2 guest;
    start_blob(guest, l2_exit_sti);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    L2 other;
    start_blob(other, l2_exit_now);
    other.run_to(ExitCode::vmmcall, "another L2 leaves by VMMCALL");
    expect_equal(other.control().interrupt_shadow & 1, 0U, "INTERRUPT_SHADOW of the other guest");
}
SVM_TEST(switch_guest_shadow_l1, "svm.switch.guest_shadow_of_l1_not_l2",
         "VMRUN right behind STI gives L2 no interrupt shadow of L1's", "15.5.1") {
    L2 guest;
    start_blob(guest, l2_exit_now);
    // GIF is 1 here: a VMRUN with host interrupts on, as 15.5 allows; nothing is pending.
    asm volatile("cli; sti; vmrun %%rax; cli"
                 :
                 : "a"(guest.vmcb_pa())
                 : "memory", "cc", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                   "r14", "r15");
    stgi();
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(guest.control().interrupt_shadow & 1, 0U, "INTERRUPT_SHADOW after the exit");
}

// Fields of the exit.

SVM_TEST(switch_guest_event_inj_cleared, "svm.switch.guest_exit_event_inj_cleared",
         "EVENTINJ that was delivered is not valid any more after the exit", "15.20") {
    L2 guest;
    auto code = [&] {};
    warm_up(guest);
    guest.start(code);
    guest.save().rflags |= 1U << 9;
    guest.control().event_inj = event(EventType::interrupt, 0x55);
    guest.run_to_end();
    expect_equal(guest.context().interrupts[0x55], 1U, "times that L2 took the interrupt");
    expect_equal(guest.control().event_inj & event_valid, 0U, "V of EVENTINJ after the exit");
}
SVM_TEST(switch_guest_exit_int_info_stale, "svm.switch.guest_exit_int_info_stale",
         "EXITINTINFO of an exit without an event under way is not valid, whatever was there", "15.7.2") {
    L2 guest;
    start_blob(guest, l2_exit_now);
    guest.control().exit_int_info = event(EventType::exception, 14, 7);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.control().exit_int_info & event_valid, 0U, "V of EXITINTINFO");
}
SVM_TEST(switch_guest_exit_code_stale, "svm.switch.guest_exit_code_stale",
         "EXITCODE is written with all 64 bits", "15.6") {
    L2 guest;
    start_blob(guest, l2_exit_now);
    guest.control().exit_code = ~std::uint64_t{0};
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
}
SVM_TEST(switch_guest_exit_info_msr_after_npf, "svm.switch.guest_exit_info_written",
         "EXITINFO1 of an MSR exit is written though an exit before left something else", "15.11") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    guest.intercept_exception(14);
    for (unsigned i = 0; i < msrpm_bytes; ++i)
        guest.msrpm()[i] = 0xff;
    auto touch = [] { *guest::pointer_to<volatile std::uint64_t>(0x7fff'0000'0000) = 1; };
    guest.start(touch);
    guest.run_to(exception_exit(14), "#PF of L2");
    expect_equal(guest.control().exit_info_1, 2U, "EXITINFO1: error code");
    start_blob(guest, l2_exit_rdmsr);
    guest.registers.rcx = msr::star;
    guest.run_to(ExitCode::msr, "RDMSR");
    expect_equal(guest.control().exit_info_1, 0U, "EXITINFO1: a read");
}

// Fields of the control area that an exit does not write.
namespace {
struct Kept {
    const char* name;
    std::uint64_t (*read)(const ControlArea&);
};
#define KEPT(field)                                                                                          \
    {                                                                                                        \
#field, [](const ControlArea& c) { return static_cast<std::uint64_t>(c.field); }                     \
    }
constexpr Kept kept[] = {
    KEPT(intercept_cr),
    KEPT(intercept_dr),
    KEPT(intercept_exceptions),
    KEPT(intercept_misc1),
    KEPT(intercept_misc2),
    KEPT(intercept_misc3),
    KEPT(iopm_base_pa),
    KEPT(msrpm_base_pa),
    KEPT(tsc_offset),
    KEPT(asid),
    KEPT(tlb_control),
    KEPT(nested_ctl),
    KEPT(n_cr3),
    KEPT(virt_ext),
    KEPT(avic_apic_bar),
    KEPT(ghcb_pa),
    KEPT(vmsa_pa),
    KEPT(avic_backing_page),
    KEPT(clean),
    KEPT(int_vector),
};
#undef KEPT
void expect_control_kept(const ControlArea& before, const ControlArea& after) {
    for (const auto& field : kept)
        expect_equal(field.read(after), field.read(before), Text{"control field ", field.name});
}
void control_kept(L2& guest) {
    auto& area = guest.control();
    guest.intercept(Intercept::cpuid);
    guest.intercept(Intercept::hlt);
    guest.intercept(Intercept::wbinvd);
    area.intercept_cr = 0x8010'8010; // CR4, CR15
    area.intercept_dr = 0x0080'0040;
    area.intercept_exceptions = 1U << 17 | 1U << 6;
    area.tsc_offset = 0x1234'5678'9abc;
    area.asid = 5;
    area.tlb_control = tlb_control::flush_all;
    area.int_vector = 0x77;
    auto& before = conform::allocate<Vmcb>();
    conform::copy_page(&before, &guest.vmcb());
    start_blob(guest, l2_exit_now);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_control_kept(before.control, area);
}
} // namespace
SVM_TEST(switch_guest_control_kept, "svm.switch.guest_control_kept",
         "An exit leaves the control fields that L1 wrote as they are", "15.6") {
    L2 guest;
    control_kept(guest);
}
SVM_TEST(switch_guest_control_kept_npt, "svm.switch.guest_control_kept_npt",
         "An exit leaves the control fields that L1 wrote as they are under nested paging", "15.6",
         .needs = "npt") {
    L2 guest;
    const NestedPageTables tables;
    tables.use_in(guest);
    control_kept(guest);
}
SVM_TEST(switch_guest_reserved_kept, "svm.switch.guest_reserved_kept",
         "Reserved bytes of the VMCB stay zero over an exit", "15.6") {
    L2 guest;
    start_blob(guest, l2_exit_now);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(&guest.vmcb());
    // Only those without a meaning in any revision so far, and none of the bytes kept for software
    // (3E0h-3FFh).
    const struct {
        unsigned first, end;
    } ranges[] = {{0x018, 0x03c}, {0x05d, 0x060}, {0x180, 0x3e0},
                  {0x4a0, 0x4c8}, {0x4cc, 0x4d0}, {0x700, 0x1000}};
    for (const auto& range : ranges) {
        std::uint32_t set = 0;
        for (unsigned i = range.first; i < range.end; ++i)
            set |= bytes[i];
        expect_equal(set, 0U, Text{"bytes from ", conform::Hex{range.first}, " on, ORed"});
    }
}

// The page before the VMCB's and the one behind it are nobody's.
SVM_TEST(switch_guest_neighbours, "svm.switch.guest_neighbour_pages",
         "VMRUN and the exit write to no page next to the VMCB's", "15.6") {
    L2 guest;
    auto* const pages = static_cast<std::uint64_t*>(conform::allocate_pages(3));
    guest.move_vmcb(*reinterpret_cast<Vmcb*>(pages + 512));
    for (std::uint64_t i = 0; i < 512; ++i)
        pages[i] = pages[1024 + i] = 0x5a5a'0000'0000'0000U + i;
    start_blob(guest, l2_exit_now);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    unsigned changed = 0;
    for (std::uint64_t i = 0; i < 512; ++i)
        changed += (pages[i] != 0x5a5a'0000'0000'0000U + i) + (pages[1024 + i] != 0x5a5a'0000'0000'0000U + i);
    expect_equal(changed, 0U, "words changed in the neighbour pages");
}

// What VMRUN and the exit do not switch (15.5.2): FS, GS, TR, LDTR and the system call MSRs of the VMCB are
// neither read nor written, and L2 runs with L1's.
SVM_TEST(switch_guest_vmload_state_kept, "svm.switch.guest_vmload_fields_kept",
         "VMRUN and the exit leave the VMCB's fields of VMLOAD and VMSAVE alone", "15.5.2") {
    L2 guest;
    auto& save = guest.save();
    start_blob(guest, l2_exit_now);
    const Segment pattern{0x48, 0x493, 0x1357, 0x2468'0000};
    save.fs = save.gs = pattern;
    save.ldtr = {0x60, 0x082, 0x77, 0x1111'0000};
    save.tr = {0x68, 0x08b, 0x67, 0x2222'0000};
    std::uint64_t* const words[] = {&save.kernel_gs_base, &save.star,        &save.lstar,
                                    &save.cstar,          &save.sfmask,      &save.sysenter_cs,
                                    &save.sysenter_esp,   &save.sysenter_eip};
    for (unsigned i = 0; i < 8; ++i)
        *words[i] = 0x7000'0000 + 0x1000 * i;
    auto& before = conform::allocate<Vmcb>();
    conform::copy_page(&before, &guest.vmcb());
    vmrun_bare(guest);
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    for (unsigned i = 0; i < 8; ++i)
        expect_equal(*words[i], 0x7000'0000U + 0x1000 * i,
                     Text{"MSR field ", i, " of KERNEL_GS_BASE, STAR, ..."});
    const auto same = [](const Segment& a, const Segment& b) {
        return a.selector == b.selector && a.attributes == b.attributes && a.limit == b.limit &&
               a.base == b.base;
    };
    expect(same(save.fs, before.save.fs), "VMCB.FS is as L1 wrote it");
    expect(same(save.gs, before.save.gs), "VMCB.GS is as L1 wrote it");
    expect(same(save.ldtr, before.save.ldtr), "VMCB.LDTR is as L1 wrote it");
    expect(same(save.tr, before.save.tr), "VMCB.TR is as L1 wrote it");
}

namespace {
template<std::uint32_t Msr>
void msr_not_switched() {
    constexpr std::uint64_t value = Msr == msr::sysenter_cs ? 0x7300
                                    : Msr == msr::sfmask    ? 0x5'7300
                                                            : 0x0012'3456'7000;
    const auto mine = guest::rdmsr(Msr);
    guest::wrmsr(Msr, value);
    L2 guest;
    start_blob(guest, l2_exit_rdmsr);
    auto& save = guest.save();
    save.star = save.lstar = save.cstar = save.sfmask = save.kernel_gs_base = 0x1110'0000;
    save.sysenter_cs = save.sysenter_esp = save.sysenter_eip = 0x1110'0000;
    guest.registers.rcx = Msr;
    vmrun_bare(guest);
    const auto after = guest::rdmsr(Msr);
    guest::wrmsr(Msr, mine);
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(guest.registers.rdx << 32 | (guest.save().rax & 0xffff'ffff), value,
                 "the MSR as L2 reads it");
    expect_equal(after, value, "the MSR in L1 after the exit");
}
} // namespace
#define NOT_SWITCHED(name)                                                                                   \
    SVM_CASE(switch_guest_not_switched_##name, "svm.switch.guest_not_switched_" #name,                       \
             "VMRUN without VMLOAD: L2 reads L1's value of this MSR", "15.5.2",                              \
             &msr_not_switched<msr::name>)
NOT_SWITCHED(star)
NOT_SWITCHED(lstar)
NOT_SWITCHED(cstar)
NOT_SWITCHED(sfmask)
NOT_SWITCHED(kernel_gs_base)
NOT_SWITCHED(sysenter_cs)
NOT_SWITCHED(sysenter_esp)
NOT_SWITCHED(sysenter_eip)
#undef NOT_SWITCHED

// G_PAT: with nested paging L2 has a PAT of its own (15.25.4); without, L1's.

namespace {
constexpr std::uint64_t other_pat = 0x0007'0106'0007'0406;
}
SVM_TEST(switch_guest_pat_in, "svm.switch.guest_pat_in", "Under nested paging L2 reads VMCB.G_PAT as its PAT",
         "15.25.4", .needs = "npt") {
    const auto mine = guest::rdmsr(msr::pat);
    L2 guest;
    const NestedPageTables tables;
    tables.use_in(guest);
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::pat); };
    guest.start(code);
    guest.save().g_pat = other_pat;
    guest.run_to_end();
    expect_equal(seen, other_pat, "PAT as L2 reads it");
    expect_equal(guest.save().g_pat, other_pat, "VMCB.G_PAT after the exit");
    expect_equal(guest::rdmsr(msr::pat), mine, "L1's PAT after the exit");
}
SVM_TEST(switch_guest_pat_out, "svm.switch.guest_pat_out",
         "Under nested paging PAT that L2 writes is in VMCB.G_PAT after the exit", "15.25.4",
         .needs = "npt") {
    L2 guest;
    const NestedPageTables tables;
    tables.use_in(guest);
    std::uint64_t seen = 0;
    auto code = [&] {
        guest::wrmsr(msr::pat, other_pat);
        seen = guest::rdmsr(msr::pat);
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, other_pat, "PAT as L2 reads it back");
    expect_equal(guest.save().g_pat, other_pat, "VMCB.G_PAT after the exit");
}
SVM_TEST(switch_guest_pat_not_l1, "svm.switch.guest_pat_not_in_l1",
         "Under nested paging PAT that L2 writes is not L1's", "15.25.4", .needs = "npt") {
    const auto mine = guest::rdmsr(msr::pat);
    L2 guest;
    const NestedPageTables tables;
    tables.use_in(guest);
    auto code = [&] { guest::wrmsr(msr::pat, other_pat); };
    guest.start(code);
    guest.run_to_end();
    expect_equal(guest::rdmsr(msr::pat), mine, "L1's PAT after the exit");
}
SVM_TEST(switch_guest_pat_no_npt, "svm.switch.guest_pat_without_npt",
         "Without nested paging L2 has L1's PAT, and VMCB.G_PAT counts for nothing", "15.25.4") {
    const auto mine = guest::rdmsr(msr::pat);
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::pat); };
    guest.start(code);
    guest.save().g_pat = other_pat;
    guest.run_to_end();
    expect_equal(seen, mine, "PAT as L2 reads it");
    expect_equal(guest::rdmsr(msr::pat), mine, "L1's PAT after the exit");
}
SVM_TEST(switch_guest_pat_no_npt_write, "svm.switch.guest_pat_without_npt_written",
         "Without nested paging PAT that L2 writes is L1's PAT", "15.25.4") {
    const auto mine = guest::rdmsr(msr::pat);
    L2 guest;
    auto code = [&] { guest::wrmsr(msr::pat, other_pat); };
    guest.start(code);
    guest.run_to_end();
    const auto after = guest::rdmsr(msr::pat);
    guest::wrmsr(msr::pat, mine);
    expect_equal(after, other_pat, "L1's PAT after the exit");
}

} // namespace nestbed::svm
