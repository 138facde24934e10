// L1's CR0, CR3, CR4 and EFER after #VMEXIT, as registers and in what they do; and what VMRUN does not
// switch.
#include <initializer_list>

#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/guest/probe.hpp"
#include "nested/svm/guest/tests/vmrun_checks.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using guest::catch_fault;

L2_CODE(l2_switch_nothing, 64, "vmmcall");

namespace {

void write_cr0(std::uint64_t value) {
    asm volatile("movq %0, %%cr0" : : "r"(value) : "memory");
}
void write_cr3(std::uint64_t value) {
    asm volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}
void write_cr4(std::uint64_t value) {
    asm volatile("movq %0, %%cr4" : : "r"(value) : "memory");
}

struct Still {
    explicit Still(bool npt) {
        if (npt) {
            NestedPageTables tables;
            tables.use_in(guest);
        }
        guest.save().rip = reinterpret_cast<std::uint64_t>(l2_switch_nothing);
        guest.save().rsp = conform::physical(guest.context().stack) + 8192;
    }
    void run() {
        guest::disable_interrupts();
        clgi();
        probe_vmrun(guest);
        stgi();
        expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    }
    L2 guest;
};

// L1 has `bits` one way, L2 the other; both ways round. Bits are changed in CR0 by MOV.
void cr0_kept(std::uint64_t bits, bool npt) {
    Still still{npt};
    const auto normal = guest::control_register<0>();
    for (const bool set : {true, false}) {
        const auto l1 = set ? normal | bits : normal & ~bits;
        const auto l2 = set ? normal & ~bits : normal | bits;
        still.guest.save().cr0 = l2;
        write_cr0(l1);
        still.run();
        const auto seen = guest::control_register<0>();
        write_cr0(normal);
        expect_equal(seen, l1, "L1's CR0");
        expect_equal(still.guest.save().cr0, l2, "CR0 in the VMCB");
    }
}
void cr4_kept(std::uint64_t bits, bool npt) {
    Still still{npt};
    const auto normal = guest::control_register<4>();
    for (const bool set : {true, false}) {
        const auto l1 = set ? normal | bits : normal & ~bits;
        const auto l2 = set ? normal & ~bits : normal | bits;
        still.guest.save().cr4 = l2;
        write_cr4(l1);
        still.run();
        const auto seen = guest::control_register<4>();
        write_cr4(normal);
        expect_equal(seen, l1, "L1's CR4");
        expect_equal(still.guest.save().cr4, l2, "CR4 in the VMCB");
    }
}
void efer_kept(std::uint64_t bits, bool npt) {
    Still still{npt};
    const auto normal = guest::rdmsr(msr::efer);
    for (const bool set : {true, false}) {
        const auto l1 = set ? normal | bits : normal & ~bits;
        const auto l2 = set ? normal & ~bits : normal | bits;
        still.guest.save().efer = l2;
        guest::wrmsr(msr::efer, l1);
        still.run();
        const auto seen = guest::rdmsr(msr::efer);
        guest::wrmsr(msr::efer, normal);
        expect_equal(seen, l1, "L1's EFER");
        expect_equal(still.guest.save().efer, l2, "EFER in the VMCB");
    }
}

} // namespace

#define KEPT(reg, name, bits)                                                                                \
    SVM_TEST(host_##reg##_##name, "svm.switch.host_" #reg "_" #name,                                         \
             "L1's bit is its own after an exit, L2 having the other value", "15.6") {                       \
        reg##_kept(bits, false);                                                                             \
    }                                                                                                        \
    SVM_TEST(host_##reg##_##name##_npt, "svm.switch.host_" #reg "_" #name "_npt",                            \
             "L1's bit is its own after an exit with nested paging, L2 having the other value", "15.6",      \
             .needs = "npt") {                                                                               \
        reg##_kept(bits, true);                                                                              \
    }
