// MSR bitmaps at their edges, what lies outside of them, and what L2 reads and writes where nothing is in its
// way (SDM volume 3, "MSR-Bitmap Address", "Guest Register State").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

L2_SNIPPET(msr_rdmsr, "rdmsr");
L2_SNIPPET(msr_wrmsr, "wrmsr");

constexpr std::uint32_t no_bit = ~0U;

// Of RDMSR; that of WRMSR is 2048 bytes on.
constexpr std::uint32_t bit_of(std::uint32_t index) {
    return index < 0x2000                                ? index
           : index >= 0xc000'0000 && index < 0xc000'2000 ? 8 * 1024 + (index & 0x1fff)
                                                         : no_bit;
}
void set_bit(L2& guest, std::uint32_t index, bool write, bool on = true) {
    const auto bit = bit_of(index) + (write ? 8 * 2048 : 0);
    auto& byte = guest.msr_bitmap()[bit / 8];
    byte = static_cast<std::uint8_t>(on ? byte | 1U << bit % 8 : byte & ~(1U << bit % 8));
}
void set_all(L2& guest) {
    for (unsigned i = 0; i < 4096; ++i)
        guest.msr_bitmap()[i] = 0xff;
}
const Snippet& aim(L2& guest, std::uint32_t index, bool write, std::uint64_t value = 0) {
    const auto& code = write ? msr_wrmsr : msr_rdmsr;
    place(guest, code);
    guest.registers.rcx = index;
    if (write) {
        guest.registers.rax = value & 0xffff'ffff;
        guest.registers.rdx = value >> 32;
    }
    return code;
}

// The bit of this MSR and direction is the only one. The MSR need not exist: the exit comes first.
template<std::uint32_t index, bool write>
void leaves() {
    if (!allowed_primary().may_set(primary::use_msr_bitmaps))
        return not_applicable("no MSR bitmaps");
    L2 guest;
    const auto& code = aim(guest, index, write);
    if (bit_of(index) != no_bit)
        set_bit(guest, index, write);
    expect_exit(guest, code, write ? ExitReason::wrmsr : ExitReason::rdmsr, 0);
}
// Every other bit is set. What the MSR itself makes of it is L2's own, a #GP where there is none.
template<std::uint32_t index, bool write>
void stays() {
    if (!allowed_primary().may_set(primary::use_msr_bitmaps))
        return not_applicable("no MSR bitmaps");
    L2 guest;
    std::uint64_t value = 0;
    guest::catch_fault([&] { value = guest::rdmsr(index); });
    const auto& code = aim(guest, index, write, value);
    set_all(guest);
    set_bit(guest, index, write, false);
    handle_by_skipping(guest, code);
    if (!guest.run_to(ExitReason::vmcall, "the access stays in L2"))
        return;
    expect_equal(guest.context().delivered, guest.context().exceptions[13], "exceptions other than #GP");
}

} // namespace

// NOLINTBEGIN
#define MSR_LEAVES(index, name)                                                                              \
    VMX_CASE(msr_##index##_read_exits, "vmx.msr.read_" #index "_exits",                                      \
             "RDMSR of " name " leaves by its own bit alone", "MSR-Bitmap Address",                          \
             (&leaves<index, false>));                                                                       \
    VMX_CASE(msr_##index##_write_exits, "vmx.msr.write_" #index "_exits",                                    \
             "WRMSR of " name " leaves by its own bit alone", "MSR-Bitmap Address", (&leaves<index, true>))
#define MSR_CASES(index, name)                                                                               \
    MSR_LEAVES(index, name);                                                                                 \
    VMX_CASE(msr_##index##_read_stays, "vmx.msr.read_" #index "_stays",                                      \
             "RDMSR of " name " stays in L2 where every other bit is set", "MSR-Bitmap Address",             \
             (&stays<index, false>));                                                                        \
    VMX_CASE(msr_##index##_write_stays, "vmx.msr.write_" #index "_stays",                                    \
             "WRMSR of " name " stays in L2 where every other bit is set", "MSR-Bitmap Address",             \
             (&stays<index, true>))
