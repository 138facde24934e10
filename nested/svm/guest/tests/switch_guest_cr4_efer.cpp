// CR4 and EFER: loaded by VMRUN, seen and felt by L2, written back, and never L1's (APM volume 2, 15.5.1).
#include "core/guest/guard.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect_equal;

L2_CODE(l2_cr4_look, 64, "movq %cr4, %rbx; vmmcall");
L2_CODE(l2_cr4_set, 64, "movq %rdi, %cr4; movq %cr4, %rbx; vmmcall");
L2_CODE(l2_efer_look, 64, "movl $0xc0000080, %ecx; rdmsr; movl %eax, %ebx; vmmcall");
L2_CODE(l2_efer_set, 64,
        "movl $0xc0000080, %ecx; movl %edi, %eax; xorl %edx, %edx; wrmsr\n"
        "rdmsr; movl %eax, %ebx; vmmcall");

namespace {

// Which CPUID bit allows a CR4 bit; none for those that every AMD64 processor has.
struct Allowed {
    std::uint32_t leaf = 0;
    char reg = 'a';
    unsigned bit = 0;
};
constexpr Allowed allowed_by(unsigned bit) {
    switch (bit) {
    case 11:
        return {7, 'c', 2};
    case 16:
        return {7, 'b', 0};
    case 17:
        return {1, 'c', 17};
    case 18:
        return {1, 'c', 26};
    case 20:
        return {7, 'b', 7};
    case 21:
        return {7, 'b', 20};
    case 22:
        return {7, 'c', 3};
    default:
        return {};
    }
}

template<unsigned Bit>
bool offered() {
    constexpr auto by = allowed_by(Bit);
    if (by.leaf == 0 || cpuid_bit(by.leaf, by.reg, by.bit))
        return true;
    conform::not_applicable("the vCPU does not have this bit of CR4 (CPUID)");
    return false;
}

// Page tables without user pages, on which ring 0 runs with SMEP and SMAP on.
void use_supervisor_pages(L2& guest, NestedPageTables& tables) {
    tables.entry(0, 4) &= ~npt_bit::user;
    guest.save().cr3 = tables.root();
}

template<unsigned Bit>
void cr4_in() {
    if (!offered<Bit>())
        return;
    const auto mine = guest::control_register<4>();
    L2 guest;
    NestedPageTables tables;
    use_supervisor_pages(guest, tables);
    start_blob(guest, l2_cr4_look);
    const auto value = mine ^ std::uint64_t{1} << Bit;
    guest.save().cr4 = value;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.rbx, value, "CR4 as L2 sees it");
    expect_equal(guest.save().cr4, value, "VMCB.CR4 after the exit");
    expect_equal(guest::control_register<4>(), mine, "L1's own CR4");
}
template<unsigned Bit>
void cr4_out() {
    if (!offered<Bit>())
        return;
    const auto mine = guest::control_register<4>();
    L2 guest;
    NestedPageTables tables;
    use_supervisor_pages(guest, tables);
    const auto value = mine ^ std::uint64_t{1} << Bit;
    start_blob(guest, l2_cr4_set, value);
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.rbx, value, "CR4 as L2 reads it back");
    expect_equal(guest.save().cr4, value, "VMCB.CR4 after L2's MOV to CR4");
    expect_equal(guest::control_register<4>(), mine, "L1's own CR4");
}

} // namespace

#define CR4_CASE(name, bit)                                                                                  \
    SVM_CASE(switch_guest_cr4_in_##name, "svm.switch.guest_cr4_in_" #name,                                   \
             "CR4 other than L1's in this bit is loaded, seen by L2 and written back", "15.5.1",             \
             &cr4_in<bit>)                                                                                   \
    SVM_CASE(switch_guest_cr4_out_##name, "svm.switch.guest_cr4_out_" #name,                                 \
             "L2's MOV to CR4 of this bit is in the VMCB after the exit, and not in L1's CR4", "15.6",       \
             &cr4_out<bit>)
CR4_CASE(vme, 0)
CR4_CASE(pvi, 1)
CR4_CASE(tsd, 2)
CR4_CASE(de, 3)
CR4_CASE(pse, 4)
CR4_CASE(mce, 6)
CR4_CASE(pge, 7)
CR4_CASE(pce, 8)
CR4_CASE(osfxsr, 9)
CR4_CASE(osxmmexcpt, 10)
CR4_CASE(umip, 11)
CR4_CASE(fsgsbase, 16)
CR4_CASE(pcide, 17)
CR4_CASE(osxsave, 18)
CR4_CASE(smep, 20)
CR4_CASE(smap, 21)
CR4_CASE(pke, 22)
#undef CR4_CASE