KEPT(cr0, mp, cr0::mp)
KEPT(cr0, em, cr0::em)
KEPT(cr0, ts, cr0::ts)
KEPT(cr0, ne, cr0::ne)
KEPT(cr0, wp, cr0::wp)
KEPT(cr0, am, cr0::am)
KEPT(cr0, cd, cr0::cd)
KEPT(cr4, vme, cr4::vme)
KEPT(cr4, pvi, cr4::pvi)
KEPT(cr4, tsd, cr4::tsd)
KEPT(cr4, de, cr4::de)
KEPT(cr4, pse, cr4::pse)
KEPT(cr4, mce, cr4::mce)
KEPT(cr4, pge, cr4::pge)
KEPT(cr4, pce, cr4::pce)
KEPT(cr4, osfxsr, cr4::osfxsr)
KEPT(efer, sce, msr::efer_bit::sce)
KEPT(efer, nxe, msr::efer_bit::nxe)
#undef KEPT

// What the bits do.

SVM_TEST(host_wp_effect, "svm.switch.host_cr0_wp_effect",
         "CR0.WP is L1's after an exit: a read-only page is so again", "15.6") {
    // One page of its own mapping, read-only.
    auto* const pml4 = guest::pointer_to<std::uint64_t>(guest::control_register<3>() & npt_bit::address);
    std::uint64_t* tables[3];
    for (auto& table : tables)
        table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    pml4[100] = conform::physical(tables[0]) | 7;
    tables[0][0] = conform::physical(tables[1]) | 7;
    tables[1][0] = conform::physical(tables[2]) | 7;
    tables[2][0] = conform::physical(conform::allocate_pages(1)) | 5;
    auto* const page = guest::pointer_to<volatile std::uint64_t>(std::uint64_t{100} << 39);
    Still still{false};
    const auto normal = guest::control_register<0>() | cr0::wp;
    write_cr0(normal);
    still.guest.save().cr0 = normal & ~cr0::wp;
    still.run();
    expect(catch_fault([&] { *page = 1; }).is(14), "with L1's CR0.WP = 1 a write to the page is #PF");
    write_cr0(normal & ~cr0::wp);
    still.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_switch_nothing);
    still.guest.save().cr0 = normal;
    still.run();
    expect(!catch_fault([&] { *page = 1; }).raised, "with L1's CR0.WP = 0 a write to the page is none");
    write_cr0(normal);
}
SVM_TEST(host_ts_effect, "svm.switch.host_cr0_ts_effect", "CR0.TS is L1's after an exit: FNOP is #NM, or not",
         "15.6") {
    Still still{false};
    const auto normal = guest::control_register<0>() & ~(cr0::ts | cr0::em);
    for (const bool set : {true, false}) {
        write_cr0(set ? normal | cr0::ts : normal);
        still.guest.save().cr0 = set ? normal : normal | cr0::ts;
        still.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_switch_nothing);
        still.run();
        const auto fault = catch_fault([] { asm volatile("fnop"); });
        write_cr0(normal);
        expect_equal(fault.is(7), set, "FNOP in L1 is #NM, as L1's CR0.TS says");
    }
}
SVM_TEST(host_tsd_effect, "svm.switch.host_cr4_tsd_effect",
         "CR4.TSD is L1's after an exit: RDTSC in ring 3 is #GP, or not", "15.6") {
    Still still{false};
    const auto normal = guest::control_register<4>() & ~cr4::tsd;
    for (const bool set : {true, false}) {
        write_cr4(set ? normal | cr4::tsd : normal);
        still.guest.save().cr4 = set ? normal : normal | cr4::tsd;
        still.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_switch_nothing);
        still.run();
        const auto fault =
            catch_fault([] { guest::run_in_user_mode([](void*) { guest::rdtsc(); }, nullptr); });
        write_cr4(normal);
        expect_equal(fault.is(13), set, "RDTSC in ring 3 of L1 is #GP, as L1's CR4.TSD says");
    }
}
SVM_TEST(host_sce_effect, "svm.switch.host_efer_sce_effect",
         "EFER.SCE is L1's after an exit: SYSCALL is #UD without", "15.6") {
    Still still{false};
    const auto normal = guest::rdmsr(msr::efer) & ~msr::efer_bit::sce;
    guest::wrmsr(msr::efer, normal);
    still.guest.save().efer = normal | msr::efer_bit::sce;
    still.run();
    expect(catch_fault([] {
               asm volatile("syscall" : : : "rcx", "r11", "memory");
           }).is(6),
           "SYSCALL with L1's EFER.SCE = 0 is #UD");
}
SVM_TEST(host_nxe_effect, "svm.switch.host_efer_nxe_effect",
         "EFER.NXE is L1's after an exit: bit 63 of a PTE is reserved, or not", "15.6") {
    auto* const pml4 = guest::pointer_to<std::uint64_t>(guest::control_register<3>() & npt_bit::address);
    std::uint64_t* tables[3];
    for (auto& table : tables)
        table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    pml4[100] = conform::physical(tables[0]) | 7;
    tables[0][0] = conform::physical(tables[1]) | 7;
    tables[1][0] = conform::physical(tables[2]) | 7;
    for (unsigned i = 0; i < 4; ++i)
        tables[2][i] = conform::physical(conform::allocate_pages(1)) | 7 | npt_bit::no_execute;
    const auto page = [](unsigned i) {
        return guest::pointer_to<volatile std::uint64_t>((std::uint64_t{100} << 39) + i * 4096);
    };
    Still still{false};
    const auto normal = guest::rdmsr(msr::efer) | msr::efer_bit::nxe;
    guest::wrmsr(msr::efer, normal);
    still.guest.save().efer = normal & ~msr::efer_bit::nxe;
    still.run();
    expect(!catch_fault([&] { static_cast<void>(*page(0)); }).raised,
           "with L1's EFER.NXE = 1 the page can be read");
    guest::wrmsr(msr::efer, normal & ~msr::efer_bit::nxe);
    still.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_switch_nothing);
    still.guest.save().efer = normal;
    still.run();
    const auto fault = catch_fault([&] { static_cast<void>(*page(1)); });
    guest::wrmsr(msr::efer, normal);
    expect(fault.is(14), "with L1's EFER.NXE = 0 it cannot");
    expect_equal(fault.error_code & 8, 8U, "RSV in the error code");
}

