// What must last when the host takes a vCPU's state away and gives it back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

// What VM entry loads and VM exit saves, but RIP.
inline constexpr Field guest_state[]{
    Field::guest_es_selector,
    Field::guest_cs_selector,
    Field::guest_ss_selector,
    Field::guest_ds_selector,
    Field::guest_fs_selector,
    Field::guest_gs_selector,
    Field::guest_ldtr_selector,
    Field::guest_tr_selector,
    Field::guest_es_limit,
    Field::guest_cs_limit,
    Field::guest_ss_limit,
    Field::guest_ds_limit,
    Field::guest_fs_limit,
    Field::guest_gs_limit,
    Field::guest_tr_limit,
    Field::guest_gdtr_limit,
    Field::guest_idtr_limit,
    Field::guest_es_access_rights,
    Field::guest_cs_access_rights,
    Field::guest_ss_access_rights,
    Field::guest_ds_access_rights,
    Field::guest_fs_access_rights,
    Field::guest_gs_access_rights,
    Field::guest_tr_access_rights,
    Field::guest_es_base,
    Field::guest_cs_base,
    Field::guest_ss_base,
    Field::guest_ds_base,
    Field::guest_fs_base,
    Field::guest_gs_base,
    Field::guest_tr_base,
    Field::guest_gdtr_base,
    Field::guest_idtr_base,
    Field::guest_cr0,
    Field::guest_cr3,
    Field::guest_cr4,
    Field::guest_dr7,
    Field::guest_rsp,
    Field::guest_rflags,
    Field::guest_ia32_sysenter_cs,
    Field::guest_ia32_sysenter_esp,
    Field::guest_ia32_sysenter_eip,
    Field::guest_activity_state,
    Field::guest_interruptibility_state,
};
inline constexpr std::size_t guest_state_fields = sizeof guest_state / sizeof guest_state[0];

// L1's state as VM exit loads it.
struct HostState {
    std::uint64_t cr0 = guest::control_register<0>();
    std::uint64_t cr3 = guest::control_register<3>();
    std::uint64_t cr4 = guest::control_register<4>();
    std::uint64_t efer = guest::rdmsr(msr::efer);
    std::uint64_t pat = guest::rdmsr(msr::pat);
    std::uint64_t sysenter_esp = guest::rdmsr(msr::sysenter_esp);
    std::uint64_t fs_base = guest::rdmsr(msr::fs_base);
    std::uint64_t gs_base = guest::rdmsr(msr::gs_base);
    std::uint64_t feature_control = guest::rdmsr(msr::feature_control);
};
inline void expect_host(const HostState& was) {
    const HostState now;
    conform::expect_equal(now.cr0, was.cr0, "L1's CR0");
    conform::expect_equal(now.cr3, was.cr3, "L1's CR3");
    conform::expect_equal(now.cr4, was.cr4, "L1's CR4");
    conform::expect_equal(now.efer, was.efer, "L1's IA32_EFER");
    conform::expect_equal(now.pat, was.pat, "L1's IA32_PAT");
    conform::expect_equal(now.sysenter_esp, was.sysenter_esp, "L1's IA32_SYSENTER_ESP");
    conform::expect_equal(now.fs_base, was.fs_base, "L1's FS base");
    conform::expect_equal(now.gs_base, was.gs_base, "L1's GS base");
    conform::expect_equal(now.feature_control, was.feature_control, "L1's IA32_FEATURE_CONTROL");
}

// RIP at an instruction of known length: over it, by the length that the processor gives.
inline bool exit_after(L2& guest, ExitReason reason, const char* what) {
    if (!guest.run_to(reason, what))
        return false;
    guest.skip();
    return true;
}

} // namespace nestbed::vmx
