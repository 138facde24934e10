// VMLOAD and VMSAVE of L2, and the state that they move as L2 uses it (APM volume 2, 15.5.2, 15.9, 15.33.1).
#include "core/guest/guard.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Hex;
using conform::Text;

L2_CODE(l2_vmload, 64, "movq %rdi, %rax; vmload %rax; vmmcall");
L2_CODE(l2_vmsave, 64, "movq %rdi, %rax; vmsave %rax; vmmcall");
L2_CODE(l2_vmload_vmsave, 64, "movq %rdi, %rax; vmload %rax; movq %rsi, %rax; vmsave %rax; vmmcall");
L2_CODE(l2_vm_exit, 64, "vmmcall");
L2_CODE(l2_vm_rdmsr, 64, "rdmsr; vmmcall");
L2_CODE(l2_vm_wrmsr, 64, "wrmsr; vmmcall");
L2_CODE(l2_vm_selectors, 64,
        "xorl %ebx, %ebx; xorl %ecx, %ecx; movw %fs, %bx; movw %gs, %cx; str %edx; sldt %esi; vmmcall");
L2_CODE(l2_vm_fs_gs, 64, "movq %fs:8, %rbx; movq %gs:16, %rcx; vmmcall");
L2_CODE(l2_vm_swapgs, 64, "swapgs; movq %gs:16, %rcx; vmmcall");
L2_CODE(l2_vm_load_segments, 64, "movw %di, %fs; movw %si, %gs; vmmcall");
L2_CODE(l2_vm_lldt_ltr, 64, "lldt %di; ltr %si; vmmcall");