// CR3: L1 and L2 have the same linear address at different pages.
namespace {
struct TwoSpaces {
    TwoSpaces() {
        l1_root = root(one);
        l2_root = root(two);
        one[0] = 0x1111;
        two[0] = 0x2222;
    }
    // L1's tables with one more page at `address`.
    static std::uint64_t root(std::uint64_t* page) {
        auto* const pml4 = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        conform::copy_page(pml4,
                           guest::pointer_to<std::uint64_t>(guest::control_register<3>() & npt_bit::address));
        std::uint64_t* tables[3];
        for (auto& table : tables)
            table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        pml4[100] = conform::physical(tables[0]) | 7;
        tables[0][0] = conform::physical(tables[1]) | 7;
        tables[1][0] = conform::physical(tables[2]) | 7;
        tables[2][0] = conform::physical(page) | 7;
        return conform::physical(pml4);
    }
    static volatile std::uint64_t& word() {
        return *guest::pointer_to<volatile std::uint64_t>(std::uint64_t{100} << 39);
    }
    std::uint64_t* const one = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    std::uint64_t* const two = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    std::uint64_t l1_root, l2_root;
};
void two_spaces(bool npt, bool reload_in_l2) {
    TwoSpaces spaces;
    const auto normal = guest::control_register<3>();
    L2 guest;
    if (npt) {
        NestedPageTables tables;
        tables.use_in(guest);
    }
    write_cr3(spaces.l1_root);
    guest.save().cr3 = reload_in_l2 ? spaces.l1_root : spaces.l2_root;
    for (unsigned i = 0; i < 20; ++i) {
        std::uint64_t seen = 0;
        auto code = [&] {
            if (reload_in_l2)
                write_cr3(spaces.l2_root);
            seen = TwoSpaces::word();
            TwoSpaces::word() = 0x3000 + i;
        };
        guest.start(code);
        expect_equal(TwoSpaces::word(), 0x1111U, "the word as L1 sees it before");
        if (!guest.run_to_end())
            break;
        expect_equal(guest::control_register<3>(), spaces.l1_root, "L1's CR3");
        expect_equal(TwoSpaces::word(), 0x1111U, "the word as L1 sees it after");
        expect_equal(seen, i == 0 ? 0x2222U : 0x3000U + i - 1, "the word as L2 sees it");
        expect_equal(guest.save().cr3, spaces.l2_root, "CR3 in the VMCB");
    }
    write_cr3(normal);
}
} // namespace
SVM_TEST(host_cr3, "svm.switch.host_cr3", "L1 has its own address space after an exit", "15.6") {
    two_spaces(false, false);
}
SVM_TEST(host_cr3_npt, "svm.switch.host_cr3_npt",
         "L1 has its own address space after an exit with nested paging", "15.25.4", .needs = "npt") {
    two_spaces(true, false);
}
SVM_TEST(host_cr3_moved, "svm.switch.host_cr3_moved_by_l2", "MOV CR3 in L2 does not reach L1", "15.6") {
    two_spaces(false, true);
}
SVM_TEST(host_cr3_moved_npt, "svm.switch.host_cr3_moved_by_l2_npt",
         "MOV CR3 in L2 does not reach L1, with nested paging", "15.25.4", .needs = "npt") {
    two_spaces(true, true);
}
SVM_TEST(host_cr3_bits, "svm.switch.host_cr3_pcd_and_pwt", "PCD and PWT of L1's CR3 are what they were",
         "15.6") {
    Still still{false};
    const auto normal = guest::control_register<3>();
    for (const std::uint64_t bits : {0x8U, 0x10U, 0x18U}) {
        write_cr3(normal | bits);
        still.guest.save().rip = reinterpret_cast<std::uint64_t>(l2_switch_nothing);
        still.run();
        const auto seen = guest::control_register<3>();
        write_cr3(normal);
        expect_equal(seen, normal | bits, "L1's CR3");
    }
}
SVM_TEST(host_cr3_same, "svm.switch.host_cr3_shared",
         "L1 and L2 with one CR3 see each other's changes to the tables", "15.16") {
    TwoSpaces spaces;
    const auto normal = guest::control_register<3>();
    write_cr3(spaces.l1_root);
    auto* const pml4 = guest::pointer_to<std::uint64_t>(spaces.l1_root);
    L2 guest;
    guest.save().cr3 = spaces.l1_root;
    guest.control().tlb_control = 1; // L1 changes them while L2 does not run
    const auto other = guest::pointer_to<std::uint64_t>(spaces.l2_root)[100];
    const auto own = pml4[100];
    std::uint64_t seen = 0;
    auto code = [&] { seen = TwoSpaces::word(); };
    for (int i = 0; i < 5; ++i) {
        guest::store(pml4[100], i % 2 == 0 ? other : own);
        write_cr3(spaces.l1_root);
        guest.start(code);
        guest.run_to_end();
        expect_equal(seen, i % 2 == 0 ? 0x2222U : 0x1111U, "the word as L2 sees it");
        expect_equal(TwoSpaces::word(), i % 2 == 0 ? 0x2222U : 0x1111U, "the word as L1 sees it");
    }
    write_cr3(normal);
}