// NOLINTEND
MSR_CASES(0x00000000, "the first MSR of the low range");
MSR_CASES(0x00000007, "an MSR at the end of a byte of the low range");
MSR_CASES(0x00001000, "the middle MSR of the low range");
MSR_CASES(0x00001fff, "the last MSR of the low range");
MSR_CASES(0xc0000000, "the first MSR of the high range");
MSR_CASES(0xc0000fff, "a middle MSR of the high range");
MSR_CASES(0xc0001fff, "the last MSR of the high range");
// Those that hypervisors treat one by one.
MSR_CASES(0x00000010, "IA32_TIME_STAMP_COUNTER");
MSR_LEAVES(0x0000001b, "IA32_APIC_BASE");
MSR_LEAVES(0x0000003a, "IA32_FEATURE_CONTROL");
MSR_LEAVES(0x00000048, "IA32_SPEC_CTRL");
MSR_LEAVES(0x00000049, "IA32_PRED_CMD");
MSR_LEAVES(0x0000010b, "IA32_FLUSH_CMD");
MSR_CASES(0x00000174, "IA32_SYSENTER_CS");
MSR_CASES(0x00000175, "IA32_SYSENTER_ESP");
MSR_CASES(0x00000176, "IA32_SYSENTER_EIP");
MSR_LEAVES(0x0000017a, "IA32_MCG_STATUS");
MSR_LEAVES(0x000001d9, "IA32_DEBUGCTL");
MSR_LEAVES(0x00000277, "IA32_PAT");
MSR_LEAVES(0x0000038f, "IA32_PERF_GLOBAL_CTRL");
MSR_LEAVES(0x00000480, "IA32_VMX_BASIC");
MSR_LEAVES(0x00000491, "IA32_VMX_VMFUNC");
MSR_LEAVES(0x000006e0, "IA32_TSC_DEADLINE");
MSR_LEAVES(0x00000800, "the first x2APIC MSR");
MSR_LEAVES(0x00000802, "the x2APIC ID");
MSR_LEAVES(0x00000808, "the x2APIC TPR");
MSR_LEAVES(0x0000080b, "the x2APIC EOI");
MSR_LEAVES(0x00000830, "the x2APIC ICR");
MSR_LEAVES(0x0000083f, "the x2APIC self IPI");
MSR_LEAVES(0x000008ff, "the last x2APIC MSR");
MSR_LEAVES(0x00000da0, "IA32_XSS");
MSR_LEAVES(0xc0000080, "IA32_EFER");
MSR_CASES(0xc0000081, "IA32_STAR");
MSR_CASES(0xc0000082, "IA32_LSTAR");
MSR_CASES(0xc0000083, "IA32_CSTAR");
MSR_CASES(0xc0000084, "IA32_FMASK");
MSR_CASES(0xc0000100, "IA32_FS_BASE");
MSR_CASES(0xc0000102, "IA32_KERNEL_GS_BASE");
MSR_LEAVES(0xc0000101, "IA32_GS_BASE");
MSR_LEAVES(0xc0000103, "IA32_TSC_AUX");
// Outside both ranges every access leaves.
MSR_LEAVES(0x00002000, "an MSR behind the low range");
MSR_LEAVES(0x40000000, "an MSR between the ranges");
MSR_LEAVES(0x4b564d00, "an MSR of KVM's own");
MSR_LEAVES(0x80000080, "an MSR between the ranges");
MSR_LEAVES(0xbfffffff, "the MSR before the high range");
MSR_LEAVES(0xc0002000, "an MSR behind the high range");
MSR_LEAVES(0xc0010114, "an MSR of another vendor");
MSR_LEAVES(0xffffffff, "the last MSR");