namespace {

bool has_osxsave() {
    return cpuid_bit(1, 'c', 27);
}
void write_cr4(std::uint64_t value) {
    asm volatile("movq %0, %%cr4" : : "r"(value) : "memory");
}

// CPUID Fn0000_0001 ECX[27] copies CR4.OSXSAVE (APM volume 3, appendix E.3.2) of whoever asks.
void osxsave_in_cpuid(bool in_l1, bool in_l2) {
    if (!cpuid_bit(1, 'c', 26))
        return conform::not_applicable("the vCPU has no XSAVE (CPUID Fn0000_0001 ECX bit 26)");
    constexpr std::uint64_t osxsave = 1U << 18;
    const auto base = guest::control_register<4>() & ~osxsave;
    write_cr4(base | (in_l1 ? osxsave : 0));
    L2 guest;
    bool seen = !in_l2;
    auto code = [&] { seen = has_osxsave(); };
    guest.start(code);
    guest.save().cr4 = base | (in_l2 ? osxsave : 0);
    expect_equal(has_osxsave(), in_l1, "CPUID's OSXSAVE in L1 before");
    guest.run_to_end();
    expect_equal(seen, in_l2, "CPUID's OSXSAVE in L2");
    expect_equal(has_osxsave(), in_l1, "CPUID's OSXSAVE in L1 after the exit");
}

} // namespace
SVM_TEST(switch_guest_cr4_osxsave_l2, "svm.switch.guest_cr4_osxsave_only_l2",
         "CPUID shows OSXSAVE to L2, whose CR4 has it, and not to L1", "15.5.1") {
    osxsave_in_cpuid(false, true);
}
SVM_TEST(switch_guest_cr4_osxsave_l1, "svm.switch.guest_cr4_osxsave_only_l1",
         "CPUID shows OSXSAVE to L1, whose CR4 has it, and not to L2", "15.5.1") {
    osxsave_in_cpuid(true, false);
}
SVM_TEST(switch_guest_cr4_osxsave_changed, "svm.switch.guest_cr4_osxsave_set_by_l2",
         "OSXSAVE that L2 sets in its CR4 shows in L2's CPUID, and not in L1's after the exit", "15.6") {
    if (!cpuid_bit(1, 'c', 26))
        return conform::not_applicable("the vCPU has no XSAVE (CPUID Fn0000_0001 ECX bit 26)");
    constexpr std::uint64_t osxsave = 1U << 18;
    write_cr4(guest::control_register<4>() & ~osxsave);
    L2 guest;
    bool seen = false;
    auto code = [&] {
        write_cr4(guest::control_register<4>() | osxsave);
        seen = has_osxsave();
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, true, "CPUID's OSXSAVE in L2");
    expect_equal(has_osxsave(), false, "CPUID's OSXSAVE in L1 after the exit");
}