namespace {

// As loaded by VMLOAD: legal, and like nobody else's.
void fill(SaveArea& save, unsigned which) {
    save.fs = {static_cast<std::uint16_t>(0x48 + 8 * which), 0xc93, 0xffff'ffff, 0x1000'0000U + which};
    save.gs = {static_cast<std::uint16_t>(0x50 + 8 * which), 0xc93, 0xffff'ffff, 0x2000'0000U + which};
    save.kernel_gs_base = 0xffff'8000'0000'0000 + which;
    save.star = 0x001b'0008'0000'0000 + which;
    save.lstar = 0xffff'8000'1000'0000 + which;
    save.cstar = 0xffff'8000'2000'0000 + which;
    save.sfmask = 0x100U + which;
    save.sysenter_cs = 0x200 + which;
    save.sysenter_esp = 0x3000 + which;
    save.sysenter_eip = 0x4000 + which;
    save.ldtr = {static_cast<std::uint16_t>(0x60 + 8 * which), 0x082, 0x77, 0x3000'0000U + which};
    save.tr.base = 0x4000'0000U + which;
    save.tr.selector = static_cast<std::uint16_t>(0x68 + 8 * which);
}
void expect_state(const SaveArea& seen, const SaveArea& expected, const char* who) {
    expect_equal(seen.fs.selector, expected.fs.selector, Text{who, ": FS.selector"});
    expect_equal(seen.fs.base, expected.fs.base, Text{who, ": FS.base"});
    expect_equal(seen.gs.selector, expected.gs.selector, Text{who, ": GS.selector"});
    expect_equal(seen.gs.base, expected.gs.base, Text{who, ": GS.base"});
    expect_equal(seen.ldtr.selector, expected.ldtr.selector, Text{who, ": LDTR.selector"});
    expect_equal(seen.ldtr.base, expected.ldtr.base, Text{who, ": LDTR.base"});
    expect_equal(seen.tr.selector, expected.tr.selector, Text{who, ": TR.selector"});
    expect_equal(seen.tr.base, expected.tr.base, Text{who, ": TR.base"});
    expect_equal(seen.kernel_gs_base, expected.kernel_gs_base, Text{who, ": KERNEL_GS_BASE"});
    expect_equal(seen.star, expected.star, Text{who, ": STAR"});
    expect_equal(seen.lstar, expected.lstar, Text{who, ": LSTAR"});
    expect_equal(seen.cstar, expected.cstar, Text{who, ": CSTAR"});
    expect_equal(seen.sfmask, expected.sfmask, Text{who, ": SFMASK"});
    expect_equal(seen.sysenter_cs, expected.sysenter_cs, Text{who, ": SYSENTER_CS"});
    expect_equal(seen.sysenter_esp, expected.sysenter_esp, Text{who, ": SYSENTER_ESP"});
    expect_equal(seen.sysenter_eip, expected.sysenter_eip, Text{who, ": SYSENTER_EIP"});
}

} // namespace

// Intercepted.
SVM_TEST(l2_vmload_intercepted, "svm.vmload_vmsave.l2_vmload_intercepted",
         "VMLOAD of L2 leaves for L1 with RAX and loads nothing", "15.9") {
    L2 guest;
    guest.intercept(Intercept::vmload);
    auto& page = conform::allocate<Vmcb>();
    page.save = guest.save();
    fill(page.save, 1);
    const auto mine = guest.save();
    start_blob(guest, l2_vmload, conform::physical(&page));
    guest.run_to(ExitCode::vmload, "VMLOAD is intercepted");
    expect_equal(guest.save().rip, address_of(l2_vmload) + 3, "VMCB.RIP");
    expect_equal(guest.save().rax, conform::physical(&page), "VMCB.RAX");
    expect_state(guest.save(), mine, "L2 after the exit");
}
SVM_TEST(l2_vmsave_intercepted, "svm.vmload_vmsave.l2_vmsave_intercepted",
         "VMSAVE of L2 leaves for L1 and stores nothing", "15.9") {
    L2 guest;
    guest.intercept(Intercept::vmsave);
    auto* const page = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    start_blob(guest, l2_vmsave, conform::physical(page));
    guest.run_to(ExitCode::vmsave, "VMSAVE is intercepted");
    expect_equal(guest.save().rip, address_of(l2_vmsave) + 3, "VMCB.RIP");
    std::uint64_t all = 0;
    for (unsigned i = 0; i < 512; ++i)
        all |= page[i];
    expect_equal(all, 0U, "the page, ORed");
}
SVM_TEST(l2_vmload_intercept_first, "svm.vmload_vmsave.l2_vmload_intercept_before_address",
         "The intercept of VMLOAD comes before the check of its address", "15.9") {
    L2 guest;
    guest.intercept(Intercept::vmload);
    guest.intercept_exception(13);
    start_blob(guest, l2_vmload, 0x1001);
    // The order of the check of RAX and the intercept is not given for VMLOAD: appendix C and 15.9 name only
    // the privilege checks as being before. #GP is accepted as well.
    const auto code = guest.run();
    expect(code == ExitCode::vmload || code == exception_exit(13), "EXITCODE: VMLOAD, or #GP of its address");
}

// Not intercepted and not virtualized: RAX is a system-physical address, which is L1's, whatever nested
// paging says of it (APM volume 3, VMLOAD and VMSAVE: "physical address"; volume 2, 15.33.1: only the
// virtualized forms translate it).
namespace {
void l2_vmsave_where(bool nested) {
    L2 guest;
    auto* const page = static_cast<std::uint8_t*>(conform::allocate_pages(2));
    auto* const other = page + 4096;
    for (unsigned i = 0; i < 8192; ++i)
        page[i] = 0x5a;
    NestedPageTables tables;
    if (nested) {
        tables.use_in(guest);
        tables.entry(conform::physical(page), 1) = conform::physical(other) | 7;
    }
    guest.intercept(Intercept::vmsave, false);
    start_blob(guest, l2_vmsave, conform::physical(page));
    if (!guest.run_to(ExitCode::vmmcall, "VMSAVE is not intercepted"))
        return;
    unsigned stored = 0;
    unsigned stray = 0;
    for (unsigned i = 0; i < 4096; ++i) {
        const bool field = (i >= 0x440 && i < 0x460) || (i >= 0x470 && i < 0x480) ||
                           (i >= 0x490 && i < 0x4a0) || (i >= 0x600 && i < 0x640);
        if (field)
            stored += page[i] != 0x5a ? 1 : 0;
        else if (i < 0x2e0 || i >= 0x2e8)
            stray += page[i] != 0x5a ? 1 : 0;
        stray += other[i] != 0x5a ? 1 : 0;
    }
    expect(stored > 64, "VMSAVE stores its fields in L1's page");
    expect_equal(stray, 0U, "bytes changed elsewhere");
}
} // namespace
SVM_TEST(l2_vmsave_where_, "svm.vmload_vmsave.l2_vmsave_where",
         "VMSAVE of L2 that L1 does not intercept writes its fields to the physical page of L1", "15.5.2") {
    l2_vmsave_where(false);
}
SVM_TEST(l2_vmsave_where_npt, "svm.vmload_vmsave.l2_vmsave_where_npt",
         "VMSAVE of L2 that is not virtualized does not translate its address through nested paging",
         "15.33.1", .needs = "npt") {
    l2_vmsave_where(true);
}
SVM_TEST(l2_vmsave_values, "svm.vmload_vmsave.l2_vmsave_values",
         "VMSAVE of L2 that L1 does not intercept stores L2's state", "15.5.2") {
    L2 guest;
    fill(guest.save(), 2);
    const auto expected = guest.save();
    auto& page = conform::allocate<Vmcb>();
    start_blob(guest, l2_vmsave, conform::physical(&page));
    guest.run_to(ExitCode::vmmcall, "VMSAVE is not intercepted");
    expect_state(page.save, expected, "what L2's VMSAVE stored");
    expect_state(guest.save(), expected, "L2's own state after it");
}
SVM_TEST(l2_vmload_values, "svm.vmload_vmsave.l2_vmload_values",
         "VMLOAD of L2 that L1 does not intercept loads L2's state", "15.5.2") {
    L2 guest;
    fill(guest.save(), 2);
    auto& page = conform::allocate<Vmcb>();
    page.save = guest.save();
    fill(page.save, 3);
    start_blob(guest, l2_vmload, conform::physical(&page));
    guest.run_to(ExitCode::vmmcall, "VMLOAD is not intercepted");
    expect_state(guest.save(), page.save, "L2's state after its VMLOAD");
}
SVM_TEST(l2_vmload_vmsave_pair, "svm.vmload_vmsave.l2_round_trip",
         "VMLOAD and VMSAVE of L2 that L1 does not intercept take a state from page to page", "15.5.2") {
    L2 guest;
    auto& from = conform::allocate<Vmcb>();
    auto& to = conform::allocate<Vmcb>();
    from.save = guest.save();
    fill(from.save, 3);
    start_blob(guest, l2_vmload_vmsave, conform::physical(&from));
    guest.registers.rsi = conform::physical(&to);
    guest.run_to(ExitCode::vmmcall, "neither is intercepted");
    expect_state(to.save, from.save, "what L2 stored");
}
SVM_TEST(l2_vmload_not_l1, "svm.vmload_vmsave.l2_vmload_not_in_later_guest",
         "What L2 loaded by VMLOAD does not show in another guest", "15.5.2") {
    L2 first;
    L2 second;
    fill(second.save(), 4);
    const auto expected = second.save();
    auto& page = conform::allocate<Vmcb>();
    page.save = first.save();
    fill(page.save, 3);
    start_blob(first, l2_vmload, conform::physical(&page));
    first.run_to(ExitCode::vmmcall, "VMLOAD is not intercepted");
    start_blob(second, l2_vm_exit);
    second.run_to(ExitCode::vmmcall, "the other guest leaves by VMMCALL");
    expect_state(second.save(), expected, "the other guest's state");
}
SVM_TEST(l2_vmload_unaligned, "svm.vmload_vmsave.l2_vmload_bad_address",
         "VMLOAD of L2, not intercepted, of an unaligned address raises #GP in L2", "15.5.2") {
    L2 guest;
    guest.intercept_exception(13);
    start_blob(guest, l2_vmload, 0x1001);
    guest.run_to(exception_exit(13), "#GP of VMLOAD");
    expect_equal(guest.save().rip, address_of(l2_vmload) + 3, "VMCB.RIP");
}
SVM_TEST(l2_vmsave_unaligned, "svm.vmload_vmsave.l2_vmsave_bad_address",
         "VMSAVE of L2, not intercepted, to an unaligned address raises #GP in L2", "15.5.2") {
    L2 guest;
    guest.intercept_exception(13);
    start_blob(guest, l2_vmsave, 0x1010);
    guest.run_to(exception_exit(13), "#GP of VMSAVE");
    expect_equal(guest.save().rip, address_of(l2_vmsave) + 3, "VMCB.RIP");
}

// Virtualized (15.33.1): with nested paging RAX is a guest-physical address. Where the feature is not
// offered, the bit of the VMCB changes nothing.
SVM_TEST(l2_vmsave_virtual, "svm.vmload_vmsave.l2_vmsave_virtualized",
         "Virtualized VMSAVE of L2 stores to the page that nested paging says", "15.33.1",
         .needs = "npt,v_vmsave_vmload") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    auto* const pages = static_cast<Vmcb*>(conform::allocate_pages(2));
    tables.entry(conform::physical(pages), 1) = conform::physical(pages + 1) | 7;
    fill(guest.save(), 2);
    const auto expected = guest.save();
    guest.control().virt_ext |= 2;
    start_blob(guest, l2_vmsave, conform::physical(pages));
    guest.run_to(ExitCode::vmmcall, "VMSAVE is not intercepted");
    expect_state(pages[1].save, expected, "what L2's VMSAVE stored");
    expect_equal(pages[0].save.star, 0U, "STAR in the page that RAX would be without translation");
}
SVM_TEST(l2_vmload_virtual, "svm.vmload_vmsave.l2_vmload_virtualized",
         "Virtualized VMLOAD of L2 loads from the page that nested paging says", "15.33.1",
         .needs = "npt,v_vmsave_vmload") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    auto* const pages = static_cast<Vmcb*>(conform::allocate_pages(2));
    tables.entry(conform::physical(pages), 1) = conform::physical(pages + 1) | 7;
    pages[0].save = pages[1].save = guest.save();
    fill(pages[0].save, 2);
    fill(pages[1].save, 3);
    guest.control().virt_ext |= 2;
    start_blob(guest, l2_vmload, conform::physical(pages));
    guest.run_to(ExitCode::vmmcall, "VMLOAD is not intercepted");
    expect_state(guest.save(), pages[1].save, "L2's state after its VMLOAD");
}
SVM_TEST(l2_vmsave_bit_without_feature, "svm.vmload_vmsave.l2_virtual_bit_not_offered",
         "The virtual VMSAVE bit without the feature lets L2 store to L1's page and nowhere else", "15.33.1",
         .needs = "npt") {
    if ((svm_features() >> 15 & 1) != 0)
        return conform::not_applicable("virtual VMLOAD and VMSAVE is offered");
    L2 guest;
    const NestedPageTables tables;
    tables.use_in(guest);
    auto& page = conform::allocate<Vmcb>();
    page.save.star = page.save.lstar = 0x5a5a;
    fill(guest.save(), 2);
    guest.control().virt_ext |= 2;
    start_blob(guest, l2_vmsave, conform::physical(&page));
    // A reserved bit that is set may also be refused (15.5.1 leaves it open).
    const auto code = guest.run();
    if (code == ExitCode::invalid) {
        expect_equal(page.save.lstar, 0x5a5aU, "LSTAR in the page, L2 refused");
        return;
    }
    expect_equal(code, ExitCode::vmmcall, "EXITCODE");
    expect(page.save.lstar != 0x5a5a, "VMSAVE stores its fields in L1's page");
}

