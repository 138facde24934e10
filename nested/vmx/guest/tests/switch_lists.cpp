// The VM-entry MSR-load list (SDM volume 3, "Loading MSRs").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/msr_lists.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::Text;

namespace {

#define ENTRY_LOAD "Loading MSRs"

constexpr std::uint64_t some = 0xffff'8123'4567'89ab;
constexpr std::uint64_t other = 0x7fff'fedc'ba98;

} // namespace

VMX_TEST(list_entry_load, "vmx.switch.entry_load",
         "Each MSR of the VM-entry MSR-load list has its value in L2", ENTRY_LOAD) {
    L2 guest;
    std::uint64_t seen[4]{};
    auto code = [&] {
        for (;;) {
            seen[0] = guest::rdmsr(msr::kernel_gs_base);
            seen[1] = guest::rdmsr(msr::star);
            seen[2] = guest::rdmsr(msr::lstar);
            seen[3] = guest::rdmsr(msr::sfmask);
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    auto* const list = use_msr_list(MsrList::entry_load, 4);
    for (std::uint64_t round = 0; round < 3; ++round) {
        list[0] = {msr::kernel_gs_base, 0, some + round};
        list[1] = {msr::star, 0, (0x0013'0008 + round) << 32};
        list[2] = {msr::lstar, 0, other + round};
        list[3] = {msr::sfmask, 0, 0x200 + round};
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        for (unsigned i = 0; i < 4; ++i)
            expect_equal(seen[i], list[i].value, Text{"item ", i + 1, " in L2, entry ", round + 1});
        guest.skip();
    }
    // No field of the host state holds them: they stay.
    expect_equal(guest::rdmsr(msr::lstar), other + 2, "IA32_LSTAR in L1 after the exit");
}

VMX_TEST(list_entry_load_order, "vmx.switch.entry_load_order",
         "The VM-entry MSR-load list is loaded in order: of two items for one MSR the second counts",
         ENTRY_LOAD) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::kernel_gs_base); };
    guest.start(code);
    auto* const list = use_msr_list(MsrList::entry_load, 2);
    list[0] = {msr::kernel_gs_base, 0, some};
    list[1] = {msr::kernel_gs_base, 0, other};
    guest.run_to_end();
    expect_equal(seen, other, "IA32_KERNEL_GS_BASE in L2");
}

VMX_TEST(list_entry_load_count, "vmx.switch.entry_load_count",
         "Items of the VM-entry MSR-load list beyond its count are not looked at", ENTRY_LOAD) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::kernel_gs_base); };
    guest.start(code);
    auto* const list = use_msr_list(MsrList::entry_load, 1);
    list[0] = {msr::kernel_gs_base, 0, some};
    list[1] = {msr::fs_base, 1, other};
    guest.run_to_end();
    expect_equal(seen, some, "IA32_KERNEL_GS_BASE in L2");
}

VMX_TEST(list_entry_load_overrides, "vmx.switch.entry_load_overrides",
         "The VM-entry MSR-load list comes after the guest state: its values win", ENTRY_LOAD) {
    L2 guest;
    std::uint64_t seen[2]{};
    auto code = [&] {
        seen[0] = guest::rdmsr(msr::sysenter_esp);
        seen[1] = guest::rdmsr(msr::pat);
    };
    guest.start(code);
    auto* const list = use_msr_list(MsrList::entry_load, 2);
    list[0] = {msr::sysenter_esp, 0, some};
    list[1] = {msr::pat, 0, 0x0001'0406'0007'0406};
    write(Field::guest_ia32_sysenter_esp, other);
    guest.run_to_end();
    expect_equal(seen[0], some, "IA32_SYSENTER_ESP in L2");
    expect_equal(seen[1], 0x0001'0406'0007'0406U, "IA32_PAT in L2");
    expect_equal(read(Field::guest_ia32_sysenter_esp), some, "guest IA32_SYSENTER_ESP after the exit");
}

VMX_TEST(list_entry_load_pages, "vmx.switch.entry_load_pages",
         "512 items of the VM-entry MSR-load list are loaded, over the borders of pages", ENTRY_LOAD) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::kernel_gs_base); };
    guest.start(code);
    auto* const list = use_msr_list(MsrList::entry_load, 512, 4096 - 16);
    for (std::uint64_t i = 0; i < 512; ++i)
        list[i] = {msr::kernel_gs_base, 0, some + i};
    guest.run_to_end();
    expect_equal(seen, some + 511, "IA32_KERNEL_GS_BASE in L2");
}

