// MSRs and DR7 of the guest-state area, into L2 and back, with and without the controls that load and save
// them (SDM volume 3, "Loading Guest State", "Saving Guest State").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/modes.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;

namespace {

#define LOADING "Loading Guest Control Registers, Debug Registers, and MSRs"
#define SAVING "Saving Control Registers, Debug Registers, and MSRs"

constexpr std::uint64_t efer_sce = 1U << 0;
constexpr std::uint64_t efer_lme = 1U << 8;
constexpr std::uint64_t efer_lma = 1U << 10;
constexpr std::uint64_t efer_nxe = 1U << 11;
constexpr std::uint64_t some_pat = 0x0007'0406'0007'0406;
constexpr std::uint64_t other_pat = 0x0606'0606'0006'0406;
constexpr std::uint64_t third_pat = 0x0001'0406'0007'0406;

// An MSR that is a guest-state field, loaded and saved always.
void plain_msr(std::uint32_t index, Field field, std::uint64_t first, std::uint64_t second) {
    const auto host = guest::rdmsr(index);
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        for (;;) {
            seen = guest::rdmsr(index);
            guest::wrmsr(index, second);
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    for (unsigned round = 0; round < 3; ++round) {
        const auto value = first + round * 4096;
        write(field, value);
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        expect_equal(seen, value, conform::Text{"as L2 reads it, entry ", round + 1});
        expect_equal(read(field), second, "guest-state field after L2's WRMSR");
        expect_equal(guest::rdmsr(index), host, "L1's, which is the host-state field");
        guest.skip();
    }
}

} // namespace

VMX_TEST(switch_sysenter_cs, "vmx.switch.sysenter_cs", "IA32_SYSENTER_CS is L2's own, in and out", LOADING) {
    plain_msr(msr::sysenter_cs, Field::guest_ia32_sysenter_cs, 0x1234, 0xfed8);
}
VMX_TEST(switch_sysenter_esp, "vmx.switch.sysenter_esp", "IA32_SYSENTER_ESP is L2's own, in and out",
         LOADING) {
    plain_msr(msr::sysenter_esp, Field::guest_ia32_sysenter_esp, 0xffff'8123'4567'89ab, 0x7fff'4321'dcba);
}
VMX_TEST(switch_sysenter_eip, "vmx.switch.sysenter_eip", "IA32_SYSENTER_EIP is L2's own, in and out",
         LOADING) {
    plain_msr(msr::sysenter_eip, Field::guest_ia32_sysenter_eip, 0xffff'8123'4567'0001, 0x7fff'4321'0003);
}

// PAT.
VMX_TEST(switch_pat_load, "vmx.switch.pat_load", "\"Load IA32_PAT\" gives L2 the PAT of the guest state",
         LOADING) {
    L2 guest;
    if (!allowed_entry().may_set(vm_entry::load_ia32_pat))
        return not_applicable("KVM does not offer the control");
    std::uint64_t seen = 0;
    auto code = [&] {
        for (;;) {
            seen = guest::rdmsr(msr::pat);
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    for (const auto value : {some_pat, other_pat}) {
        write(Field::guest_ia32_pat, value);
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        expect_equal(seen, value, "IA32_PAT in L2");
        guest.skip();
    }
}
VMX_TEST(switch_pat_no_load, "vmx.switch.pat_no_load",
         "Without \"load IA32_PAT\" L2 has L1's PAT, whatever the guest state says", LOADING) {
    L2 guest;
    if (!allowed_entry().may_clear(vm_entry::load_ia32_pat))
        return not_applicable("IA32_PAT is always loaded");
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::pat); };
    const auto before = guest::rdmsr(msr::pat);
    guest.start(code);
    clear(Field::entry_controls, vm_entry::load_ia32_pat);
    if (allowed_entry().may_set(vm_entry::load_ia32_pat))
        write(Field::guest_ia32_pat, some_pat);
    guest::wrmsr(msr::pat, other_pat);
    guest.run_to_end();
    guest::wrmsr(msr::pat, before);
    expect_equal(seen, other_pat, "IA32_PAT in L2");
}
VMX_TEST(switch_pat_save, "vmx.switch.pat_save", "\"Save IA32_PAT\" saves what L2 wrote", SAVING) {
    L2 guest;
    if (!allowed_exit().may_set(vm_exit::save_ia32_pat))
        return not_applicable("KVM does not offer the control");
    auto code = [] { guest::wrmsr(msr::pat, third_pat); };
    guest.start(code);
    guest.run_to_end();
    expect_equal(read(Field::guest_ia32_pat), third_pat, "guest IA32_PAT");
}
VMX_TEST(switch_pat_no_save, "vmx.switch.pat_no_save",
         "Without \"save IA32_PAT\" the guest state keeps what L1 wrote", SAVING) {
    L2 guest;
    if (!allowed_exit().may_clear(vm_exit::save_ia32_pat) ||
        !allowed_entry().may_set(vm_entry::load_ia32_pat))
        return not_applicable("IA32_PAT is always saved");
    auto code = [] { guest::wrmsr(msr::pat, third_pat); };
    guest.start(code);
    clear(Field::exit_controls, vm_exit::save_ia32_pat);
    write(Field::guest_ia32_pat, some_pat);
    guest.run_to_end();
    expect_equal(read(Field::guest_ia32_pat), some_pat, "guest IA32_PAT");
}
VMX_TEST(switch_pat_host_load, "vmx.switch.pat_host_load",
         "\"Load IA32_PAT\" on exit gives L1 the PAT of the host state",
         "Loading Host Control Registers, Debug Registers, MSRs") {
    L2 guest;
    if (!allowed_exit().may_set(vm_exit::load_ia32_pat))
        return not_applicable("KVM does not offer the control");
    const auto before = guest::rdmsr(msr::pat);
    auto code = [] {};
    guest.start(code);
    write(Field::host_ia32_pat, other_pat);
    guest.run_to_end();
    expect_equal(guest::rdmsr(msr::pat), other_pat, "IA32_PAT in L1");
    guest::wrmsr(msr::pat, before);
}
VMX_TEST(switch_pat_no_host_load, "vmx.switch.pat_no_host_load",
         "Without \"load IA32_PAT\" on exit L1 has the PAT that L2 had",
         "Loading Host Control Registers, Debug Registers, MSRs") {
    L2 guest;
    if (!allowed_exit().may_clear(vm_exit::load_ia32_pat))
        return not_applicable("IA32_PAT is always loaded on exit");
    const auto before = guest::rdmsr(msr::pat);
    auto code = [] { guest::wrmsr(msr::pat, third_pat); };
    guest.start(code);
    clear(Field::exit_controls, vm_exit::load_ia32_pat);
    guest.run_to_end();
    expect_equal(guest::rdmsr(msr::pat), third_pat, "IA32_PAT in L1");
    guest::wrmsr(msr::pat, before);
}

// EFER.
VMX_TEST(switch_efer_load, "vmx.switch.efer_load", "\"Load IA32_EFER\" gives L2 the EFER of the guest state",
         LOADING) {
    L2 guest;
    if (!allowed_entry().may_set(vm_entry::load_ia32_efer))
        return not_applicable("KVM does not offer the control");
    std::uint64_t seen = 0;
    auto code = [&] {
        for (;;) {
            seen = guest::rdmsr(msr::efer);
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    const auto host = guest::rdmsr(msr::efer);
    for (const auto flip : {efer_sce, std::uint64_t{0}, efer_sce}) {
        write(Field::guest_ia32_efer, host ^ flip);
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        expect_equal(seen, host ^ flip, "IA32_EFER in L2");
        expect_equal(guest::rdmsr(msr::efer), host, "IA32_EFER in L1");
        guest.skip();
    }
}
VMX_TEST(switch_efer_no_load, "vmx.switch.efer_no_load",
         "Without \"load IA32_EFER\" L2 has L1's EFER, whatever the guest state says", LOADING) {
    L2 guest;
    if (!allowed_entry().may_clear(vm_entry::load_ia32_efer))
        return not_applicable("IA32_EFER is always loaded");
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::efer); };
    guest.start(code);
    const auto host = guest::rdmsr(msr::efer);
    clear(Field::entry_controls, vm_entry::load_ia32_efer);
    if (allowed_entry().may_set(vm_entry::load_ia32_efer))
        write(Field::guest_ia32_efer, (host ^ efer_sce) & ~efer_nxe);
    guest.run_to_end();
    expect_equal(seen, host, "IA32_EFER in L2");
}
VMX_TEST(switch_efer_save, "vmx.switch.efer_save", "\"Save IA32_EFER\" saves what L2 wrote", SAVING) {
    L2 guest;
    if (!allowed_exit().may_set(vm_exit::save_ia32_efer))
        return not_applicable("KVM does not offer the control");
    const auto host = guest::rdmsr(msr::efer);
    auto code = [&] { guest::wrmsr(msr::efer, host ^ efer_sce); };
    guest.start(code);
    guest.run_to_end();
    expect_equal(read(Field::guest_ia32_efer), host ^ efer_sce, "guest IA32_EFER");
    if (allowed_exit().may_set(vm_exit::load_ia32_efer))
        expect_equal(guest::rdmsr(msr::efer), host, "IA32_EFER in L1");
}
VMX_TEST(switch_efer_no_save, "vmx.switch.efer_no_save",
         "Without \"save IA32_EFER\" the guest state keeps what L1 wrote", SAVING) {
    L2 guest;
    if (!allowed_exit().may_clear(vm_exit::save_ia32_efer) ||
        !allowed_entry().may_set(vm_entry::load_ia32_efer))
        return not_applicable("IA32_EFER is always saved");
    const auto host = guest::rdmsr(msr::efer);
    auto code = [&] { guest::wrmsr(msr::efer, host ^ efer_sce); };
    guest.start(code);
    clear(Field::exit_controls, vm_exit::save_ia32_efer);
    guest.run_to_end();
    expect_equal(read(Field::guest_ia32_efer), host, "guest IA32_EFER");
}
VMX_TEST(switch_efer_no_host_load, "vmx.switch.efer_no_host_load",
         "Without \"load IA32_EFER\" on exit L1 has the EFER that L2 had, LMA and LME being 1",
         "Loading Host Control Registers, Debug Registers, MSRs") {
    L2 guest;
    if (!allowed_exit().may_clear(vm_exit::load_ia32_efer))
        return not_applicable("IA32_EFER is always loaded on exit");
    const auto host = guest::rdmsr(msr::efer);
    auto code = [&] { guest::wrmsr(msr::efer, host ^ efer_sce); };
    guest.start(code);
    clear(Field::exit_controls, vm_exit::load_ia32_efer);
    guest.run_to_end();
    expect_equal(guest::rdmsr(msr::efer), host ^ efer_sce, "IA32_EFER in L1");
    guest::wrmsr(msr::efer, host);
}
VMX_TEST(switch_efer_nxe, "vmx.switch.efer_nxe",
         "EFER.NXE of L2 is in force: bit 63 of its page-table entries is reserved without it", LOADING) {
    if (!allowed_entry().may_set(vm_entry::load_ia32_efer))
        return not_applicable("KVM does not offer the control");
    L2 guest;
    const auto host = guest::rdmsr(msr::efer);
    if ((host & efer_nxe) == 0)
        return not_applicable("L1 runs without EFER.NXE");
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::efer); };
    guest.start(code);
    write(Field::guest_ia32_efer, host & ~efer_nxe);
    guest.run_to_end();
    expect_equal(seen, host & ~efer_nxe, "IA32_EFER in L2");
}

namespace {

// EFER, by RDMSR, to where EBX points.
L2_CODE(l2_vs_efer, 32, "movl $0xc0000080, %ecx; rdmsr; movl %eax, (%ebx); movl %edx, 4(%ebx); vmcall");

void legacy_efer(bool load, std::uint64_t expected_clear) {
    const auto allowed = allowed_entry();
    if (load ? !allowed.may_set(vm_entry::load_ia32_efer) : !allowed.may_clear(vm_entry::load_ia32_efer))
        return not_applicable("KVM does not offer this setting of the control");
    L2 guest;
    auto& seen = guest.context().value[0];
    set_legacy_paging_mode(guest, address_of(l2_vs_efer), code_stack(guest));
    guest.registers.rbx = conform::physical(&seen);
    const auto host = guest::rdmsr(msr::efer);
    if (!load)
        clear(Field::entry_controls, vm_entry::load_ia32_efer);
    if (!guest.run_to(ExitReason::vmcall, "VMCALL of 32-bit code"))
        return;
    expect_equal(seen, host & ~expected_clear, "IA32_EFER in L2");
    if ((read(Field::exit_controls) & vm_exit::save_ia32_efer) != 0)
        expect_equal(read(Field::guest_ia32_efer), host & ~expected_clear, "guest IA32_EFER");
    expect_equal(read(Field::entry_controls) & vm_entry::ia_32e_mode_guest, 0U, "\"IA-32e mode guest\"");
    expect_equal(guest::rdmsr(msr::efer), host, "IA32_EFER in L1");
}

} // namespace

VMX_TEST(switch_efer_legacy, "vmx.switch.efer_legacy",
         "Without \"load IA32_EFER\" LMA and LME follow \"IA-32e mode guest\": both 0 for a legacy guest",
         LOADING) {
    legacy_efer(false, efer_lma | efer_lme);
}
VMX_TEST(switch_efer_legacy_load, "vmx.switch.efer_legacy_load",
         "With \"load IA32_EFER\" a legacy guest has the EFER of the guest state", LOADING) {
    legacy_efer(true, efer_lma | efer_lme);
}

VMX_TEST(switch_perf_global_ctrl, "vmx.switch.perf_global_ctrl",
         "IA32_PERF_GLOBAL_CTRL is loaded on entry and on exit with its controls", LOADING) {
    if (!allowed_entry().may_set(vm_entry::load_ia32_perf_global_ctrl) ||
        !allowed_exit().may_set(vm_exit::load_ia32_perf_global_ctrl) || (guest::cpuid(10, 0).eax & 0xff) < 2)
        return not_applicable("KVM does not offer the controls");
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdmsr(msr::perf_global_ctrl); };
    guest.start(code);
    set(Field::entry_controls, vm_entry::load_ia32_perf_global_ctrl);
    set(Field::exit_controls, vm_exit::load_ia32_perf_global_ctrl);
    write(Field::guest_ia32_perf_global_ctrl, 1);
    write(Field::host_ia32_perf_global_ctrl, 2);
    guest.run_to_end();
    expect_equal(seen, 1U, "IA32_PERF_GLOBAL_CTRL in L2");
    expect_equal(guest::rdmsr(msr::perf_global_ctrl), 2U, "IA32_PERF_GLOBAL_CTRL in L1");
    guest::wrmsr(msr::perf_global_ctrl, 0);
}