SVM_TEST(switch_guest_cr4_tsd_effect, "svm.switch.guest_cr4_tsd_effect",
         "CR4.TSD=1 of L2 keeps its ring 3 from RDTSC", "15.5.1") {
    L2 guest;
    guest.intercept_exception(13);
    auto code = [&] { conform::in_ring_3([] { guest::rdtsc(); }); };
    guest.start(code);
    guest.save().cr4 |= 1U << 2;
    guest.run_to(exception_exit(13), "#GP of RDTSC in ring 3");
    expect_equal(guest.save().cpl, 3U, "VMCB.CPL");
}
SVM_TEST(switch_guest_cr4_tsd_of_l1, "svm.switch.guest_cr4_tsd_of_l1",
         "CR4.TSD=1 of L1 does not keep L2's ring 3 from RDTSC", "15.5.1") {
    L2 guest;
    guest.intercept_exception(13);
    auto code = [&] { conform::in_ring_3([] { guest::rdtsc(); }); };
    guest.start(code);
    const auto mine = guest::control_register<4>();
    guest.save().cr4 = mine & ~std::uint64_t{4};
    write_cr4(mine | 4);
    const bool ended = guest.run_to_end();
    const auto after = guest::control_register<4>();
    write_cr4(mine);
    if (ended)
        expect_equal(after, mine | 4, "L1's CR4 after the exit");
}
SVM_TEST(switch_guest_cr4_smep_effect, "svm.switch.guest_cr4_smep_effect",
         "CR4.SMEP=1 of L2 makes its ring 0 fault on a user page's code", "15.5.1") {
    if (!cpuid_bit(7, 'b', 7))
        return conform::not_applicable("the vCPU has no SMEP (CPUID Fn0000_0007 EBX bit 7)");
    L2 guest;
    guest.intercept_exception(14);
    NestedPageTables tables; // user pages all over
    guest.save().cr3 = tables.root();
    start_blob(guest, l2_cr4_look);
    guest.save().cr4 |= 1U << 20;
    guest.run_to(exception_exit(14), "#PF of the first fetch");
    expect_equal(guest.control().exit_info_1, 0x11U, "error code in EXITINFO1: present, fetch");
    expect_equal(guest.control().exit_info_2, address_of(l2_cr4_look), "the address in EXITINFO2");
    expect_equal(guest.save().rip, address_of(l2_cr4_look), "VMCB.RIP");
}
namespace {
L2_CODE(l2_cr4_read, 64, "movq (%rdi), %rbx; vmmcall");
void smap(bool ac) {
    if (!cpuid_bit(7, 'b', 20))
        return conform::not_applicable("the vCPU has no SMAP (CPUID Fn0000_0007 EBX bit 20)");
    L2 guest;
    guest.intercept_exception(14);
    NestedPageTables tables; // user pages all over
    guest.save().cr3 = tables.root();
    const auto page = conform::physical(conform::allocate_pages(1));
    start_blob(guest, l2_cr4_read, page);
    guest.save().cr4 |= 1U << 21;
    if (ac) {
        guest.save().rflags |= 1U << 18;
        guest.run_to(ExitCode::vmmcall, "ring 0 may read a user page with RFLAGS.AC=1");
        return;
    }
    guest.run_to(exception_exit(14), "#PF of the read");
    expect_equal(guest.control().exit_info_1, 1U, "error code in EXITINFO1: present");
    expect_equal(guest.control().exit_info_2, page, "the address in EXITINFO2");
}
} // namespace
SVM_TEST(switch_guest_cr4_smap_effect, "svm.switch.guest_cr4_smap_effect",
         "CR4.SMAP=1 of L2 makes its ring 0 fault on user data", "15.5.1") {
    smap(false);
}
SVM_TEST(switch_guest_cr4_smap_ac, "svm.switch.guest_cr4_smap_ac",
         "RFLAGS.AC=1 of the VMCB lets L2's ring 0 read user data with CR4.SMAP=1", "15.5.1") {
    smap(true);
}

// EFER.

