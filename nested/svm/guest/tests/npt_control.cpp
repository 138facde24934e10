// What VMRUN looks at of nested paging's fields, and what of L1's own state reaches the nested walk.
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/window.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Hex;
using conform::Text;

namespace {

constexpr std::uint64_t plain_pat = 0x0007'0406'0007'0406;

struct Simple {
    L2 guest;
    NestedPageTables nested;
    std::uint64_t ran = 0;
    Simple() { nested.use_in(guest); }
};

// Each bit alone. `last` 63 covers what no processor has as an address.
void root_bits(unsigned first, unsigned last) {
    Simple simple;
    auto code = [&] { ++simple.ran; };
    simple.guest.start(code);
    for (unsigned bit = first; bit <= last; ++bit) {
        simple.guest.control().n_cr3 = simple.nested.root() | std::uint64_t{1} << bit;
        if (!expect_equal(vmrun_refused(simple.guest), ExitCode::invalid,
                          Text{"EXITCODE with N_CR3 bit ", bit}))
            break;
    }
    expect_equal(simple.ran, 0U, "runs of L2");
}

} // namespace

SVM_TEST(root_address, "svm.npt.root_above_maxphyaddr", "N_CR3 with bits above MAXPHYADDR: VMEXIT_INVALID",
         "15.25.4", .needs = "npt") {
    const auto width = physical_address_bits();
    if (width >= 52)
        return conform::not_applicable("no address bit is reserved (CPUID Fn8000_0008 EAX[7:0] is 52)");
    root_bits(width, 51);
}
SVM_TEST(root_high, "svm.npt.root_bits_63_52", "N_CR3 with bits 63:52: VMEXIT_INVALID", "15.25.4",
         .needs = "npt") {
    root_bits(52, 63);
}
SVM_TEST(root_caching, "svm.npt.root_caching_bits", "PWT and PCD in N_CR3 are harmless", "15.25.3",
         .needs = "npt") {
    Simple simple;
    auto code = [&] { ++simple.ran; };
    const std::uint64_t choices[]{0x08, 0x10, 0x18};
    for (const auto bits : choices) {
        simple.guest.control().n_cr3 = simple.nested.root() | bits;
        flush_all(simple.guest);
        simple.guest.start(code);
        simple.guest.run_to_end();
        expect_equal(simple.guest.control().n_cr3, simple.nested.root() | bits, "N_CR3 after the exit");
    }
    expect_equal(simple.ran, 3U, "runs of L2");
}
SVM_TEST(root_unused, "svm.npt.root_without_nested_paging", "With NP_ENABLE=0 nobody looks at N_CR3",
         "15.25.4", .needs = "npt") {
    L2 guest;
    std::uint64_t ran = 0;
    auto code = [&] { ++ran; };
    const std::uint64_t values[]{~std::uint64_t{0}, std::uint64_t{0xfff}, std::uint64_t{1} << 52};
    for (const auto value : values) {
        guest.control().n_cr3 = value;
        guest.start(code);
        guest.run_to_end();
    }
    expect_equal(ran, 3U, "runs of L2");
}
SVM_TEST(root_kept, "svm.npt.root_kept_at_exit", "An exit writes neither N_CR3 nor NP_ENABLE", "15.25.4",
         .needs = "npt") {
    Simple simple;
    auto code = [&] { ++simple.ran; };
    simple.guest.start(code);
    simple.guest.run_to_end();
    expect_equal(simple.guest.control().n_cr3, simple.nested.root(), "N_CR3");
    expect_equal(simple.guest.control().nested_ctl, 1U, "NP_ENABLE");
}

SVM_TEST(cr3_after_exit, "svm.npt.host_cr3_after_exit", "After an exit L1 is on its own CR3", "15.25.4",
         .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    const auto before = guest::control_register<3>();
    window.start(Access::write, 0);
    window.finish("a write");
    expect_equal(guest::control_register<3>(), before, "L1's CR3");
    expect_equal(window.guest.save().cr3, window.own.root(), "L2's CR3 in the VMCB");
}

namespace {

// The type in field `index` of G_PAT: 2, 3 and all above 7 are reserved (7.8.1).
template<unsigned index>
void pat_reserved() {
    Simple simple;
    auto code = [&] { ++simple.ran; };
    simple.guest.start(code);
    const std::uint8_t types[]{2, 3, 8, 0x10, 0x20, 0x40, 0x80, 0x86, 0xff};
    for (const auto type : types) {
        simple.guest.save().g_pat = (plain_pat & ~(std::uint64_t{0xff} << 8 * index)) | std::uint64_t{type}
                                                                                            << 8 * index;
        if (!expect_equal(vmrun_refused(simple.guest), ExitCode::invalid,
                          Text{"EXITCODE with G_PAT ", Hex{simple.guest.save().g_pat}}))
            break;
    }
    expect_equal(simple.ran, 0U, "runs of L2");
}

} // namespace

