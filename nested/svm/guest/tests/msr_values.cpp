// What L2 reads and writes where neither map stands in its way, or where only the hypervisor below looks:
// its own state, and L1's where VMRUN switches nothing.
#include "core/guest/apic.hpp"
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/guest/snippet.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::physical;

namespace {

std::uint64_t read_in_l2(L2& guest, std::uint32_t index) {
    std::uint64_t value = 0;
    auto code = [&] { value = guest::rdmsr(index); };
    guest.start(code);
    guest.run_to_end("RDMSR in L2");
    return value;
}
void write_in_l2(L2& guest, std::uint32_t index, std::uint64_t value) {
    auto code = [&] { guest::wrmsr(index, value); };
    guest.start(code);
    guest.run_to_end("WRMSR in L2");
}

// An MSR that VMLOAD and VMSAVE or VMRUN keep in the VMCB.
template<std::uint32_t index, std::uint64_t SaveArea::*field, std::uint64_t value, std::uint64_t l1_value>
void in_save_area() {
    L2 guest;
    const auto was = guest::rdmsr(index);
    if (l1_value != 0) {
        guest::wrmsr(index, l1_value);
        vmsave(physical(this_host().state)); // what L1 gets back after each exit
    }
    guest.save().*field = value;
    guest.intercept(Intercept::msr_prot);
    expect_equal(read_in_l2(guest, index), value, "the MSR as L2 reads it: the VMCB's");
    write_in_l2(guest, index, value ^ 0x5000);
    expect_equal(guest.save().*field, value ^ 0x5000, "the VMCB after L2's write");
    expect_equal(read_in_l2(guest, index), value ^ 0x5000, "the MSR as L2 reads it back");
    expect_equal(guest::rdmsr(index), l1_value != 0 ? l1_value : was, "the MSR as L1 has it");
}

// One that L2 shares with L1.
template<std::uint32_t index>
void read_as_l1() {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    const auto here = guest::rdmsr(index);
    expect_equal(read_in_l2(guest, index), here, "the MSR as L2 reads it: as L1 has it");
    expect_equal(guest::rdmsr(index), here, "the MSR as L1 has it afterwards");
}

} // namespace

// NOLINTBEGIN
#define IN_SAVE_AREA(id, index, field, value, l1_value)                                                      \
    SVM_CASE(msr_value_##id, "svm.msr.value_" #id, #id ": L2 reads and writes the VMCB's, L1 keeps its own", \
             "15.5.1", (&in_save_area<index, &SaveArea::field, value, l1_value>))
#define READ_AS_L1(id, index)                                                                                \
    SVM_CASE(msr_shared_##id, "svm.msr.shared_" #id, #id ": L2 reads what L1 reads", "15.5.1",               \
             (&read_as_l1<index>))