namespace {

using namespace msr::efer_bit;

template<std::uint64_t Bits>
bool efer_offered() {
    if constexpr (Bits == ffxsr) {
        if (!cpuid_bit(0x8000'0001, 'd', 25)) {
            conform::not_applicable("the vCPU has no FFXSR (CPUID Fn8000_0001 EDX bit 25)");
            return false;
        }
    }
    return true;
}
template<std::uint64_t Bits>
void efer_in() {
    if (!efer_offered<Bits>())
        return;
    const auto mine = guest::rdmsr(msr::efer);
    L2 guest;
    start_blob(guest, l2_efer_look);
    guest.save().efer = mine ^ Bits;
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.rbx, mine ^ Bits, "EFER as L2 sees it");
    expect_equal(guest.save().efer, mine ^ Bits, "VMCB.EFER after the exit");
    expect_equal(guest::rdmsr(msr::efer), mine, "L1's own EFER");
}
template<std::uint64_t Bits>
void efer_out() {
    if (!efer_offered<Bits>())
        return;
    const auto mine = guest::rdmsr(msr::efer);
    L2 guest;
    start_blob(guest, l2_efer_set, mine ^ Bits);
    if (!guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL"))
        return;
    expect_equal(guest.registers.rbx, mine ^ Bits, "EFER as L2 reads it back");
    expect_equal(guest.save().efer, mine ^ Bits, "VMCB.EFER after L2's WRMSR");
    expect_equal(guest::rdmsr(msr::efer), mine, "L1's own EFER");
}

} // namespace
#define EFER_CASE(name, bits)                                                                                \
    SVM_CASE(switch_guest_efer_in_##name, "svm.switch.guest_efer_in_" #name,                                 \
             "EFER other than L1's in this bit is loaded, seen by L2 and written back", "15.5.1",            \
             &efer_in<bits>)                                                                                 \
    SVM_CASE(switch_guest_efer_out_##name, "svm.switch.guest_efer_out_" #name,                               \
             "L2's WRMSR to EFER of this bit is in the VMCB after the exit, and not in L1's EFER", "15.6",   \
             &efer_out<bits>)
EFER_CASE(same, 0)
EFER_CASE(sce, sce)
EFER_CASE(nxe, nxe)
EFER_CASE(ffxsr, ffxsr)
EFER_CASE(sce_nxe, sce | nxe)
#undef EFER_CASE

namespace {

// A page with the NX bit: with EFER.NXE=1 its code faults, with NXE=0 the bit is reserved and every access
// faults (APM volume 2, 5.6.1).
void no_execute_page(bool nxe_on, bool fetch) {
    L2 guest;
    guest.intercept_exception(14);
    NestedPageTables tables;
    auto* const page = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    for (unsigned i = 0; i < 6; ++i)
        page[i] = static_cast<std::uint8_t>(l2_cr4_look[i]);
    tables.entry(conform::physical(page), 1) |= npt_bit::no_execute;
    guest.save().cr3 = tables.root();
    guest.save().efer = nxe_on ? guest.save().efer | nxe : guest.save().efer & ~nxe;
    if (fetch)
        start_blob(guest, reinterpret_cast<const char*>(page));
    else
        start_blob(guest, l2_cr4_read, conform::physical(page));
    if (nxe_on && !fetch) {
        guest.run_to(ExitCode::vmmcall, "data in a page with NX may be read");
        return;
    }
    guest.run_to(exception_exit(14), "#PF in the page with NX");
    if (nxe_on)
        expect_equal(guest.control().exit_info_1, 0x11U, "error code in EXITINFO1: present, fetch");
    else
        expect_equal(guest.control().exit_info_1 & 8, 8U, "EXITINFO1 bit 3, RSV");
    expect_equal(guest.control().exit_info_2, conform::physical(page), "the address in EXITINFO2");
}

} // namespace
SVM_TEST(switch_guest_efer_nx_fetch, "svm.switch.guest_efer_nxe_fetch",
         "EFER.NXE=1 of L2: code in a page with NX faults", "15.5.1") {
    no_execute_page(true, true);
}
SVM_TEST(switch_guest_efer_nx_read, "svm.switch.guest_efer_nxe_read",
         "EFER.NXE=1 of L2: data in a page with NX may be read", "15.5.1") {
    no_execute_page(true, false);
}
SVM_TEST(switch_guest_efer_no_nx_read, "svm.switch.guest_efer_no_nxe_read",
         "EFER.NXE=0 of L2: the NX bit is reserved, though L1 has NXE=1", "15.5.1") {
    no_execute_page(false, false);
}

L2_CODE(l2_efer_syscall, 64, "syscall; vmmcall");
SVM_TEST(switch_guest_efer_sce_clear, "svm.switch.guest_efer_sce_clear",
         "EFER.SCE=0 of L2 makes SYSCALL #UD, though L1 has SCE=1", "15.5.1") {
    guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) | sce);
    L2 guest;
    guest.intercept_exception(6);
    start_blob(guest, l2_efer_syscall);
    guest.save().efer &= ~sce;
    guest.run_to(exception_exit(6), "#UD of SYSCALL");
    expect_equal(guest.save().rip, address_of(l2_efer_syscall), "VMCB.RIP");
}
SVM_TEST(switch_guest_efer_sce_set, "svm.switch.guest_efer_sce_set",
         "EFER.SCE=1 of L2 lets SYSCALL go to LSTAR, though L1 has SCE=0", "15.5.1") {
    guest::wrmsr(msr::efer, guest::rdmsr(msr::efer) & ~sce);
    L2 guest;
    guest.intercept_exception(6);
    start_blob(guest, l2_efer_syscall);
    guest.save().efer |= sce;
    guest.save().star = std::uint64_t{nestbed::wire::kernel_code_selector} << 32;
    guest.save().lstar = address_of(l2_cr4_look);
    guest.run_to(ExitCode::vmmcall, "the code at LSTAR leaves by VMMCALL");
    expect_equal(guest.save().rip, address_of(l2_cr4_look) + 3, "VMCB.RIP");
    expect_equal(guest.registers.rcx, address_of(l2_efer_syscall) + 2, "RCX, the return address");
}

} // namespace nestbed::svm