#define PAT_RESERVED(index)                                                                                  \
    SVM_CASE(pat_reserved_##index, "svm.npt.pat_reserved_pa" #index,                                         \
             "A reserved type in G_PAT with nested paging: VMEXIT_INVALID", "15.25.4", &pat_reserved<index>, \
             .needs = "npt")
PAT_RESERVED(0)
PAT_RESERVED(1)
PAT_RESERVED(2)
PAT_RESERVED(3)
PAT_RESERVED(4)
PAT_RESERVED(5)
PAT_RESERVED(6)
PAT_RESERVED(7)

SVM_TEST(pat_valid, "svm.npt.pat_each_type", "Every type that there is may stand in every field of G_PAT",
         "15.25.4", .needs = "npt") {
    Simple simple;
    auto code = [&] { ++simple.ran; };
    unsigned runs = 0;
    const std::uint8_t types[]{0, 1, 4, 5, 6, 7};
    for (unsigned index = 0; index < 8; ++index)
        for (const auto type : types) {
            simple.guest.save().g_pat =
                (plain_pat & ~(std::uint64_t{0xff} << 8 * index)) | std::uint64_t{type} << 8 * index;
            simple.guest.start(code);
            if (!simple.guest.run_to_end())
                return;
            expect_equal(simple.ran, ++runs, "runs of L2");
        }
}

SVM_TEST(pat_unused, "svm.npt.pat_without_nested_paging", "With NP_ENABLE=0 nobody looks at G_PAT", "15.25.4",
         .needs = "npt") {
    L2 guest;
    std::uint64_t ran = 0;
    auto code = [&] { ++ran; };
    const std::uint64_t values[]{~std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{0x0300'0000'0000'0000}};
    for (const auto value : values) {
        guest.save().g_pat = value;
        guest.start(code);
        guest.run_to_end();
    }
    expect_equal(ran, 3U, "runs of L2");
}

namespace {
constexpr std::uint64_t other_pat = 0x0606'0100'0507'0406;
constexpr std::uint64_t third_pat = 0x0404'0601'0006'0706;
} // namespace

SVM_TEST(pat_read, "svm.npt.pat_l2_reads_g_pat", "L2's PAT is G_PAT with nested paging", "15.25.4",
         .needs = "npt") {
    Simple simple;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::pat); };
    simple.guest.save().g_pat = other_pat;
    const auto before = guest::rdmsr(msr::pat);
    simple.guest.start(code);
    simple.guest.run_to_end();
    expect_equal(seen, other_pat, "PAT as L2 reads it");
    expect_equal(guest::rdmsr(msr::pat), before, "L1's PAT");
}

SVM_TEST(pat_write, "svm.npt.pat_l2_writes_g_pat",
         "What L2 writes to PAT is in G_PAT after the exit and not in L1's PAT", "15.25.4", .needs = "npt") {
    Simple simple;
    auto code = [] { guest::wrmsr(msr::pat, third_pat); };
    simple.guest.save().g_pat = plain_pat;
    const auto before = guest::rdmsr(msr::pat);
    simple.guest.start(code);
    simple.guest.run_to_end();
    expect_equal(simple.guest.save().g_pat, third_pat, "G_PAT");
    expect_equal(guest::rdmsr(msr::pat), before, "L1's PAT");
}

SVM_TEST(pat_shared, "svm.npt.pat_shared_without_nested_paging", "Without nested paging L2's PAT is L1's own",
         "15.25.4", .needs = "npt") {
    L2 guest;
    std::uint64_t seen = 0;
    guest.save().g_pat = third_pat;
    const auto before = guest::rdmsr(msr::pat);
    auto code = [&] {
        seen = guest::rdmsr(msr::pat);
        guest::wrmsr(msr::pat, other_pat);
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, before, "PAT as L2 reads it");
    expect_equal(guest::rdmsr(msr::pat), other_pat, "L1's PAT after L2 wrote PAT");
    guest::wrmsr(msr::pat, before);
}

// L1's own control registers.
namespace {

std::uint64_t cr4() {
    return guest::control_register<4>();
}
void write_cr4(std::uint64_t value) {
    asm volatile("movq %0, %%cr4" : : "r"(value) : "memory");
}
void write_cr0(std::uint64_t value) {
    asm volatile("movq %0, %%cr0" : : "r"(value) : "memory");
}
void write_cr3(std::uint64_t value) {
    asm volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}

constexpr std::uint64_t cr0_wp = 1U << 16;
constexpr std::uint64_t cr4_pge = 1U << 7;
constexpr std::uint64_t cr4_smep = 1U << 20;
constexpr std::uint64_t cr4_smap = 1U << 21;
constexpr std::uint64_t cr4_pke = 1U << 22;

} // namespace

