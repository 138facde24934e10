// The host takes a vCPU's state away and gives it back while L2 runs in any mode: all registers of L2 and L1
// are what they were.
#include "nested/guest/reload.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/events.hpp"
#include "nested/svm/guest/snippet.hpp"
#include "nested/svm/guest/tests/state.hpp"

namespace nestbed::svm {

using conform::expect_equal;
using conform::has_reload;
using conform::Text;

namespace {

constexpr std::uint64_t iopl_3 = 3U << 12;

L2_SNIPPET(reload_64, 64, RELOAD_INSTRUCTION);
L2_SNIPPET(reload_32, 32, RELOAD_INSTRUCTION);
L2_SNIPPET(reload_16, 16, RELOAD_INSTRUCTION);

const Snippet& snippet_of(Mode mode) {
    return bits_of(mode) == 64 ? reload_64 : bits_of(mode) == 32 ? reload_32 : reload_16;
}

// Bits 8:5 of a page directory pointer are reserved in PAE mode (5.2.3); an emulated processor keeps an
// accessed bit there, which svm.switch.guest_pae_pointers_not_written is about.
void clean_pointers(L2& guest) {
    for (unsigned i = 0; i < 4; ++i)
        guest::pointer_to<std::uint64_t>(guest.save().cr3)[i] &= ~std::uint64_t{0x1e0};
}

void expect_segment(const Segment& seen, const Segment& was, const char* name) {
    expect_equal(seen.selector, was.selector, Text{name, " selector"});
    expect_equal(seen.attributes, was.attributes, Text{name, " attributes"});
    expect_equal(seen.limit, was.limit, Text{name, " limit"});
    expect_equal(seen.base, was.base, Text{name, " base"});
}

// Everything that VMRUN and #VMEXIT switch, but RIP.
void expect_save_area(const SaveArea& seen, const SaveArea& was) {
    expect_segment(seen.es, was.es, "ES");
    expect_segment(seen.cs, was.cs, "CS");
    expect_segment(seen.ss, was.ss, "SS");
    expect_segment(seen.ds, was.ds, "DS");
    expect_equal(seen.gdtr.base, was.gdtr.base, "GDTR base");
    expect_equal(seen.gdtr.limit, was.gdtr.limit, "GDTR limit");
    expect_equal(seen.idtr.base, was.idtr.base, "IDTR base");
    expect_equal(seen.idtr.limit, was.idtr.limit, "IDTR limit");
    expect_segment(seen.fs, was.fs, "FS");
    expect_segment(seen.gs, was.gs, "GS");
    expect_segment(seen.tr, was.tr, "TR");
    expect_equal(seen.cpl, was.cpl, "CPL");
    expect_equal(seen.efer, was.efer, "EFER");
    expect_equal(seen.cr0, was.cr0, "CR0");
    expect_equal(seen.cr2, was.cr2, "CR2");
    expect_equal(seen.cr3, was.cr3, "CR3");
    expect_equal(seen.cr4, was.cr4, "CR4");
    expect_equal(seen.dr6, was.dr6, "DR6");
    expect_equal(seen.dr7, was.dr7, "DR7");
    expect_equal(seen.rsp, was.rsp, "RSP");
    expect_equal(seen.rflags, was.rflags, "RFLAGS");
    expect_equal(seen.star, was.star, "STAR");
    expect_equal(seen.lstar, was.lstar, "LSTAR");
    expect_equal(seen.cstar, was.cstar, "CSTAR");
    expect_equal(seen.sfmask, was.sfmask, "SFMASK");
    expect_equal(seen.kernel_gs_base, was.kernel_gs_base, "KernelGsBase");
    expect_equal(seen.sysenter_cs, was.sysenter_cs, "SYSENTER_CS");
    expect_equal(seen.sysenter_esp, was.sysenter_esp, "SYSENTER_ESP");
    expect_equal(seen.sysenter_eip, was.sysenter_eip, "SYSENTER_EIP");
}

// All that L2 and L1 have is the same after it as before, in this mode of L2's.
template<Mode mode, bool nested>
void in_mode() {
    if (!has_reload())
        return;
    L2 guest;
    paging_for(guest, nested);
    const auto& snippet = snippet_of(mode);
    place(guest, snippet, mode);
    guest.registers.rdx = nestbed::wire::reload_port;
    auto& save = guest.save();
    save.rflags |= rflags_fixed | 0x8d5; // the arithmetic flags
    if (is_ring3(mode))
        save.rflags |= iopl_3;
    if (bits_of(mode) == 64)
        save.star = 0x0011'2233'4455'6677;
    save.sysenter_esp = 0x5a5a'1000;
    save.cr2 = 0x1234'5678;
    // An entry and an exit first: what the processor itself writes there is no loss.
    const auto before = state_of(guest);
    if (!run_past(guest, snippet, mode, "the OUT"))
        return;
    const auto first = state_of(guest);
    expect_save_area(first.save, before.save);
    expect_general_registers(guest, before.registers, "the OUT");
    expect_equal(first.save.rax, before.save.rax, "RAX");
    const HostState host;
    // Once more, with what the first round has left.
    guest.save().rip = rip_of(snippet, snippet.at, mode);
    if (mode == Mode::pae32)
        clean_pointers(guest);
    if (!run_past(guest, snippet, mode, "the second OUT"))
        return;
    expect_save_area(guest.save(), first.save);
    expect_general_registers(guest, before.registers, "the second OUT");
    expect_host(host);
}

} // namespace

#define STATE_MODE(name, mode, words)                                                                        \
    static void state_mode_##name() {                                                                        \
        in_mode<mode, false>();                                                                              \
    }                                                                                                        \
    static void state_mode_npt_##name() {                                                                    \
        in_mode<mode, true>();                                                                               \
    }                                                                                                        \
    SVM_CASE(state_in_##name, "svm.state.in_" #name,                                                         \
             "L2 in " words " has all its registers after its vCPU's state was taken and given back",        \
             "15.5", &state_mode_##name)                                                                     \
    SVM_CASE(state_in_##name##_npt, "svm.state.in_" #name "_npt",                                            \
             "L2 in " words ", with nested paging, has all its registers after its vCPU's state was taken "  \
             "and given back",                                                                               \
             "15.5", &state_mode_npt_##name, .needs = "npt")

STATE_MODE(long_mode, Mode::long64, "64-bit mode")
STATE_MODE(ring_3, Mode::long64_ring3, "ring 3")
STATE_MODE(compatibility_mode, Mode::compatibility, "compatibility mode")
STATE_MODE(protected_mode, Mode::protected32, "protected mode")
STATE_MODE(pae, Mode::pae32, "PAE paging")
STATE_MODE(real_mode, Mode::real16, "real mode")

} // namespace nestbed::svm
