// VMRUN's checks of the control area: intercepts, permission maps, ASID, TLB control, nested paging.
#include "core/guest/runtime.hpp"
#include "nested/svm/guest/tests/vmrun_checks.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect_equal;

namespace {
// The first address that no physical address of this vCPU reaches.
std::uint64_t end_of_addresses() {
    return std::uint64_t{1} << physical_address_bits();
}
} // namespace

REFUSED(vmrun_intercept_clear, "vmrun_intercept_clear", "The VMRUN intercept clear is refused", "15.5.1",
        set_intercept(control, Intercept::vmrun, false))
REFUSED(all_intercepts_clear, "intercepts_all_clear", "No intercept at all is refused", "15.5.1",
        control.intercept_misc2 = 0)
REFUSED(vmrun_intercept_others_set, "vmrun_intercept_clear_others_set",
        "The VMRUN intercept clear is refused though all others at 010h are set", "15.5.1",
        control.intercept_misc2 = 0xffff'fffe)
ACCEPTED(vmrun_intercept_alone, "vmrun_intercept_alone",
         "The VMRUN and VMMCALL intercepts alone are accepted", "15.5.1",
         (control.intercept_misc1 = 0, control.intercept_misc2 = 3))

REFUSED(asid_0, "asid_0", "ASID 0 is refused", "15.5.1", control.asid = 0)
SVM_TEST(asid_0_npt, "svm.vmrun_checks.asid_0_with_nested_paging", "ASID 0 is refused with nested paging",
         "15.5.1", .needs = "npt") {
    Candidate candidate;
    NestedPageTables tables;
    tables.use_in(candidate.guest);
    candidate.keep();
    candidate.guest.control().asid = 0;
    candidate.expect_refused("ASID 0");
    candidate.put_right();
    candidate.expect_runs("the same VMCB put right runs");
}
SVM_TEST(asid_last, "svm.vmrun_checks.asid_highest", "The highest ASID is accepted", "15.5.1") {
    Candidate candidate;
    candidate.guest.control().asid = guest::cpuid(0x8000'000a, 0).ebx - 1;
    candidate.expect_runs("L2 runs with ASID NASID - 1");
}
SVM_TEST(asid_each, "svm.vmrun_checks.asid_each", "Every ASID from 1 up is accepted", "15.5.1") {
    Candidate candidate;
    const auto count = guest::cpuid(0x8000'000a, 0).ebx;
    for (std::uint32_t asid = 1; asid < count && asid < 64; ++asid) {
        candidate.guest.control().asid = asid;
        candidate.expect_runs("L2 runs with each ASID");
    }
}

// The maps: their 12 KiB and 8 KiB end below the last address; bits 11:0 of the base are ignored (15.10.1,
// 15.11). Nothing looks at maps whose intercepts are clear, so that they may lie where no memory is.
#define MAP_REFUSED(identifier, name, title, field, distance)                                                \
    REFUSED(identifier, name, title, "15.5.1", control.field = end_of_addresses() - (distance))
#define MAP_ACCEPTED(identifier, name, title, field, distance)                                               \
    ACCEPTED(identifier, name, title, "15.5.1", control.field = end_of_addresses() - (distance))
MAP_REFUSED(iopm_last_page, "iopm_in_last_page", "An IOPM of which one page fits is refused", iopm_base_pa,
            0x1000)
MAP_REFUSED(iopm_last_two, "iopm_in_last_two_pages", "An IOPM of which two pages fit is refused",
            iopm_base_pa, 0x2000)
MAP_REFUSED(iopm_last_two_low_bits, "iopm_in_last_two_pages_low_bits",
            "An IOPM of which two pages fit is refused whatever its low bits", iopm_base_pa, 0x1001)
MAP_ACCEPTED(iopm_last_three, "iopm_in_last_three_pages", "An IOPM that just fits is accepted", iopm_base_pa,
             0x3000)
MAP_ACCEPTED(iopm_last_three_low_bits, "iopm_in_last_three_pages_low_bits",
             "An IOPM that just fits is accepted, the low bits of its base being ignored", iopm_base_pa,
             0x2001)
MAP_REFUSED(iopm_at_end, "iopm_beyond_end", "An IOPM beyond the last address is refused", iopm_base_pa, 0)
REFUSED(iopm_bit_52, "iopm_bit_52", "An IOPM with address bit 52 is refused", "15.5.1",
        control.iopm_base_pa |= std::uint64_t{1} << 52)
REFUSED(iopm_bit_63, "iopm_bit_63", "An IOPM with address bit 63 is refused", "15.5.1",
        control.iopm_base_pa |= std::uint64_t{1} << 63)
REFUSED(iopm_ones, "iopm_all_ones", "An IOPM at the last page of 64 bits is refused", "15.5.1",
        control.iopm_base_pa = ~std::uint64_t{0})
ACCEPTED(iopm_low_bits, "iopm_low_bits", "Bits 11:0 of IOPM_BASE_PA are ignored", "15.10.1",
         (control.iopm_base_pa |= 0xfff, set_intercept(control, Intercept::ioio_prot)))
MAP_REFUSED(msrpm_last_page, "msrpm_in_last_page", "An MSRPM of which one page fits is refused",
            msrpm_base_pa, 0x1000)
MAP_REFUSED(msrpm_last_page_low_bits, "msrpm_in_last_page_low_bits",
            "An MSRPM of which one page fits is refused whatever its low bits", msrpm_base_pa, 1)
MAP_ACCEPTED(msrpm_last_two, "msrpm_in_last_two_pages", "An MSRPM that just fits is accepted", msrpm_base_pa,
             0x2000)
MAP_ACCEPTED(msrpm_last_two_low_bits, "msrpm_in_last_two_pages_low_bits",
             "An MSRPM that just fits is accepted, the low bits of its base being ignored", msrpm_base_pa,
             0x1001)
MAP_REFUSED(msrpm_at_end, "msrpm_beyond_end", "An MSRPM beyond the last address is refused", msrpm_base_pa, 0)
REFUSED(msrpm_bit_52, "msrpm_bit_52", "An MSRPM with address bit 52 is refused", "15.5.1",
        control.msrpm_base_pa |= std::uint64_t{1} << 52)
REFUSED(msrpm_bit_63, "msrpm_bit_63", "An MSRPM with address bit 63 is refused", "15.5.1",
        control.msrpm_base_pa |= std::uint64_t{1} << 63)
REFUSED(msrpm_ones, "msrpm_all_ones", "An MSRPM at the last page of 64 bits is refused", "15.5.1",
        control.msrpm_base_pa = ~std::uint64_t{0})
ACCEPTED(msrpm_low_bits, "msrpm_low_bits", "Bits 11:0 of MSRPM_BASE_PA are ignored", "15.11",
         (control.msrpm_base_pa |= 0xfff, set_intercept(control, Intercept::msr_prot)))
SVM_TEST(maps_beyond, "svm.vmrun_checks.maps_each_address_bit",
         "Maps with one address bit above the physical address size are refused", "15.5.1") {
    const auto bits = physical_address_bits();
    refused_bits("IOPM_BASE_PA", bits, 63,
                 [](ControlArea& control, SaveArea&, std::uint64_t bit) { control.iopm_base_pa |= bit; });
    refused_bits("MSRPM_BASE_PA", bits, 63,
                 [](ControlArea& control, SaveArea&, std::uint64_t bit) { control.msrpm_base_pa |= bit; });
}
// The check is not the intercept's (15.5.1 knows no such condition).
REFUSED(iopm_without_intercept, "iopm_beyond_end_intercept_set",
        "An IOPM beyond the last address is refused with the IOIO intercept set", "15.5.1",
        (control.iopm_base_pa = end_of_addresses(), set_intercept(control, Intercept::ioio_prot)))
REFUSED(msrpm_with_intercept, "msrpm_beyond_end_intercept_set",
        "An MSRPM beyond the last address is refused with the MSR intercept set", "15.5.1",
        (control.msrpm_base_pa = end_of_addresses(), set_intercept(control, Intercept::msr_prot)))

ACCEPTED(tlb_0, "tlb_control_0", "TLB_CONTROL 0 is accepted", "15.16.1", control.tlb_control = 0)
ACCEPTED(tlb_1, "tlb_control_1", "TLB_CONTROL 1 is accepted", "15.16.1", control.tlb_control = 1)
ACCEPTED(tlb_3, "tlb_control_3", "TLB_CONTROL 3 is accepted", "15.16.1", control.tlb_control = 3,
         .needs = "flushbyasid")
ACCEPTED(tlb_7, "tlb_control_7", "TLB_CONTROL 7 is accepted", "15.16.1", control.tlb_control = 7,
         .needs = "flushbyasid")
SVM_TEST(tlb_kept, "svm.vmrun_checks.tlb_control_kept", "VMRUN does not change TLB_CONTROL", "15.16.1") {
    Candidate candidate;
    candidate.guest.control().tlb_control = 1;
    candidate.guest.run_to_end();
    expect_equal(candidate.guest.control().tlb_control, 1U, "TLB_CONTROL after the exit");
}
// Reserved encodings: 15.16.1 says not what they do, so VMRUN may refuse them or not, and no more than that.
SVM_TEST(tlb_reserved, "svm.vmrun_checks.tlb_control_reserved",
         "A reserved TLB_CONTROL is refused or ignored, and the guest is none the worse", "15.16.1") {
    Candidate candidate;
    for (unsigned value = 2; value < 256; value += value < 8 ? 1 : 31) {
        if (value == 3 || value == 7)
            continue;
        candidate.guest.control().tlb_control = static_cast<std::uint8_t>(value);
        const auto code = candidate.guest.run();
        conform::expect(static_cast<std::uint32_t>(code) == 0xffff'ffffU || candidate.guest.at_end(),
                        conform::Text{"TLB_CONTROL ", value, ": VMEXIT_INVALID or L2 ran"});
        candidate.put_right();
        candidate.expect_runs("the same VMCB put right runs");
    }
}

// Nested paging (15.25.3, 15.25.4).

namespace {
template<typename Change>
void refused_npt(const char* what, Change change) {
    Candidate candidate;
    NestedPageTables tables;
    tables.use_in(candidate.guest);
    candidate.keep();
    change(candidate.guest.control(), candidate.guest.save());
    candidate.expect_refused(what);
    candidate.put_right();
    candidate.expect_runs("the same VMCB put right runs");
}
template<typename Change>
void accepted_npt(const char* what, Change change) {
    Candidate candidate;
    NestedPageTables tables;
    tables.use_in(candidate.guest);
    candidate.keep();
    change(candidate.guest.control(), candidate.guest.save());
    candidate.expect_runs(what);
}
} // namespace

#define NPT_TEST(identifier, name, title, how, statement)                                                    \
    SVM_TEST(identifier, "svm.vmrun_checks." name, title, "15.25.4", .needs = "npt") {                       \
        how(title,                                                                                           \
            []([[maybe_unused]] ControlArea& control, [[maybe_unused]] SaveArea& save) { statement; });      \
    }
NPT_TEST(n_cr3_bit_52, "n_cr3_bit_52", "N_CR3 bit 52 is refused", refused_npt,
         control.n_cr3 |= std::uint64_t{1} << 52)
NPT_TEST(n_cr3_bit_63, "n_cr3_bit_63", "N_CR3 bit 63 is refused", refused_npt,
         control.n_cr3 |= std::uint64_t{1} << 63)
NPT_TEST(n_cr3_beyond, "n_cr3_beyond_physical_address", "N_CR3 beyond the physical address size is refused",
         refused_npt, control.n_cr3 |= end_of_addresses())
NPT_TEST(n_cr3_pcd, "n_cr3_pcd_and_pwt", "PCD and PWT in N_CR3 are accepted", accepted_npt,
         control.n_cr3 |= 0x18)
NPT_TEST(g_pat_type_2, "g_pat_type_2", "G_PAT with the reserved type 2 is refused", refused_npt,
         save.g_pat = (save.g_pat & ~std::uint64_t{0xff}) | 2)
NPT_TEST(g_pat_type_3, "g_pat_type_3_in_pa7", "G_PAT with the reserved type 3 in PA7 is refused", refused_npt,
         save.g_pat = (save.g_pat & ~(std::uint64_t{0xff} << 56)) | std::uint64_t{3} << 56)
NPT_TEST(g_pat_reserved, "g_pat_reserved_bit", "G_PAT with a reserved bit is refused", refused_npt,
         save.g_pat |= 8)
NPT_TEST(g_pat_all_wb, "g_pat_all_write_back", "G_PAT with every entry write-back is accepted", accepted_npt,
         save.g_pat = 0x0606'0606'0606'0606)
NPT_TEST(g_pat_all_types, "g_pat_all_types", "G_PAT with every type there is is accepted", accepted_npt,
         save.g_pat = 0x0006'0704'0501'0006)
// Without nested paging there is no gPAT (15.25.8), nor an nCR3.
ACCEPTED(g_pat_without_npt, "g_pat_bad_without_nested_paging",
         "An illegal G_PAT is accepted without nested paging", "15.25.8", save.g_pat = 0xffff'ffff'ffff'ffff)
ACCEPTED(n_cr3_without_npt, "n_cr3_bad_without_nested_paging",
         "An illegal N_CR3 is accepted without nested paging", "15.25.4",
         control.n_cr3 = 0xffff'ffff'ffff'ffff)
REFUSED(vnmi_without_nmi, "v_nmi_enable_without_nmi_intercept",
        "V_NMI_ENABLE without the NMI intercept is refused", "15.21.10",
        (control.int_ctl |= int_ctl::v_nmi_enable, set_intercept(control, Intercept::nmi, false)),
        .needs = "vnmi")
// Fields of features that the vCPU does not have, and reserved ones, are not looked at.
SVM_TEST(features_not_offered, "svm.vmrun_checks.bits_of_absent_features",
         "Control bits of features that CPUID does not show are ignored", "15.5.1") {
    Candidate candidate;
    const auto features = guest::cpuid(0x8000'000a, 0).edx;
    auto& control = candidate.guest.control();
    struct {
        unsigned feature;
        std::uint32_t bit;
        const char* name;
    } const in_int_ctl[] = {{13, int_ctl::avic_enable, "AVIC_ENABLE"},
                            {18, int_ctl::x2avic_enable, "x2AVIC_ENABLE"},
                            {16, int_ctl::vgif_enable, "V_GIF_ENABLE"},
                            {25, int_ctl::v_nmi_enable, "V_NMI_ENABLE"},
                            {25, int_ctl::v_nmi_enable | int_ctl::v_nmi, "V_NMI_ENABLE and V_NMI"}};
    unsigned judged = 0;
    for (const auto& one : in_int_ctl)
        if ((features >> one.feature & 1) == 0) {
            control.int_ctl |= one.bit;
            candidate.expect_runs(one.name);
            ++judged;
        }
    if ((features >> 1 & 1) == 0) {
        control.virt_ext |= 1;
        candidate.expect_runs("LBR_VIRTUALIZATION_ENABLE");
        ++judged;
    }
    if ((features >> 15 & 1) == 0) {
        control.virt_ext |= 2;
        candidate.expect_runs("virtual VMSAVE and VMLOAD");
        ++judged;
    }
    if (judged == 0)
        conform::not_applicable("the vCPU has all these features");
}

} // namespace nestbed::svm