SVM_TEST(host_wp, "svm.npt.host_wp_off", "L1's CR0.WP=0 makes no nested read-only page writable", "15.25.5",
         .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.nested_entry(1) &= ~npt_bit::write;
    const auto before = guest::control_register<0>();
    write_cr0(before & ~cr0_wp);
    for (const auto ring : every_ring) {
        window.start(Access::write, ring);
        window.expect_fault(final_fault(Access::write, npf::present), window.target(Access::write),
                            Text{"a write in ring ", ring});
    }
    // Neither for L2's page tables.
    const auto table = conform::physical(&window.own_entry(1)) & ~std::uint64_t{0xfff};
    window.nested.entry(table, 1) &= ~npt_bit::write;
    window.start(Access::read, 0);
    window.guest.run_to(ExitCode::npf, "a walk over a read-only page");
    expect_equal(window.guest.control().exit_info_1, walk_fault(npf::present), "EXITINFO1 of the walk");
    write_cr0(before);
}

namespace {

// L1 with SMEP or SMAP, on tables of supervisor pages: nested pages are user pages, and L2 in ring 0 uses
// them.
void host_protection(std::uint64_t bit, unsigned cpuid_bit) {
    if ((guest::cpuid(7, 0).ebx >> cpuid_bit & 1) == 0)
        return conform::not_applicable("the vCPU has no such bit in CR4 (CPUID Fn0000_0007 EBX)");
    if (!Window::possible())
        return;
    Window window;
    // L1's ring 0 may then have no user page of its own.
    NestedPageTables supervisor;
    for (std::uint64_t at = 0; at < std::uint64_t{4} << 30; at += std::uint64_t{1} << 30)
        supervisor.entry(at, 3) &= ~npt_bit::user;
    const auto cr3_before = guest::control_register<3>();
    const auto cr4_before = cr4();
    window.guest.save().cr4 = cr4_before; // without it in L2
    write_cr3(supervisor.root());
    write_cr4(cr4_before | bit);
    for (const auto ring : every_ring)
        for (const auto access : every_access) {
            const Text what{text_of(access), " in ring ", ring};
            window.start(access, ring);
            if (!window.guest.run_to_end(what.c_str()))
                break;
        }
    expect_equal(cr4(), cr4_before | bit, "L1's CR4 after the exits");
    // And with it in L2, whose pages are now its own supervisor's.
    window.guest.save().cr4 = cr4_before | bit;
    window.guest.save().cr3 = supervisor.root();
    std::uint64_t ran = 0;
    auto code = [&] { ran = 1; };
    window.guest.start(code);
    flush_all(window.guest);
    window.guest.run_to_end();
    expect_equal(ran, 1U, "L2 with the same bit");
    write_cr4(cr4_before);
    write_cr3(cr3_before);
}

} // namespace

SVM_TEST(host_smep, "svm.npt.host_smep", "L1's CR4.SMEP forbids L2 no fetch", "15.25.5", .needs = "npt") {
    host_protection(cr4_smep, 7);
}
SVM_TEST(host_smap, "svm.npt.host_smap", "L1's CR4.SMAP forbids L2 no access", "15.25.5", .needs = "npt") {
    host_protection(cr4_smap, 20);
}

SVM_TEST(guest_smep, "svm.npt.guest_smep", "L2's CR4.SMEP goes by L2's user bit and not by the nested one",
         "15.25.5", .needs = "npt") {
    if ((guest::cpuid(7, 0).ebx >> 7 & 1) == 0)
        return conform::not_applicable("the vCPU has no SMEP");
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    for (std::uint64_t at = 0; at < std::uint64_t{4} << 30; at += std::uint64_t{1} << 30)
        window.own.entry(at, 3) &= ~npt_bit::user;
    guest.save().cr4 |= cr4_smep;
    window.own_entry(1) &= ~npt_bit::user;
    window.start(Access::fetch, 0);
    window.finish("a supervisor page");
    window.own_entry(1) |= npt_bit::user;
    guest.intercept_exception(14);
    window.start(Access::fetch, 0);
    guest.run_to(exception_exit(14), "a user page");
    expect_equal(guest.control().exit_info_1, 0x11U, "the #PF's error code");
    expect_equal(guest.control().exit_info_2, window.address(), "the #PF's address");
}