// What VMLOAD and VMSAVE are for: neither VMRUN nor #VMEXIT touches it (15.5.1, 15.5.2).
namespace {

struct ExtraMsr {
    std::uint32_t index;
    std::uint64_t SaveArea::*field;
    const char* name;
    std::uint64_t l1, l2;
};
constexpr ExtraMsr extra_msrs[] = {
    {msr::star, &SaveArea::star, "STAR", 0x0011'0022'0000'0000, 0x0033'0044'0000'0000},
    {msr::lstar, &SaveArea::lstar, "LSTAR", 0x1111'0000, 0x2222'0000},
    {msr::cstar, &SaveArea::cstar, "CSTAR", 0x3333'0000, 0x4444'0000},
    {msr::sfmask, &SaveArea::sfmask, "SFMASK", 0x5500, 0x6600},
    {msr::kernel_gs_base, &SaveArea::kernel_gs_base, "KERNEL_GS_BASE", 0x7777'0000, 0x8888'0000},
    {msr::sysenter_cs, &SaveArea::sysenter_cs, "SYSENTER_CS", 0x99, 0xaa},
    {msr::sysenter_esp, &SaveArea::sysenter_esp, "SYSENTER_ESP", 0xbbbb'0000, 0xcccc'0000},
    {msr::sysenter_eip, &SaveArea::sysenter_eip, "SYSENTER_EIP", 0xdddd'0000, 0xeeee'0000},
    {msr::fs_base, nullptr, "FS.base", 0x1234'5000, 0x5678'9000},
};

// Without VMLOAD and VMSAVE of L2 its VMCB's value is neither loaded nor written.
void not_switched(const ExtraMsr& one) {
    const auto before = guest::rdmsr(one.index);
    L2 guest;
    guest.save().gs.base = guest::rdmsr(msr::gs_base);
    auto& field = one.field != nullptr ? guest.save().*one.field : guest.save().fs.base;
    field = 0x0bad'0bad'0000;
    std::uint64_t in_l2 = 0;
    auto code = [&] {
        in_l2 = guest::rdmsr(one.index);
        guest::wrmsr(one.index, one.l2);
    };
    guest.start(code);
    guest::wrmsr(one.index, one.l1);
    guest::disable_interrupts();
    clgi();
    const auto probed = probe_vmrun(guest, {.load_guest = false});
    stgi();
    const auto& left = *probed.left;
    const auto in_l1 = one.field != nullptr ? left.save.*one.field : left.save.fs.base;
    guest::wrmsr(one.index, before);
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(in_l2, one.l1, conform::Text{one.name, " in L2, without VMLOAD: L1's"});
    expect_equal(in_l1, one.l2, conform::Text{one.name, " in L1, without VMLOAD: L2's"});
    expect_equal(field, 0x0bad'0bad'0000U, conform::Text{one.name, " in the VMCB, without VMSAVE"});
}
template<unsigned Index>
void not_switched_case() {
    not_switched(extra_msrs[Index]);
}
} // namespace
#define NOT_SWITCHED(name, index)                                                                            \
    SVM_CASE(not_switched_##name, "svm.switch.host_" #name "_not_switched",                                  \
             "VMRUN and #VMEXIT leave this register alone", "15.5.2", &not_switched_case<index>, )