// The state at work in L2.
SVM_TEST(l2_vm_uses_selectors, "svm.vmload_vmsave.l2_sees_selectors",
         "L2 reads the selectors of FS, GS, TR and LDTR that L1 loaded", "15.5.2") {
    L2 guest;
    fill(guest.save(), 1);
    const auto expected = guest.save();
    start_blob(guest, l2_vm_selectors);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, expected.fs.selector, "FS");
    expect_equal(guest.registers.rcx, expected.gs.selector, "GS");
    expect_equal(guest.registers.rdx & 0xffff, expected.tr.selector, "TR");
    expect_equal(guest.registers.rsi & 0xffff, expected.ldtr.selector, "LDTR");
    expect_state(guest.save(), expected, "L2 after the exit");
}
SVM_TEST(l2_vm_uses_bases, "svm.vmload_vmsave.l2_uses_bases",
         "L2's accesses through FS and GS go to their bases", "15.5.2") {
    L2 guest;
    auto* const page = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    page[1] = 0xf5;
    page[100 + 2] = 0x65;
    guest.save().fs.base = conform::physical(page);
    guest.save().gs.base = conform::physical(page + 100);
    start_blob(guest, l2_vm_fs_gs);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rbx, 0xf5U, "what L2 reads through FS");
    expect_equal(guest.registers.rcx, 0x65U, "what L2 reads through GS");
}
SVM_TEST(l2_vm_swapgs_, "svm.vmload_vmsave.l2_swapgs",
         "SWAPGS of L2 exchanges GS.base and KERNEL_GS_BASE, and both come back", "15.5.2") {
    L2 guest;
    auto* const page = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    page[2] = 0x6e65;
    guest.save().kernel_gs_base = conform::physical(page);
    const auto gs = guest.save().gs.base;
    const auto mine = guest::rdmsr(msr::kernel_gs_base);
    start_blob(guest, l2_vm_swapgs);
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.registers.rcx, 0x6e65U, "what L2 reads through GS");
    expect_equal(guest.save().gs.base, conform::physical(page), "VMCB.GS.base");
    expect_equal(guest.save().kernel_gs_base, gs, "VMCB.KERNEL_GS_BASE");
    expect_equal(guest::rdmsr(msr::kernel_gs_base), mine, "L1's KERNEL_GS_BASE");
}
SVM_TEST(l2_vm_loads_segments, "svm.vmload_vmsave.l2_loads_fs_gs",
         "FS and GS that L2 loads are in the VMCB after VMSAVE with their hidden parts", "15.5.2") {
    L2 guest;
    set_descriptor(guest, 0x38, descriptor(0x1234'5678, 0x4321, 0x493));
    set_descriptor(guest, 0x40, descriptor(0x0765'4321, 0xfffff, 0xcf3));
    start_blob(guest, l2_vm_load_segments, 0x38);
    guest.registers.rsi = 0x43;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().fs.selector, 0x38U, "VMCB.FS.selector");
    expect_equal(guest.save().fs.base, 0x1234'5678U, "VMCB.FS.base");
    expect_equal(guest.save().fs.limit, 0x4321U, "VMCB.FS.limit");
    expect_equal(guest.save().fs.attributes & attributes_mask, 0x493U, "VMCB.FS.attributes without G");
    expect_equal(guest.save().gs.selector, 0x43U, "VMCB.GS.selector");
    expect_equal(guest.save().gs.base, 0x0765'4321U, "VMCB.GS.base");
    expect_equal(guest.save().gs.limit, 0xffff'ffffU, "VMCB.GS.limit");
    expect_equal(guest.save().gs.attributes & attributes_mask, 0x4f3U, "VMCB.GS.attributes without G");
}
SVM_TEST(l2_vm_loads_ldtr_tr, "svm.vmload_vmsave.l2_loads_ldtr_tr",
         "LDTR and TR that L2 loads are in the VMCB after VMSAVE", "15.5.2") {
    L2 guest;
    set_descriptor(guest, 0x38, descriptor(0x2345'6000, 0x77, 0x082));
    set_descriptor(guest, 0x48, descriptor(0x3456'7000, 0x1067, 0x089));
    start_blob(guest, l2_vm_lldt_ltr, 0x38);
    guest.registers.rsi = 0x48;
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    expect_equal(guest.save().ldtr.selector, 0x38U, "VMCB.LDTR.selector");
    expect_equal(guest.save().ldtr.base, 0x2345'6000U, "VMCB.LDTR.base");
    expect_equal(guest.save().ldtr.limit, 0x77U, "VMCB.LDTR.limit");
    expect_equal(guest.save().ldtr.attributes & 0xff, 0x82U, "VMCB.LDTR.attributes");
    expect_equal(guest.save().tr.selector, 0x48U, "VMCB.TR.selector");
    expect_equal(guest.save().tr.base, 0x3456'7000U, "VMCB.TR.base");
    expect_equal(guest.save().tr.limit, 0x1067U, "VMCB.TR.limit");
    // Processors differ in whether the saved type has the busy bit that LTR sets in memory.
    expect_equal(guest.save().tr.attributes & 0xfd, 0x89U, "VMCB.TR.attributes without the busy bit");
}

namespace {
template<std::uint32_t Msr, std::uint64_t Value>
void msr_in_out(std::uint64_t SaveArea::*field) {
    const auto mine = guest::rdmsr(Msr);
    L2 guest;
    guest.save().*field = Value;
    start_blob(guest, l2_vm_rdmsr);
    guest.registers.rcx = Msr;
    if (!guest.run_to(ExitCode::vmmcall, "RDMSR is not intercepted"))
        return;
    expect_equal(guest.registers.rdx << 32 | (guest.save().rax & 0xffff'ffff), Value,
                 "the MSR as L2 reads it");
    expect_equal(guest.save().*field, Value, "the field of the VMCB after the exit");
    constexpr auto other = Value ^ 0x0010;
    start_blob(guest, l2_vm_wrmsr);
    guest.save().rax = other & 0xffff'ffff;
    guest.registers.rcx = Msr;
    guest.registers.rdx = other >> 32;
    if (!guest.run_to(ExitCode::vmmcall, "WRMSR is not intercepted"))
        return;
    expect_equal(guest.save().*field, other, "the field of the VMCB after L2's WRMSR");
    expect_equal(guest::rdmsr(Msr), mine, "the MSR of L1");
}
} // namespace
#define MSR_CASE(name, value)                                                                                \
    SVM_TEST(l2_vm_msr_##name, "svm.vmload_vmsave.l2_msr_" #name,                                            \
             "The MSR goes into L2 by VMLOAD, and what L2 writes comes out by VMSAVE", "15.5.2") {           \
        msr_in_out<msr::name, value>(&SaveArea::name);                                                       \
    }
MSR_CASE(star, 0x002b'0010'8765'4321)
MSR_CASE(lstar, 0xffff'8000'1111'2222)
MSR_CASE(cstar, 0xffff'8000'3333'4444)
MSR_CASE(sfmask, 0x0002'0700)
MSR_CASE(kernel_gs_base, 0xffff'8000'5555'6666)
MSR_CASE(sysenter_cs, 0x0008)
MSR_CASE(sysenter_esp, 0x7777'8888)
MSR_CASE(sysenter_eip, 0x1999'aaaa)
#undef MSR_CASE

} // namespace nestbed::svm