// NOLINTEND
IN_SAVE_AREA(star, msr::star, star, 0x0033'0022'0000'0000, 0x0013'0008'1111'1000);
IN_SAVE_AREA(lstar, msr::lstar, lstar, 0xffff'8000'1234'5000, 0xffff'8000'0001'0000);
IN_SAVE_AREA(cstar, msr::cstar, cstar, 0xffff'8000'2345'6000, 0xffff'8000'0002'0000);
IN_SAVE_AREA(sfmask, msr::sfmask, sfmask, 0x4'7700, 0x200);
IN_SAVE_AREA(kernel_gs_base, msr::kernel_gs_base, kernel_gs_base, 0xffff'9000'0000'1000, 0x7777'0000);
IN_SAVE_AREA(sysenter_cs, msr::sysenter_cs, sysenter_cs, 0x8, 0x18);
IN_SAVE_AREA(sysenter_esp, msr::sysenter_esp, sysenter_esp, 0xffff'a000'0000'2000, 0x1'2345);
IN_SAVE_AREA(sysenter_eip, msr::sysenter_eip, sysenter_eip, 0xffff'b000'0000'3000, 0x2'3456);

SVM_TEST(msr_value_fs_base, "svm.msr.value_fs_base",
         "FS base: L2 reads and writes the VMCB's, L1 keeps its own", "15.5.1") {
    L2 guest;
    guest::wrmsr(msr::fs_base, 0x1111'0000);
    vmsave(physical(this_host().state));
    guest.save().fs.base = 0xffff'c000'0000'0000;
    guest.intercept(Intercept::msr_prot);
    expect_equal(read_in_l2(guest, msr::fs_base), 0xffff'c000'0000'0000U, "FS base as L2 reads it");
    write_in_l2(guest, msr::fs_base, 0xffff'c000'0000'1000);
    expect_equal(guest.save().fs.base, 0xffff'c000'0000'1000U, "the VMCB after L2's write");
    expect_equal(guest::rdmsr(msr::fs_base), 0x1111'0000U, "FS base of L1");
}
SVM_TEST(msr_value_gs_base, "svm.msr.value_gs_base", "GS base: L2 reads the VMCB's", "15.5.1") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    const auto here = guest::rdmsr(msr::gs_base);
    expect_equal(read_in_l2(guest, msr::gs_base), physical(&guest.context()), "GS base as L2 reads it");
    expect_equal(guest::rdmsr(msr::gs_base), here, "GS base of L1");
}

SVM_TEST(msr_value_efer, "svm.msr.value_efer", "EFER: L2 reads and writes its own, L1's stays", "15.5.1") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    const auto here = guest::rdmsr(msr::efer);
    const auto value = guest.save().efer ^ msr::efer_bit::sce;
    guest.save().efer = value;
    expect_equal(read_in_l2(guest, msr::efer), value, "EFER as L2 reads it");
    write_in_l2(guest, msr::efer, value ^ msr::efer_bit::sce);
    expect_equal(guest.save().efer, value ^ msr::efer_bit::sce, "EFER in the VMCB after L2's write");
    expect_equal(guest::rdmsr(msr::efer), here, "EFER of L1");
}
SVM_TEST(msr_efer_reserved, "svm.msr.efer_reserved_gp", "a reserved bit of EFER is a #GP in L2", "15.5.1") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    guest::Fault fault;
    auto code = [&] {
        fault = guest::catch_fault(
            [] { guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) | 1U << 16 | std::uint64_t{1} << 50); });
    };
    guest.start(code);
    const auto efer = guest.save().efer;
    guest.run_to_end();
    expect(fault.is(13), "WRMSR raises #GP");
    expect_equal(guest.save().efer, efer, "EFER in the VMCB");
}
SVM_TEST(msr_efer_lme, "svm.msr.efer_lme_gp", "L2 cannot change EFER.LME while paging is on", "15.5.1") {
    L2 guest;
    guest::Fault fault;
    auto code = [&] {
        fault = guest::catch_fault(
            [] { guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) & ~msr::efer_bit::lme); });
    };
    guest.start(code);
    guest.run_to_end();
    expect(fault.is(13), "WRMSR raises #GP");
}