VMX_TEST(msr_no_bitmaps, "vmx.msr.without_bitmaps_all", "Without MSR bitmaps every access leaves",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    clear(Field::primary_controls, primary::use_msr_bitmaps);
    for (const std::uint32_t index : {0x10U, 0x174U, 0x1fffU, 0x2000U, 0x4000'0000U, 0xc000'0080U,
                                      0xc000'0100U, 0xc000'1fffU, 0xffff'ffffU})
        for (const bool write : {false, true}) {
            const auto& code = aim(guest, index, write);
            expect_exit(guest, code, write ? ExitReason::wrmsr : ExitReason::rdmsr, 0);
        }
}
VMX_TEST(msr_upper_rcx, "vmx.msr.upper_rcx_ignored", "The MSR is ECX: the bits above do not count",
         "MSR-Bitmap Address") {
    L2 guest;
    set_bit(guest, msr::lstar, false);
    for (const auto index : {msr::lstar, msr::star}) {
        const auto& code = aim(guest, index, false);
        guest.registers.rcx |= std::uint64_t{0x1234} << 32;
        if (index == msr::lstar)
            expect_exit(guest, code, ExitReason::rdmsr, 0);
        else
            expect_executes(guest, code);
    }
}
VMX_TEST(msr_changed, "vmx.msr.bitmap_changed", "A bit that L1 changes between two entries counts at once",
         "MSR-Bitmap Address") {
    L2 guest;
    for (const auto index : {msr::fs_base, msr::kernel_gs_base, msr::star, msr::sysenter_eip})
        for (unsigned round = 0; round < 6; ++round) {
            aim(guest, index, false);
            set_bit(guest, index, false, round % 2 != 0);
            guest.run_to(round % 2 != 0 ? ExitReason::rdmsr : ExitReason::vmcall,
                         Text{"MSR ", conform::Hex{index}, ", round ", round});
        }
}
VMX_TEST(msr_control_changed, "vmx.msr.control_changed",
         "Use of MSR bitmaps that L1 changes between two entries counts at once", "MSR-Bitmap Address") {
    L2 guest;
    for (unsigned round = 0; round < 6; ++round) {
        aim(guest, msr::fs_base, false);
        (round % 2 == 0 ? vmx::set : vmx::clear)(Field::primary_controls, primary::use_msr_bitmaps);
        guest.run_to(round % 2 != 0 ? ExitReason::rdmsr : ExitReason::vmcall, Text{"round ", round});
    }
}
VMX_TEST(msr_moved, "vmx.msr.bitmap_moved", "Another bitmap takes effect at the next entry",
         "MSR-Bitmap Address") {
    L2 guest;
    auto* const other = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    for (unsigned i = 0; i < 4096; ++i)
        other[i] = 0xff;
    for (unsigned round = 0; round < 4; ++round) {
        aim(guest, msr::kernel_gs_base, false);
        write(Field::msr_bitmaps, conform::physical(round % 2 != 0 ? other : guest.msr_bitmap()));
        guest.run_to(round % 2 != 0 ? ExitReason::rdmsr : ExitReason::vmcall, Text{"round ", round});
    }
}
VMX_TEST(msr_two_guests, "vmx.msr.two_guests", "Two L2s with bitmaps of their own do not share them",
         "MSR-Bitmap Address") {
    L2 open;
    L2 closed;
    set_all(closed);
    for (unsigned round = 0; round < 6; ++round) {
        auto& guest = round % 2 == 0 ? open : closed;
        guest.load();
        aim(guest, msr::gs_base, false);
        guest.run_to(round % 2 == 0 ? ExitReason::vmcall : ExitReason::rdmsr, Text{"round ", round});
    }
}
VMX_TEST(msr_l1, "vmx.msr.l1_not_intercepted", "L2's bitmap says nothing about L1's own accesses",
         "MSR-Bitmap Address") {
    L2 guest;
    set_all(guest);
    aim(guest, msr::star, false);
    guest.run_to(ExitReason::rdmsr, "RDMSR");
    for (const auto index : {msr::star, msr::kernel_gs_base, msr::fs_base}) {
        const auto was = guest::rdmsr(index);
        guest::wrmsr(index, 0x0000'0008'1234'5000);
        expect_equal(guest::rdmsr(index), 0x0000'0008'1234'5000U,
                     Text{"MSR ", conform::Hex{index}, " of L1"});
        guest::wrmsr(index, was);
    }
}
VMX_TEST(msr_ring_3, "vmx.msr.ring_3_gp", "RDMSR and WRMSR in ring 3 are #GP before the exit",
         "Relative Priority of Faults and VM Exits") {
    L2 guest;
    set_all(guest);
    guest.intercept_exception(13);
    for (const bool write : {false, true}) {
        const auto& code = aim(guest, msr::star, write);
        move_to_ring_3(guest);
        expect_exception(guest, code, 13, 0);
    }
}
VMX_TEST(msr_unknown, "vmx.msr.unknown_gp", "RDMSR and WRMSR of an MSR that is not there are #GP of L2's own",
         "MSR-Bitmap Address") {
    L2 guest;
    guest.intercept_exception(13);
    for (const std::uint32_t index : {0x1ff0U, 0xc000'1ff0U})
        for (const bool write : {false, true})
            expect_exception(guest, aim(guest, index, write), 13, 0);
}

// Values.
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

// One that the VMCS has: L2's accesses are to the field, and L1's MSR is what host state says.
template<std::uint32_t index, Field guest_field, Field host_field, std::uint64_t value, std::uint64_t host>
void in_vmcs() {
    L2 guest;
    guest::wrmsr(index, host);
    write(host_field, host);
    write(guest_field, value);
    expect_equal(read_in_l2(guest, index), value, "the MSR as L2 reads it: the VMCS's");
    expect_equal(guest::rdmsr(index), host, "the MSR as L1 has it");
    write_in_l2(guest, index, value + 0x1000);
    expect_equal(read(guest_field), value + 0x1000, "the field after L2's write");
    expect_equal(read_in_l2(guest, index), value + 0x1000, "the MSR as L2 reads it back");
    expect_equal(guest::rdmsr(index), host, "the MSR as L1 has it afterwards");
}
// One that no entry or exit switches: L2 and L1 share it.
template<std::uint32_t index, std::uint64_t one, std::uint64_t other>
void shared() {
    L2 guest;
    const auto was = guest::rdmsr(index);
    guest::wrmsr(index, one);
    expect_equal(read_in_l2(guest, index), one, "the MSR as L2 reads it: as L1 wrote it");
    write_in_l2(guest, index, other);
    expect_equal(guest::rdmsr(index), other, "the MSR as L1 reads it: as L2 wrote it");
    expect_equal(read_in_l2(guest, index), other, "the MSR as L2 reads it back");
    guest::wrmsr(index, one);
    expect_equal(read_in_l2(guest, index), one, "the MSR as L2 reads it after L1's second write");
    guest::wrmsr(index, was);
}
template<std::uint32_t index>
void read_as_l1() {
    L2 guest;
    std::uint64_t here = 0;
    if (guest::catch_fault([&] { here = guest::rdmsr(index); }).raised)
        return not_applicable("L1 has no such MSR");
    expect_equal(read_in_l2(guest, index), here, "the MSR as L2 reads it: as L1 has it");
}
// A write of a value that L1 could not write either.
template<std::uint32_t index, std::uint64_t value>
void refused() {
    L2 guest;
    guest.intercept_exception(13);
    expect_exception(guest, aim(guest, index, true, value), 13, 0);
}
constexpr std::uint64_t upper = 0xffff'8000'0000'0000;
} // namespace
// NOLINTBEGIN
#define MSR_IN_VMCS(name, index, field, value, host)                                                         \
    VMX_CASE(msr_value_##name, "vmx.msr.value_" #name,                                                       \
             #name ": L2 reads and writes guest state, L1 gets host state", "Guest Register State",          \
             (&in_vmcs<index, Field::guest_##field, Field::host_##field, value, host>))
#define MSR_SHARED(name, index, one, other)                                                                  \
    VMX_CASE(msr_shared_##name, "vmx.msr.shared_" #name, #name " is L1's and L2's: nothing switches it",     \
             "Guest Register State", (&shared<index, one, other>))
#define MSR_AS_L1(name, index)                                                                               \
    VMX_CASE(msr_as_l1_##name, "vmx.msr.read_" #name "_as_l1", "L2 reads " #name " as L1 does",              \
             "Guest Register State", (&read_as_l1<index>))
#define MSR_REFUSED(name, index, value)                                                                      \
    VMX_CASE(msr_refused_##name, "vmx.msr.refused_" #name,                                                   \
             "A value that " #name " cannot have is #GP of L2's own", "MSR-Bitmap Address",                  \
             (&refused<index, value>))
// NOLINTEND
MSR_IN_VMCS(sysenter_cs, msr::sysenter_cs, ia32_sysenter_cs, 0x8, 0x18);
MSR_IN_VMCS(sysenter_esp, msr::sysenter_esp, ia32_sysenter_esp, upper + 0x2000, 0x1'2345);
MSR_IN_VMCS(sysenter_eip, msr::sysenter_eip, ia32_sysenter_eip, upper + 0x3000, 0x2'3456);
MSR_IN_VMCS(fs_base, msr::fs_base, fs_base, upper + 0x4000, 0x1111'0000);
MSR_SHARED(star, msr::star, 0x0033'0022'0000'0000, 0x0013'0008'1111'1000);
MSR_SHARED(lstar, msr::lstar, upper + 0x5000, 0x7fff'0000'1000);
MSR_SHARED(cstar, 0xc000'0083, upper + 0x6000, 0x7fff'0000'2000);
MSR_SHARED(fmask, msr::sfmask, 0x4'7700, 0x200);
MSR_SHARED(kernel_gs_base, msr::kernel_gs_base, upper + 0x7000, 0x7777'0000);
MSR_AS_L1(apic_base, 0x1b);
MSR_AS_L1(feature_control, msr::feature_control);
MSR_AS_L1(misc_enable, 0x1a0);
MSR_AS_L1(mtrr_cap, 0xfe);
MSR_AS_L1(mtrr_default, 0x2ff);
MSR_AS_L1(mcg_cap, 0x179);
MSR_AS_L1(platform_info, 0xce);
MSR_AS_L1(microcode, 0x8b);
MSR_AS_L1(vmx_basic, msr::vmx_basic);
MSR_AS_L1(vmx_misc, msr::vmx_misc);
MSR_AS_L1(vmx_ept_vpid, msr::vmx_ept_vpid);
MSR_AS_L1(x2apic_id, 0x802);
MSR_REFUSED(lstar, msr::lstar, std::uint64_t{1} << 62);
MSR_REFUSED(fs_base, msr::fs_base, std::uint64_t{1} << 62);
MSR_REFUSED(kernel_gs_base, msr::kernel_gs_base, std::uint64_t{1} << 62);
MSR_REFUSED(sysenter_esp, msr::sysenter_esp, std::uint64_t{1} << 62);
MSR_REFUSED(efer, msr::efer, std::uint64_t{1} << 63);
MSR_REFUSED(pat, msr::pat, 0x0202'0202'0202'0202);
MSR_REFUSED(vmx_basic, msr::vmx_basic, 0);
MSR_REFUSED(debugctl, msr::debugctl, std::uint64_t{1} << 40);

VMX_TEST(msr_gs_base, "vmx.msr.value_gs_base", "GS base that L2 writes is in the VMCS, L1 keeps its own",
         "Guest Register State") {
    L2 guest;
    const auto here = guest::rdmsr(msr::gs_base);
    const auto own = read(Field::guest_gs_base);
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = guest::rdmsr(msr::gs_base);
        guest::wrmsr(msr::gs_base, upper + 0x9000);
        guest::cpuid(0, 0);
    };
    guest.start(code);
    guest.run_to(ExitReason::cpuid, "CPUID");
    expect_equal(seen, own, "GS base as L2 reads it");
    expect_equal(read(Field::guest_gs_base), upper + 0x9000, "guest GS base");
    expect_equal(guest::rdmsr(msr::gs_base), here, "GS base of L1");
}
VMX_TEST(msr_efer, "vmx.msr.value_efer", "EFER.SCE that L2 writes is in the VMCS, L1 keeps its own",
         "Guest Register State") {
    if (!allowed_exit().may_set(vm_exit::save_ia32_efer | vm_exit::load_ia32_efer) ||
        !allowed_entry().may_set(vm_entry::load_ia32_efer))
        return not_applicable("KVM does not offer the EFER controls");
    L2 guest;
    const auto here = guest::rdmsr(msr::efer);
    write_in_l2(guest, msr::efer, here ^ 1);
    expect_equal(read(Field::guest_ia32_efer), here ^ 1, "guest EFER");
    expect_equal(read_in_l2(guest, msr::efer), here ^ 1, "EFER as L2 reads it back");
    expect_equal(guest::rdmsr(msr::efer), here, "EFER of L1");
}
VMX_TEST(msr_pat, "vmx.msr.value_pat", "PAT that L2 writes is in the VMCS, L1 keeps its own",
         "Guest Register State") {
    if (!allowed_exit().may_set(vm_exit::save_ia32_pat | vm_exit::load_ia32_pat) ||
        !allowed_entry().may_set(vm_entry::load_ia32_pat))
        return not_applicable("KVM does not offer the PAT controls");
    L2 guest;
    constexpr std::uint64_t other = 0x0007'0406'0606'0606;
    const auto here = guest::rdmsr(msr::pat);
    write_in_l2(guest, msr::pat, other);
    expect_equal(read(Field::guest_ia32_pat), other, "guest PAT");
    expect_equal(read_in_l2(guest, msr::pat), other, "PAT as L2 reads it back");
    expect_equal(guest::rdmsr(msr::pat), here, "PAT of L1");
}

} // namespace nestbed::vmx