NOT_SWITCHED(star, 0)
NOT_SWITCHED(lstar, 1)
NOT_SWITCHED(cstar, 2)
NOT_SWITCHED(sfmask, 3)
NOT_SWITCHED(kernel_gs_base, 4)
NOT_SWITCHED(sysenter_cs, 5)
NOT_SWITCHED(sysenter_esp, 6)
NOT_SWITCHED(sysenter_eip, 7)
NOT_SWITCHED(fs_base, 8)
#undef NOT_SWITCHED
SVM_TEST(gs_not_switched, "svm.switch.host_gs_base_not_switched", "VMRUN and #VMEXIT leave GS alone",
         "15.5.2") {
    L2 guest;
    const auto l1 = guest::rdmsr(msr::gs_base);
    guest.save().gs.base = 0x0bad'0000;
    std::uint64_t in_l2 = 0;
    auto code = [&] {
        in_l2 = guest::rdmsr(msr::gs_base);
        guest::wrmsr(msr::gs_base, 0x7654'3000);
    };
    guest.start(code);
    guest::disable_interrupts();
    clgi();
    const auto probed = probe_vmrun(guest, {.load_guest = false});
    stgi();
    expect_equal(in_l2, l1, "GS.base in L2, without VMLOAD: L1's");
    expect_equal(probed.left->save.gs.base, 0x7654'3000U, "GS.base in L1, without VMLOAD: L2's");
    expect_equal(guest.save().gs.base, 0x0bad'0000U, "GS.base in the VMCB, without VMSAVE");
}
SVM_TEST(tr_not_switched, "svm.switch.host_tr_and_ldtr_not_switched",
         "VMRUN and #VMEXIT leave TR and LDTR alone", "15.5.2") {
    L2 guest;
    guest.save().tr = {0x1238, 0x8b, 0x77, 0x0bad'1000};
    guest.save().ldtr = {0x4568, 0x82, 0x88, 0x0bad'2000};
    guest.save().fs = {0x7898, 0xc93, 0x99, 0x0bad'3000};
    std::uint16_t tr = 0, ldtr = 0, fs = 0;
    auto code = [&] { asm volatile("str %0; sldt %1; movw %%fs, %2" : "=&r"(tr), "=&r"(ldtr), "=&r"(fs)); };
    guest.start(code);
    const auto before = *this_host().state;
    guest::disable_interrupts();
    clgi();
    const auto probed = probe_vmrun(guest, {.load_guest = false});
    stgi();
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE");
    expect_equal(tr, before.save.tr.selector, "TR in L2, without VMLOAD: L1's");
    expect_equal(ldtr, before.save.ldtr.selector, "LDTR in L2, without VMLOAD: L1's");
    expect_equal(fs, before.save.fs.selector, "FS in L2, without VMLOAD: L1's");
    const auto& after = probed.left->save;
    expect_equal(after.tr.base, before.save.tr.base, "TR.base after the exit");
    expect_equal(after.tr.limit, before.save.tr.limit, "TR.limit after the exit");
    expect_equal(after.ldtr.selector, before.save.ldtr.selector, "LDTR after the exit");
    expect_equal(guest.save().tr.selector, 0x1238U, "TR in the VMCB, without VMSAVE");
    expect_equal(guest.save().ldtr.selector, 0x4568U, "LDTR in the VMCB, without VMSAVE");
    expect_equal(guest.save().fs.selector, 0x7898U, "FS in the VMCB, without VMSAVE");
}
SVM_TEST(loaded_stay, "svm.switch.host_loaded_state_stays",
         "What VMLOAD loaded for L2 is still there after the exit", "15.5.2") {
    Still still{false};
    auto& save = still.guest.save();
    save.fs = {nestbed::wire::kernel_data_selector, 0xc93, 0xffff'ffff, 0x1357'9000};
    save.gs = {nestbed::wire::kernel_data_selector, 0xc93, 0xffff'ffff, 0x2468'a000};
    for (const auto& one : extra_msrs)
        if (one.field != nullptr)
            save.*one.field = one.l2;
    guest::disable_interrupts();
    clgi();
    const auto probed = probe_vmrun(still.guest);
    stgi();
    const auto& after = probed.left->save;
    expect_equal(after.fs.base, 0x1357'9000U, "FS.base");
    expect_equal(after.gs.base, 0x2468'a000U, "GS.base");
    expect_equal(after.tr.base, save.tr.base, "TR.base");
    for (const auto& one : extra_msrs)
        if (one.field != nullptr)
            expect_equal(after.*one.field, one.l2, one.name);
}

} // namespace nestbed::svm