// Not switched by VMRUN.
SVM_TEST(msr_tsc_aux, "svm.msr.shared_tsc_aux", "TSC_AUX is one for L1 and L2", "15.5.1") {
    if ((guest::cpuid(0x8000'0001, 0).edx >> 27 & 1) == 0)
        return conform::not_applicable("the vCPU has no RDTSCP (CPUID Fn8000_0001 EDX bit 27)");
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    guest::wrmsr(msr::tsc_aux, 0x1234);
    expect_equal(read_in_l2(guest, msr::tsc_aux), 0x1234U, "TSC_AUX as L2 reads it");
    write_in_l2(guest, msr::tsc_aux, 0x5678);
    expect_equal(guest::rdmsr(msr::tsc_aux), 0x5678U, "TSC_AUX of L1 after L2's write");
}
READ_AS_L1(apic_base, 0x1b);
READ_AS_L1(x2apic_id, 0x802);
READ_AS_L1(x2apic_version, 0x803);
READ_AS_L1(x2apic_svr, 0x80f);
READ_AS_L1(mtrr_cap, 0xfe);
READ_AS_L1(mtrr_default, 0x2ff);
READ_AS_L1(mcg_cap, 0x179);
READ_AS_L1(mcg_status, 0x17a);
READ_AS_L1(vm_cr, msr::vm_cr);
READ_AS_L1(vm_hsave_pa, msr::vm_hsave_pa);
READ_AS_L1(hwcr, 0xc001'0015);

SVM_TEST(msr_x2apic_write, "svm.msr.shared_x2apic_tpr",
         "the TPR of L1's APIC is what L2 writes as an x2APIC MSR", "15.5.1") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    write_in_l2(guest, 0x808, 0x30);
    const auto seen = guest::rdmsr(0x808);
    guest::wrmsr(0x808, 0);
    expect_equal(seen, 0x30U, "TPR of L1's APIC");
}
SVM_TEST(msr_tsc, "svm.msr.value_tsc_offset", "RDMSR of TSC adds the VMCB's offset, as RDTSC does",
         "15.30.5") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    constexpr std::uint64_t offset = std::uint64_t{1} << 44;
    guest.control().tsc_offset = offset;
    std::uint64_t by_msr = 0;
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    auto code = [&] {
        before = guest::rdtsc();
        by_msr = guest::rdmsr(msr::tsc);
        after = guest::rdtsc();
    };
    guest.start(code);
    const auto l1_before = guest::rdtsc();
    guest.run_to_end();
    const auto l1_after = guest::rdtsc();
    expect(before >= l1_before + offset && after <= l1_after + offset, "RDTSC in L2 is L1's plus the offset");
    expect(before <= by_msr && by_msr <= after, "RDMSR of TSC in L2 lies between two RDTSCs");
}
SVM_TEST(msr_pat_npt, "svm.msr.value_pat_npt", "with nested paging PAT in L2 is G_PAT, and L1's stays",
         "15.25.4", .needs = "npt") {
    L2 guest;
    NestedPageTables{}.use_in(guest);
    guest.intercept(Intercept::msr_prot);
    const auto here = guest::rdmsr(msr::pat);
    guest.save().g_pat = 0x0606'0606'0606'0606;
    expect_equal(read_in_l2(guest, msr::pat), 0x0606'0606'0606'0606U, "PAT as L2 reads it");
    write_in_l2(guest, msr::pat, 0x0007'0406'0007'0406);
    expect_equal(guest.save().g_pat, 0x0007'0406'0007'0406U, "G_PAT after L2's write");
    expect_equal(guest::rdmsr(msr::pat), here, "PAT of L1");
}
SVM_TEST(msr_pat, "svm.msr.shared_pat", "without nested paging PAT in L2 is L1's", "15.25.4") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    const auto here = guest::rdmsr(msr::pat);
    guest.save().g_pat = 0x0606'0606'0606'0606;
    expect_equal(read_in_l2(guest, msr::pat), here, "PAT as L2 reads it");
}
SVM_TEST(msr_pat_gp, "svm.msr.pat_reserved_gp", "a reserved type in PAT is a #GP in L2", "7.8.1") {
    L2 guest;
    guest::Fault fault;
    auto code = [&] { fault = guest::catch_fault([] { guest::wrmsr(msr::pat, 0x0202); }); };
    guest.start(code);
    guest.run_to_end();
    expect(fault.is(13), "WRMSR raises #GP");
}
SVM_TEST(msr_lstar_canonical, "svm.msr.lstar_not_canonical_gp",
         "an address in LSTAR that is not canonical is a #GP in L2", "volume 3, WRMSR") {
    L2 guest;
    guest.save().lstar = 0x1000;
    guest::Fault fault;
    auto code = [&] { fault = guest::catch_fault([] { guest::wrmsr(msr::lstar, std::uint64_t{1} << 63); }); };
    guest.start(code);
    guest.run_to_end();
    expect(fault.is(13), "WRMSR raises #GP");
    expect_equal(guest.save().lstar, 0x1000U, "LSTAR in the VMCB");
}
// Which one L1 lets through is L1's business alone: some of them the hypervisor below never looks at.
SVM_TEST(msr_read_not_write, "svm.msr.read_open_write_closed", "of LSTAR reads stay and writes leave",
         "15.11") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    guest.msrpm()[0x800 + 0x82 * 2 / 8] = 1U << (0x82 * 2 % 8 + 1);
    guest.save().lstar = 0x4321'0000;
    expect_equal(read_in_l2(guest, msr::lstar), 0x4321'0000U, "LSTAR as L2 reads it");
    auto code = [] { guest::wrmsr(msr::lstar, 0x8888); };
    guest.start(code);
    guest.run_to(ExitCode::msr, "WRMSR of LSTAR");
    expect_equal(guest.control().exit_info_1, 1U, "EXITINFO1: a write");
    expect_equal(guest.save().lstar, 0x4321'0000U, "LSTAR, which is not written");
}

} // namespace nestbed::svm