// Items that must not be loaded.
namespace {

void fails_at(std::uint32_t position, const MsrItem& bad, const char* what) {
    L2 guest;
    bool ran = false;
    auto code = [&] { ran = true; };
    guest.start(code);
    auto* const list = use_msr_list(MsrList::entry_load, position + 2);
    for (std::uint32_t i = 0; i < position + 2; ++i)
        list[i] = {msr::kernel_gs_base, 0, some + i};
    list[position - 1] = bad;
    guest::wrmsr(msr::kernel_gs_base, other);
    const auto entry = guest.try_run();
    if (!expect_equal(entry.outcome, Outcome::succeed, "VMLAUNCH gets as far as the list"))
        return;
    expect_equal(entry.reason, 0x8000'0022U, Text{"exit reason: ", what});
    expect_equal(read(Field::exit_qualification), position, Text{"exit qualification, the item: ", what});
    expect_equal(guest::rdmsr(msr::kernel_gs_base), position == 1 ? other : some + position - 2,
                 Text{"IA32_KERNEL_GS_BASE: the items before it are loaded, none behind it: ", what});
    expect_equal(ran, false, "L2 has run");
    // The VMCS is still clear: VMLAUNCH works, VMRESUME would not.
    write(Field::entry_msr_load_count, 0);
    guest.run_to_end("L2 runs without the list");
}

} // namespace

#define FAILS(name, text, ...)                                                                               \
    VMX_TEST(list_entry_fails_##name, "vmx.switch.entry_load_fails_" #name,                                  \
             "VM entry fails with reason 34 and the item's number for " text, ENTRY_LOAD) {                  \
        fails_at(1, __VA_ARGS__, "first");                                                                   \
        fails_at(2, __VA_ARGS__, "second");                                                                  \
        fails_at(5, __VA_ARGS__, "fifth");                                                                   \
    }
FAILS(fs_base, "IA32_FS_BASE", {msr::fs_base, 0, 0x1000})
FAILS(gs_base, "IA32_GS_BASE", {msr::gs_base, 0, 0x1000})
FAILS(x2apic_low, "an MSR of the x2APIC, 808h", {0x808, 0, 0})
FAILS(x2apic_high, "an MSR of the x2APIC's range, 8FFh", {0x8ff, 0, 0})
FAILS(smm_monitor_ctl, "IA32_SMM_MONITOR_CTL outside SMM", {0x9b, 0, 0})
FAILS(reserved, "an item whose bits 63:32 are not 0", {msr::kernel_gs_base, 1, 0x1000})
FAILS(reserved_31, "an item whose bit 63 is 1", {msr::kernel_gs_base, 0x8000'0000, 0x1000})
FAILS(canonical, "a value that is not canonical", {msr::lstar, 0, 0x8000'0000'0000'0000})
FAILS(pat_value, "a memory type in IA32_PAT that there is none of", {msr::pat, 0, 2})
FAILS(efer_value, "a reserved bit of IA32_EFER", {msr::efer, 0, 0x0d01 | 1U << 9})
FAILS(read_only, "a read-only MSR, IA32_VMX_BASIC", {msr::vmx_basic, 0, 0})
FAILS(unknown, "an MSR that there is none of", {0x4567'89ab, 0, 0})

} // namespace nestbed::vmx