SVM_TEST(host_pge, "svm.npt.host_pge", "L1's CR4.PGE has no part in L2's translations", "15.25.5",
         .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    const auto before = cr4();
    for (unsigned round = 0; round < 4; ++round) {
        write_cr4(round % 2 == 0 ? before | cr4_pge : before & ~cr4_pge);
        for (const auto access : every_access) {
            window.start(access, 0);
            window.finish(Text{text_of(access), " in round ", round});
        }
    }
    write_cr4(before);
}

SVM_TEST(host_pke, "svm.npt.host_protection_keys", "L1's protection keys have no part in nested entries",
         "15.25.5", .needs = "npt") {
    if ((guest::cpuid(7, 0).ecx >> 3 & 1) == 0)
        return conform::not_applicable("the vCPU has no protection keys (CPUID Fn0000_0007 ECX bit 3)");
    if (!Window::possible())
        return;
    Window window;
    const auto before = cr4();
    write_cr4(before | cr4_pke);
    // WRPKRU: key 1 is denied; L1's own pages have key 0.
    asm volatile(".byte 0x0f, 0x01, 0xef" : : "a"(0xc), "c"(0), "d"(0) : "memory");
    window.nested_entry(1) |= std::uint64_t{1} << 59;
    for (const auto access : every_access) {
        window.start(access, 3);
        window.finish(text_of(access));
    }
    asm volatile(".byte 0x0f, 0x01, 0xef" : : "a"(0), "c"(0), "d"(0) : "memory");
    write_cr4(before);
}

// EFER.NXE of L1 is what gives nested entries their NX; that of L2 what gives L2's own entries theirs.
namespace {

void set_host_nxe(bool on) {
    const auto efer = guest::rdmsr(msr::efer);
    guest::wrmsr(msr::efer, on ? efer | msr::efer_bit::nxe : efer & ~msr::efer_bit::nxe);
}

} // namespace

SVM_TEST(host_nxe_reserved, "svm.npt.host_nxe_off_no_execute_reserved",
         "With L1's EFER.NXE=0 NX in a nested entry is a reserved bit", "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.nested_entry(1) |= npt_bit::no_execute;
    set_host_nxe(false);
    const Access data[]{Access::read, Access::write};
    for (const auto access : data) {
        window.start(access, 0);
        window.expect_fault(final_fault(access, npf::present | npf::reserved), window.target(access),
                            text_of(access));
    }
    set_host_nxe(true);
    window.start(Access::read, 0);
    window.finish("with NXE=1 again");
    window.start(Access::fetch, 0);
    window.expect_fault(final_fault(Access::fetch, npf::present), window.address(), "a fetch with NXE=1");
}

SVM_TEST(host_nxe_plain, "svm.npt.host_nxe_off_executes",
         "With L1's EFER.NXE=0 L2 executes and its own NX holds", "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    set_host_nxe(false);
    for (const auto access : every_access) {
        window.start(access, 3);
        window.finish(text_of(access));
    }
    window.own_entry(1) |= npt_bit::no_execute; // L2's EFER.NXE is 1
    window.guest.intercept_exception(14);
    window.start(Access::fetch, 0);
    window.guest.run_to(exception_exit(14), "a fetch from L2's own NX page");
    expect_equal(window.guest.control().exit_info_1, 0x11U, "the #PF's error code");
    expect_equal(guest::rdmsr(msr::efer) & msr::efer_bit::nxe, 0U, "L1's NXE after the exits");
    set_host_nxe(true);
}

SVM_TEST(host_nxe_not_present, "svm.npt.host_nxe_off_fetch_fault",
         "A fetch from a page not present with L1's EFER.NXE=0", "15.25.6", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.nested_entry(1) = 0;
    set_host_nxe(false);
    window.start(Access::fetch, 0);
    window.guest.run_to(ExitCode::npf, "the fetch");
    set_host_nxe(true);
    // ID of a page fault is there only where NX is (8.4.2); of a nested one the APM does not say.
    expect_equal(window.guest.control().exit_info_1 | npf::fetch, final_fault(Access::fetch, 0), "EXITINFO1");
    expect_equal(window.guest.control().exit_info_2, window.address(), "EXITINFO2");
}

SVM_TEST(guest_nxe_reserved, "svm.npt.guest_nxe_off_own_no_execute",
         "With L2's EFER.NXE=0 NX in L2's entry is L2's #PF, whatever L1's EFER", "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.own_entry(1) |= npt_bit::no_execute;
    window.start(Access::read, 0);
    window.finish("with NXE=1");
    window.guest.save().efer &= ~msr::efer_bit::nxe;
    window.guest.intercept_exception(14);
    window.start(Access::read, 0);
    window.guest.run_to(exception_exit(14), "with NXE=0");
    expect_equal(window.guest.control().exit_info_1, 9U, "the #PF's error code: P and RSV");
}

} // namespace nestbed::svm
