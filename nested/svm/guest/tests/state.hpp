// What must last when the host takes a vCPU's state away and gives it back.
#pragma once

#include <cstdint>

#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

inline void paging_for(L2& guest, bool nested) {
    if (!nested)
        return;
    const NestedPageTables tables;
    tables.use_in(guest);
}

// L1's state that VMRUN saves and #VMEXIT brings back.
struct HostState {
    std::uint64_t cr0 = guest::control_register<0>();
    std::uint64_t cr3 = guest::control_register<3>();
    std::uint64_t cr4 = guest::control_register<4>();
    std::uint64_t efer = guest::rdmsr(msr::efer);
    std::uint64_t hsave = guest::rdmsr(msr::vm_hsave_pa);
    std::uint64_t pat = guest::rdmsr(msr::pat);
    std::uint64_t star = guest::rdmsr(msr::star);
    std::uint64_t kernel_gs_base = guest::rdmsr(msr::kernel_gs_base);
};
inline void expect_host(const HostState& was) {
    const HostState now;
    conform::expect_equal(now.cr0, was.cr0, "L1's CR0");
    conform::expect_equal(now.cr3, was.cr3, "L1's CR3");
    conform::expect_equal(now.cr4, was.cr4, "L1's CR4");
    conform::expect_equal(now.efer, was.efer, "L1's EFER");
    conform::expect_equal(now.hsave, was.hsave, "L1's VM_HSAVE_PA");
    conform::expect_equal(now.pat, was.pat, "L1's PAT");
    conform::expect_equal(now.star, was.star, "L1's STAR");
    conform::expect_equal(now.kernel_gs_base, was.kernel_gs_base, "L1's KernelGsBase");
}

} // namespace nestbed::svm