// MSRs that no field holds.
#define SHARED_MSR(name, index, first, second)                                                               \
    VMX_TEST(switch_shared_##name, "vmx.switch.shared_" #name,                                               \
             "An MSR without a field (" #name ") is not switched: L2 has L1's, and L1 then L2's",            \
             "VM Entries") {                                                                                 \
        std::uint64_t before = 0;                                                                            \
        if (guest::catch_fault([&] { before = guest::rdmsr(index); }).raised)                                \
            return not_applicable("no such MSR");                                                            \
        L2 guest;                                                                                            \
        std::uint64_t seen = 0;                                                                              \
        auto code = [&] {                                                                                    \
            seen = guest::rdmsr(index);                                                                      \
            guest::wrmsr(index, second);                                                                     \
        };                                                                                                   \
        guest.start(code);                                                                                   \
        guest::wrmsr(index, first);                                                                          \
        guest.run_to_end();                                                                                  \
        expect_equal(seen, std::uint64_t{first}, "in L2");                                                   \
        expect_equal(guest::rdmsr(index), std::uint64_t{second}, "in L1 after the exit");                    \
        guest::wrmsr(index, before);                                                                         \
    }
SHARED_MSR(star, msr::star, 0x0013'0008'0000'0000, 0x0023'0010'0000'0000)
SHARED_MSR(lstar, msr::lstar, 0x1234'5678, 0xffff'8000'1234'5678)
SHARED_MSR(sfmask, msr::sfmask, 0x4'7700, 0x200)
SHARED_MSR(kernel_gs_base, msr::kernel_gs_base, 0x1111'2222'3333, 0xffff'9111'2222'3333)
SHARED_MSR(tsc_aux, 0xc000'0103, 0x1234, 0x5678)

} // namespace nestbed::vmx
