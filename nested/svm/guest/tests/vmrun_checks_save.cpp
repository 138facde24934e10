// VMRUN's checks of the state save area: CR0, CR3, CR4, DR6, DR7, EFER.
#include "core/guest/runtime.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/tests/vmrun_checks.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect_equal;
namespace efer_bit = msr::efer_bit;

namespace {
bool has_cpuid(std::uint32_t leaf, std::uint32_t guest::CpuidRegisters::*which, unsigned bit) {
    if (guest::cpuid(leaf & 0x8000'0000, 0).eax < leaf)
        return false;
    return (guest::cpuid(leaf, 0).*which >> bit & 1) != 0;
}
} // namespace

// EFER.

REFUSED(efer_svme_clear, "efer_svme_clear", "EFER.SVME = 0 is refused", "15.5.1",
        save.efer &= ~efer_bit::svme)
REFUSED(efer_zero, "efer_zero", "EFER = 0 is refused", "15.5.1", save.efer = 0)
REFUSED(efer_svme_clear_protected, "efer_svme_clear_protected_mode",
        "EFER.SVME = 0 is refused for a guest outside long mode", "15.5.1",
        (set_protected_mode(save, 0x10'0000, 0x1000), save.efer = 0))
REFUSED(efer_lme_without_pae, "efer_lme_pg_without_pae", "EFER.LME = CR0.PG = 1 with CR4.PAE = 0 is refused",
        "15.5.1", save.cr4 &= ~cr4::pae)
REFUSED(efer_lme_without_pae_lma_clear, "efer_lme_pg_without_pae_lma_clear",
        "EFER.LME = CR0.PG = 1 with CR4.PAE = 0 is refused whatever EFER.LMA", "15.5.1",
        (save.cr4 &= ~cr4::pae, save.efer &= ~efer_bit::lma))
REFUSED(efer_lme_without_pe, "efer_lme_pg_without_pe", "EFER.LME = CR0.PG = 1 with CR0.PE = 0 is refused",
        "15.5.1", save.cr0 &= ~cr0::pe)
REFUSED(efer_lme_without_pe_lma_clear, "efer_lme_pg_without_pe_lma_clear",
        "EFER.LME = CR0.PG = 1 with CR0.PE = 0 is refused whatever EFER.LMA", "15.5.1",
        (save.cr0 &= ~cr0::pe, save.efer &= ~efer_bit::lma))
REFUSED(efer_long_cs_l_and_d, "efer_lme_pg_pae_cs_l_and_d",
        "CS.L = CS.D = 1 is refused where EFER.LME, CR0.PG and CR4.PAE are set", "15.5.1",
        save.cs.attributes |= 0x400)
REFUSED(efer_long_cs_l_and_d_lma_clear, "efer_lme_pg_pae_cs_l_and_d_lma_clear",
        "CS.L = CS.D = 1 is refused in long mode whatever EFER.LMA", "15.5.1",
        (save.cs.attributes |= 0x400, save.efer &= ~efer_bit::lma))

// MBZ of EFER (APM volume 2, 3.1.7): 9, 16, 19 and from 22 up. 7:1 are RAZ.
REFUSED(efer_bit_9, "efer_bit_9", "EFER bit 9 is refused", "15.5.1", save.efer |= 1U << 9)
REFUSED(efer_bit_16, "efer_bit_16", "EFER bit 16 is refused", "15.5.1", save.efer |= 1U << 16)
REFUSED(efer_bit_19, "efer_bit_19", "EFER bit 19 is refused", "15.5.1", save.efer |= 1U << 19)
REFUSED_BITS(efer_bits_22_31, "efer_bits_22_to_31", "EFER bits 22 to 31 are refused one by one", "15.5.1",
             save.efer, 22, 31)
REFUSED_BITS(efer_bits_32_63, "efer_bits_32_to_63", "EFER bits 32 to 63 are refused one by one", "15.5.1",
             save.efer, 32, 63)
SVM_TEST(efer_lmsle, "svm.vmrun_checks.efer_lmsle_unsupported",
         "EFER.LMSLE is refused where the vCPU has none", "15.5.1") {
    if (!has_cpuid(0x8000'0008, &guest::CpuidRegisters::ebx, 20))
        return conform::not_applicable("the vCPU has LMSLE (CPUID Fn8000_0008 EBX bit 20 is 0)");
    refused("EFER.LMSLE", [](ControlArea&, SaveArea& save) { save.efer |= efer_bit::lmsle; });
}
SVM_TEST(efer_ffxsr, "svm.vmrun_checks.efer_ffxsr_unsupported",
         "EFER.FFXSR is refused where the vCPU has none", "15.5.1") {
    if (has_cpuid(0x8000'0001, &guest::CpuidRegisters::edx, 25))
        return conform::not_applicable("the vCPU has FFXSR (CPUID Fn8000_0001 EDX bit 25)");
    refused("EFER.FFXSR", [](ControlArea&, SaveArea& save) { save.efer |= efer_bit::ffxsr; });
}
SVM_TEST(efer_tce, "svm.vmrun_checks.efer_tce_unsupported", "EFER.TCE is refused where the vCPU has none",
         "15.5.1") {
    if (has_cpuid(0x8000'0001, &guest::CpuidRegisters::ecx, 17))
        return conform::not_applicable("the vCPU has TCE (CPUID Fn8000_0001 ECX bit 17)");
    refused("EFER.TCE", [](ControlArea&, SaveArea& save) { save.efer |= 1U << 15; });
}
SVM_TEST(efer_autoibrs, "svm.vmrun_checks.efer_autoibrs_unsupported",
         "EFER.AIBRSE is refused where the vCPU has none", "15.5.1") {
    if (has_cpuid(0x8000'0021, &guest::CpuidRegisters::eax, 8))
        return conform::not_applicable("the vCPU has automatic IBRS (CPUID Fn8000_0021 EAX bit 8)");
    refused("EFER.AIBRSE", [](ControlArea&, SaveArea& save) { save.efer |= 1U << 21; });
}

ACCEPTED(efer_sce_set, "efer_sce_set", "EFER.SCE = 1 is accepted", "15.5.1", save.efer |= efer_bit::sce)
ACCEPTED(efer_sce_clear, "efer_sce_clear", "EFER.SCE = 0 is accepted", "15.5.1", save.efer &= ~efer_bit::sce)
ACCEPTED(efer_nxe_clear, "efer_nxe_clear", "EFER.NXE = 0 is accepted", "15.5.1", save.efer &= ~efer_bit::nxe)
ACCEPTED(efer_nxe_set, "efer_nxe_set", "EFER.NXE = 1 is accepted", "15.5.1", save.efer |= efer_bit::nxe)

// CR0.

REFUSED(cr0_nw_without_cd, "cr0_nw_without_cd", "CR0.CD = 0 with CR0.NW = 1 is refused", "15.5.1",
        (save.cr0 &= ~cr0::cd, save.cr0 |= cr0::nw))
REFUSED(cr0_nw_without_cd_protected, "cr0_nw_without_cd_protected_mode",
        "CR0.CD = 0 with CR0.NW = 1 is refused with paging off", "15.5.1",
        (set_protected_mode(save, 0x10'0000, 0x1000), save.cr0 |= cr0::nw))
REFUSED(cr0_nw_without_cd_real, "cr0_nw_without_cd_real_mode",
        "CR0.CD = 0 with CR0.NW = 1 is refused in real mode", "15.5.1",
        (set_real_mode(save, 0x10'0000, 0x1000), save.cr0 |= cr0::nw))
ACCEPTED(cr0_cd_and_nw, "cr0_cd_and_nw", "CR0.CD = CR0.NW = 1 is accepted", "15.5.1",
         save.cr0 |= cr0::cd | cr0::nw)
ACCEPTED(cr0_cd_alone, "cr0_cd_without_nw", "CR0.CD = 1 with CR0.NW = 0 is accepted", "15.5.1",
         (save.cr0 |= cr0::cd, save.cr0 &= ~cr0::nw))
ACCEPTED(cr0_neither, "cr0_neither_cd_nor_nw", "CR0.CD = CR0.NW = 0 is accepted", "15.5.1",
         save.cr0 &= ~(cr0::cd | cr0::nw))
REFUSED(cr0_bit_32, "cr0_bit_32", "CR0 bit 32 is refused", "15.5.1", save.cr0 |= std::uint64_t{1} << 32)
REFUSED(cr0_bit_63, "cr0_bit_63", "CR0 bit 63 is refused", "15.5.1", save.cr0 |= std::uint64_t{1} << 63)
REFUSED_BITS(cr0_high_bits, "cr0_bits_33_to_62", "CR0 bits 33 to 62 are refused one by one", "15.5.1",
             save.cr0, 33, 62)
REFUSED(cr0_high_all, "cr0_high_half", "CR0[63:32] all ones is refused", "15.5.1",
        save.cr0 |= 0xffff'ffff'0000'0000)
ACCEPTED(cr0_ts, "cr0_ts_set", "CR0.TS = 1 is accepted", "15.5.1", save.cr0 |= cr0::ts)
ACCEPTED(cr0_em_mp, "cr0_em_and_mp_set", "CR0.EM = CR0.MP = 1 is accepted", "15.5.1",
         save.cr0 |= cr0::em | cr0::mp)
ACCEPTED(cr0_wp_clear, "cr0_wp_clear", "CR0.WP = 0 is accepted", "15.5.1", save.cr0 &= ~cr0::wp)
ACCEPTED(cr0_am, "cr0_am_set", "CR0.AM = 1 is accepted", "15.5.1", save.cr0 |= cr0::am)
ACCEPTED(cr0_ne_clear, "cr0_ne_clear", "CR0.NE = 0 is accepted", "15.5.1", save.cr0 &= ~cr0::ne)

// CR3 in long mode: 63:52 are MBZ, and so is what the physical address has no bit for (APM volume 2, 5.3.2).

REFUSED(cr3_bit_52, "cr3_bit_52", "CR3 bit 52 is refused", "15.5.1", save.cr3 |= std::uint64_t{1} << 52)
REFUSED(cr3_bit_62, "cr3_bit_62", "CR3 bit 62 is refused", "15.5.1", save.cr3 |= std::uint64_t{1} << 62)
REFUSED(cr3_bit_63, "cr3_bit_63", "CR3 bit 63 is refused", "15.5.1", save.cr3 |= std::uint64_t{1} << 63)
REFUSED_BITS(cr3_high_bits, "cr3_bits_53_to_61", "CR3 bits 53 to 61 are refused one by one", "15.5.1",
             save.cr3, 53, 61)
SVM_TEST(cr3_beyond, "svm.vmrun_checks.cr3_beyond_physical_address",
         "CR3 bits above the physical address size are refused one by one", "15.5.1") {
    if (physical_address_bits() >= 52)
        return conform::not_applicable("the vCPU has 52 physical address bits");
    refused_bits("CR3", physical_address_bits(), 51,
                 [](ControlArea&, SaveArea& save, std::uint64_t bit) { save.cr3 |= bit; });
}
SVM_TEST(cr3_beyond_npt, "svm.vmrun_checks.cr3_mbz_with_nested_paging",
         "CR3 bits 52 to 63 are refused with nested paging too", "15.5.1", .needs = "npt") {
    Candidate candidate;
    NestedPageTables tables;
    tables.use_in(candidate.guest);
    candidate.keep();
    for (unsigned bit = 52; bit < 64; ++bit) {
        candidate.guest.save().cr3 |= std::uint64_t{1} << bit;
        candidate.expect_refused(conform::Text{"CR3 bit ", bit});
        candidate.put_right();
    }
    candidate.expect_runs("the same VMCB put right runs");
}
SVM_TEST(cr3_beyond_npt_maxphy, "svm.vmrun_checks.cr3_beyond_physical_address_with_nested_paging",
         "CR3 bits above the physical address size are refused with nested paging too", "15.5.1",
         .needs = "npt") {
    if (physical_address_bits() >= 52)
        return conform::not_applicable("the vCPU has 52 physical address bits");
    Candidate candidate;
    NestedPageTables tables;
    tables.use_in(candidate.guest);
    candidate.keep();
    for (unsigned bit = physical_address_bits(); bit < 52; ++bit) {
        candidate.guest.save().cr3 |= std::uint64_t{1} << bit;
        candidate.expect_refused(conform::Text{"CR3 bit ", bit});
        candidate.put_right();
    }
    candidate.expect_runs("the same VMCB put right runs");
}
ACCEPTED(cr3_pcd_pwt, "cr3_pcd_and_pwt", "CR3.PCD = CR3.PWT = 1 is accepted", "15.5.1", save.cr3 |= 0x18)
// Reserved, but not MBZ, in long mode without PCIDs (figure 5-16).
ACCEPTED(cr3_low_bits, "cr3_low_reserved_bits", "CR3 bits 2:0 and 11:5 set are accepted in long mode",
         "15.5.1", save.cr3 |= 0xfe7)

// The four PDPEs of a guest in PAE mode are read by VMRUN; reserved bits there cause a #VMEXIT.

L2_CODE(l2_checks_32, 32, "movl $0x33221100, %eax; vmmcall");
L2_CODE(l2_checks_16, 16, "movl $0x16151413, %eax; vmmcall");

namespace {

std::uint64_t blob_stack() {
    return conform::physical(conform::allocate_pages(2)) + 4096;
}
std::uint64_t address_of(const char* code) {
    return reinterpret_cast<std::uint64_t>(code);
}
void runs_blob(L2& guest, std::uint64_t rax, const char* what) {
    guest.run_to(ExitCode::vmmcall, what);
    expect_equal(guest.save().rax, rax, what);
}

void pdpe_refused(unsigned index, std::uint64_t bits) {
    L2 guest;
    set_pae_mode(guest.save(), address_of(l2_checks_32), blob_stack());
    auto& good = conform::allocate<Vmcb>();
    conform::copy_page(&good, &guest.vmcb());
    auto* const pdpes = guest::pointer_to<std::uint64_t>(guest.save().cr3);
    pdpes[index] |= bits;
    vmrun_refused(guest);
    stgi();
    expect_equal(guest.control().exit_code, ExitCode::invalid,
                 conform::Text{"EXITCODE with PDPE ", index, " = ", conform::Hex{pdpes[index]}});
    pdpes[index] &= ~bits;
    conform::copy_page(&guest.vmcb(), &good);
    runs_blob(guest, 0x3322'1100, "the same guest with its PDPEs put right runs");
}
template<unsigned Index, std::uint64_t Bits>
void pdpe_refused_case() {
    pdpe_refused(Index, Bits);
}

} // namespace

#define PDPE_REFUSED(identifier, name, title, index, bits)                                                   \
    SVM_CASE(identifier, "svm.vmrun_checks." name, title, "15.5.1", (&pdpe_refused_case<index, bits>), )
PDPE_REFUSED(pdpe_0_bit_1, "pae_pdpe_0_bit_1", "Bit 1 of a present PDPE 0 is refused without nested paging",
             0, 2)
PDPE_REFUSED(pdpe_0_bit_2, "pae_pdpe_0_bit_2", "Bit 2 of a present PDPE 0 is refused without nested paging",
             0, 4)
PDPE_REFUSED(pdpe_0_bit_8, "pae_pdpe_0_bit_8", "Bit 8 of a present PDPE 0 is refused without nested paging",
             0, 0x100)
PDPE_REFUSED(pdpe_1_bit_5, "pae_pdpe_1_bit_5", "Bit 5 of a present PDPE 1 is refused without nested paging",
             1, 0x20)
PDPE_REFUSED(pdpe_2_bit_7, "pae_pdpe_2_bit_7", "Bit 7 of a present PDPE 2 is refused without nested paging",
             2, 0x80)
PDPE_REFUSED(pdpe_3_bit_6, "pae_pdpe_3_bit_6", "Bit 6 of a present PDPE 3 is refused without nested paging",
             3, 0x40)
PDPE_REFUSED(pdpe_3_bit_63, "pae_pdpe_3_bit_63",
             "Bit 63 of a present PDPE 3 is refused without nested paging", 3, std::uint64_t{1} << 63)
PDPE_REFUSED(pdpe_0_bit_52, "pae_pdpe_0_bit_52",
             "Bit 52 of a present PDPE 0 is refused without nested paging", 0, std::uint64_t{1} << 52)

SVM_TEST(pdpe_absent, "svm.vmrun_checks.pae_pdpe_not_present",
         "What a PDPE that is not present holds besides is accepted", "15.5.1") {
    L2 guest;
    set_pae_mode(guest.save(), address_of(l2_checks_32), blob_stack());
    guest::pointer_to<std::uint64_t>(guest.save().cr3)[3] = 0xfff0'0000'0000'01e6;
    runs_blob(guest, 0x3322'1100, "L2 runs beside a PDPE that is not present");
}
SVM_TEST(pdpe_attributes, "svm.vmrun_checks.pae_pdpe_pwt_pcd_avl",
         "PWT, PCD and AVL bits of PDPEs are accepted", "15.5.1") {
    L2 guest;
    set_pae_mode(guest.save(), address_of(l2_checks_32), blob_stack());
    auto* const pdpes = guest::pointer_to<std::uint64_t>(guest.save().cr3);
    for (unsigned i = 0; i < 4; ++i)
        pdpes[i] |= 0xe18;
    runs_blob(guest, 0x3322'1100, "L2 runs with PWT, PCD and AVL set in its PDPEs");
}
SVM_TEST(pdpe_npt, "svm.vmrun_checks.pae_pdpe_with_nested_paging",
         "With nested paging VMRUN does not look at PDPEs", "15.25.10", .needs = "npt") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    set_pae_mode(guest.save(), address_of(l2_checks_32), blob_stack());
    // Of gigabyte 3, where L2 has nothing.
    guest::pointer_to<std::uint64_t>(guest.save().cr3)[3] |= 0x1e6;
    runs_blob(guest, 0x3322'1100, "L2 runs beside a PDPE that it does not use");
}

// CR4.

REFUSED(cr4_bit_13, "cr4_bit_13", "CR4 bit 13 is refused", "15.5.1", save.cr4 |= 1U << 13)
REFUSED(cr4_bit_14, "cr4_bit_14", "CR4 bit 14 is refused", "15.5.1", save.cr4 |= 1U << 14)
REFUSED(cr4_bit_15, "cr4_bit_15", "CR4 bit 15 is refused", "15.5.1", save.cr4 |= 1U << 15)
REFUSED(cr4_bit_19, "cr4_bit_19", "CR4 bit 19 is refused", "15.5.1", save.cr4 |= 1U << 19)
REFUSED_BITS(cr4_bits_24_31, "cr4_bits_24_to_31", "CR4 bits 24 to 31 are refused one by one", "15.5.1",
             save.cr4, 24, 31)
// 32 is FRED's on processors that have it.
REFUSED_BITS(cr4_bits_33_63, "cr4_bits_33_to_63", "CR4 bits 33 to 63 are refused one by one", "15.5.1",
             save.cr4, 33, 63)
REFUSED(cr4_bit_13_real, "cr4_bit_13_real_mode", "CR4 bit 13 is refused in real mode", "15.5.1",
        (set_real_mode(save, 0x10'0000, 0x1000), save.cr4 |= 1U << 13))
REFUSED(cr4_bit_63_protected, "cr4_bit_63_protected_mode", "CR4 bit 63 is refused with paging off", "15.5.1",
        (set_protected_mode(save, 0x10'0000, 0x1000), save.cr4 |= std::uint64_t{1} << 63))

// A bit whose feature the vCPU does not have is reserved.
#define CR4_UNSUPPORTED(identifier, name, bit, leaf, which, number)                                          \
    SVM_TEST(identifier, "svm.vmrun_checks.cr4_" name "_unsupported",                                        \
             "CR4." name " is refused where the vCPU has no such feature", "15.5.1") {                       \
        if (has_cpuid(leaf, &guest::CpuidRegisters::which, number))                                          \
            return conform::not_applicable("the vCPU has the feature");                                      \
        refused("CR4." name, [](ControlArea&, SaveArea& save) { save.cr4 |= cr4::bit; });                    \
    }                                                                                                        \
    SVM_TEST(identifier##_supported, "svm.vmrun_checks.cr4_" name "_supported",                              \
             "CR4." name " is accepted where the vCPU has the feature", "15.5.1") {                          \
        if (!has_cpuid(leaf, &guest::CpuidRegisters::which, number))                                         \
            return conform::not_applicable("the vCPU has no such feature");                                  \
        accepted("CR4." name, [](ControlArea&, SaveArea& save) { save.cr4 |= cr4::bit; });                   \
    }
CR4_UNSUPPORTED(cr4_umip, "umip", umip, 7, ecx, 2)
CR4_UNSUPPORTED(cr4_fsgsbase, "fsgsbase", fsgsbase, 7, ebx, 0)
CR4_UNSUPPORTED(cr4_pcide, "pcide", pcide, 1, ecx, 17)
CR4_UNSUPPORTED(cr4_osxsave, "osxsave", osxsave, 1, ecx, 26)
CR4_UNSUPPORTED(cr4_pke, "pke", pke, 7, ecx, 3)
#undef CR4_UNSUPPORTED
// Not accepted-cases: with L1's page tables, whose pages are the user's, SMEP stops L2, and LA57 is another
// kind of tables; SMAP wants RFLAGS.AC.
SVM_TEST(cr4_smep, "svm.vmrun_checks.cr4_smep_unsupported", "CR4.SMEP is refused where the vCPU has none",
         "15.5.1") {
    if (has_cpuid(7, &guest::CpuidRegisters::ebx, 7))
        return conform::not_applicable("the vCPU has SMEP");
    refused("CR4.SMEP", [](ControlArea&, SaveArea& save) { save.cr4 |= cr4::smep; });
}
SVM_TEST(cr4_smap, "svm.vmrun_checks.cr4_smap_unsupported", "CR4.SMAP is refused where the vCPU has none",
         "15.5.1") {
    if (has_cpuid(7, &guest::CpuidRegisters::ebx, 20))
        return conform::not_applicable("the vCPU has SMAP");
    refused("CR4.SMAP", [](ControlArea&, SaveArea& save) { save.cr4 |= cr4::smap; });
}
SVM_TEST(cr4_la57, "svm.vmrun_checks.cr4_la57_unsupported", "CR4.LA57 is refused where the vCPU has none",
         "15.5.1") {
    if (has_cpuid(7, &guest::CpuidRegisters::ecx, 16))
        return conform::not_applicable("the vCPU has LA57");
    refused("CR4.LA57", [](ControlArea&, SaveArea& save) { save.cr4 |= cr4::la57; });
}
SVM_TEST(cr4_cet, "svm.vmrun_checks.cr4_cet_unsupported", "CR4.CET is refused where the vCPU has none",
         "15.5.1") {
    if (has_cpuid(7, &guest::CpuidRegisters::ecx, 7))
        return conform::not_applicable("the vCPU has shadow stacks");
    refused("CR4.CET", [](ControlArea&, SaveArea& save) { save.cr4 |= cr4::cet; });
}
SVM_TEST(cr4_cet_wp, "svm.vmrun_checks.cr4_cet_without_wp", "CR4.CET = 1 with CR0.WP = 0 is refused",
         "15.5.1") {
    if (!has_cpuid(7, &guest::CpuidRegisters::ecx, 7))
        return conform::not_applicable("the vCPU has no shadow stacks");
    refused("CR4.CET with CR0.WP = 0", [](ControlArea&, SaveArea& save) {
        save.cr4 |= cr4::cet;
        save.cr0 &= ~cr0::wp;
    });
}
ACCEPTED(cr4_legacy_bits, "cr4_legacy_bits",
         "CR4.VME, PVI, TSD, DE, PSE, MCE, PGE, PCE and OSFXSR are accepted", "15.5.1",
         save.cr4 |= cr4::vme | cr4::pvi | cr4::tsd | cr4::de | cr4::pse | cr4::mce | cr4::pge | cr4::pce |
                     cr4::osfxsr | cr4::osxmmexcpt)
ACCEPTED(cr4_pae_alone, "cr4_pae_alone", "CR4 with no bit but PAE is accepted", "15.5.1", save.cr4 = cr4::pae)

// DR6 and DR7.

REFUSED(dr6_bit_32, "dr6_bit_32", "DR6 bit 32 is refused", "15.5.1", save.dr6 |= std::uint64_t{1} << 32)
REFUSED(dr6_bit_63, "dr6_bit_63", "DR6 bit 63 is refused", "15.5.1", save.dr6 |= std::uint64_t{1} << 63)
REFUSED_BITS(dr6_high_bits, "dr6_bits_33_to_62", "DR6 bits 33 to 62 are refused one by one", "15.5.1",
             save.dr6, 33, 62)
REFUSED(dr7_bit_32, "dr7_bit_32", "DR7 bit 32 is refused", "15.5.1", save.dr7 |= std::uint64_t{1} << 32)
REFUSED(dr7_bit_63, "dr7_bit_63", "DR7 bit 63 is refused", "15.5.1", save.dr7 |= std::uint64_t{1} << 63)
REFUSED_BITS(dr7_high_bits, "dr7_bits_33_to_62", "DR7 bits 33 to 62 are refused one by one", "15.5.1",
             save.dr7, 33, 62)
ACCEPTED(dr6_low_zero, "dr6_zero", "DR6 = 0 is accepted", "15.5.1", save.dr6 = 0)
ACCEPTED(dr6_low_ones, "dr6_low_half", "DR6[31:0] all ones is accepted", "15.5.1", save.dr6 = 0xffff'ffff)
ACCEPTED(dr7_zero, "dr7_zero", "DR7 = 0 is accepted", "15.5.1", save.dr7 = 0)
// GD would make L2's own MOV DR trap, of which it has none.
ACCEPTED(dr7_low_ones, "dr7_reserved_low_bits", "DR7's reserved bits below 32 are accepted", "15.5.1",
         save.dr7 = 0xdc00)

// Modes.

SVM_TEST(lme_without_paging, "svm.vmrun_checks.efer_lme_without_paging",
         "EFER.LME = 1 with paging off is accepted, without PAE and with CS.L = 0", "15.5.1") {
    L2 guest;
    set_protected_mode(guest.save(), address_of(l2_checks_32), blob_stack());
    guest.save().efer |= efer_bit::lme;
    runs_blob(guest, 0x3322'1100, "L2 runs in protected mode with EFER.LME set");
    expect_equal(guest.save().efer & efer_bit::lma, 0U, "EFER.LMA at the exit");
}
SVM_TEST(cs_l_and_d_legacy, "svm.vmrun_checks.cs_l_and_d_outside_long_mode",
         "CS.L = CS.D = 1 is accepted where EFER.LME is 0", "15.5.1") {
    L2 guest;
    set_protected_mode(guest.save(), address_of(l2_checks_32), blob_stack());
    guest.save().cs.attributes |= 0x200;
    runs_blob(guest, 0x3322'1100, "L2 runs 32-bit code, CS.L being ignored");
}
SVM_TEST(cs_l_and_d_no_paging, "svm.vmrun_checks.cs_l_and_d_with_lme_without_paging",
         "CS.L = CS.D = 1 with EFER.LME = 1 is accepted where CR0.PG is 0", "15.5.1") {
    L2 guest;
    set_protected_mode(guest.save(), address_of(l2_checks_32), blob_stack());
    guest.save().cs.attributes |= 0x200;
    guest.save().efer |= efer_bit::lme;
    guest.save().cr4 |= cr4::pae;
    runs_blob(guest, 0x3322'1100, "L2 runs 32-bit code, CS.L being ignored");
}
SVM_TEST(compatibility_cs_d, "svm.vmrun_checks.cs_d_in_long_mode",
         "CS.D = 1 with CS.L = 0 in long mode is accepted", "15.5.1") {
    L2 guest;
    set_compatibility_mode(guest.save(), address_of(l2_checks_32), blob_stack());
    runs_blob(guest, 0x3322'1100, "L2 runs in compatibility mode");
}
SVM_TEST(paged_real_mode, "svm.vmrun_checks.paged_real_mode",
         "CR0.PE = 0 with CR0.PG = 1 is accepted outside long mode", "15.19") {
    L2 guest;
    // The paging of this mode, then real mode on top.
    set_legacy_paging_mode(guest.save(), 0, 0);
    const auto cr3 = guest.save().cr3;
    const auto cr4_value = guest.save().cr4;
    set_real_mode(guest.save(), address_of(l2_checks_16), blob_stack() - 4096);
    guest.save().cr3 = cr3;
    guest.save().cr4 = cr4_value;
    guest.save().cr0 |= cr0::pg;
    guest.intercept_exception(14); // else undefined
    runs_blob(guest, 0x1615'1413, "L2 runs in paged real mode");
    expect_equal(guest.save().cr0 & (cr0::pg | cr0::pe), cr0::pg, "CR0.PG and CR0.PE at the exit");
}
SVM_TEST(paged_real_mode_npt, "svm.vmrun_checks.paged_real_mode_npt",
         "CR0.PE = 0 with CR0.PG = 1 is accepted with nested paging", "15.19", .needs = "npt") {
    L2 guest;
    NestedPageTables tables;
    tables.use_in(guest);
    set_legacy_paging_mode(guest.save(), 0, 0);
    const auto cr3 = guest.save().cr3;
    const auto cr4_value = guest.save().cr4;
    set_real_mode(guest.save(), address_of(l2_checks_16), blob_stack() - 4096);
    guest.save().cr3 = cr3;
    guest.save().cr4 = cr4_value;
    guest.save().cr0 |= cr0::pg;
    guest.intercept_exception(14);
    runs_blob(guest, 0x1615'1413, "L2 runs in paged real mode");
    expect_equal(guest.save().cr0 & (cr0::pg | cr0::pe), cr0::pg, "CR0.PG and CR0.PE at the exit");
}

} // namespace nestbed::svm
