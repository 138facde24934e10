// What VM entry checks of the host state (SDM volume 3, "Checks on Host Control Registers, MSRs, and SSP",
// "Checks on Host Segment and Descriptor-Table Registers", "Checks Related to Address-Space Size").
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/entry_checks.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::not_applicable;

namespace {
constexpr std::uint64_t not_canonical = std::uint64_t{1} << 62;
constexpr std::uint64_t cr4_pae = 1U << 5;
constexpr std::uint64_t cr4_pcide = 1U << 17;

bool loads(std::uint32_t control, const char* otherwise) {
    return want(Field::exit_controls, allowed_exit(), control, otherwise);
}
} // namespace

ENTRY_HOST(cr0_pe, "Host CR0.PE is 0") {
    clear(Field::host_cr0, 1);
}
ENTRY_HOST(cr0_ne, "Host CR0.NE is 0") {
    clear(Field::host_cr0, 1U << 5);
}
ENTRY_HOST(cr0_pg, "Host CR0.PG is 0") {
    clear(Field::host_cr0, 1U << 31);
}
ENTRY_HOST(cr0_high, "A bit of host CR0 above 31 is set") {
    set(Field::host_cr0, std::uint64_t{1} << 32);
}
ENTRY_HOST(cr4_vmxe, "Host CR4.VMXE is 0") {
    clear(Field::host_cr4, 1U << 13);
}
ENTRY_HOST(cr4_pae, "Host CR4.PAE is 0 for a 64-bit host") {
    clear(Field::host_cr4, cr4_pae);
}
ENTRY_HOST(cr4_reserved, "A bit of host CR4 that may not be 1 is set") {
    const auto may_not = ~guest::rdmsr(msr::vmx_cr4_fixed1);
    set(Field::host_cr4, may_not & -may_not);
}
ENTRY_HOST(cr4_high, "A bit of host CR4 above 31 is set") {
    set(Field::host_cr4, std::uint64_t{1} << 40);
}
ENTRY_HOST(cr3_beyond, "Host CR3 is beyond the physical width") {
    set(Field::host_cr3, std::uint64_t{1} << physical_address_bits());
}
ENTRY_HOST(cr3_bit_62, "Bit 62 of host CR3 is set") {
    set(Field::host_cr3, std::uint64_t{1} << 62);
}
ENTRY_HOST(sysenter_esp, "Host IA32_SYSENTER_ESP is not canonical") {
    write(Field::host_ia32_sysenter_esp, not_canonical);
}
ENTRY_HOST(sysenter_eip, "Host IA32_SYSENTER_EIP is not canonical") {
    write(Field::host_ia32_sysenter_eip, not_canonical);
}
ENTRY_HOST(fs_base, "Host FS base is not canonical") {
    write(Field::host_fs_base, not_canonical);
}
ENTRY_HOST(gs_base, "Host GS base is not canonical") {
    write(Field::host_gs_base, not_canonical);
}
ENTRY_HOST(tr_base, "Host TR base is not canonical") {
    write(Field::host_tr_base, not_canonical);
}
ENTRY_HOST(gdtr_base, "Host GDTR base is not canonical") {
    write(Field::host_gdtr_base, not_canonical);
}
ENTRY_HOST(idtr_base, "Host IDTR base is not canonical") {
    write(Field::host_idtr_base, not_canonical);
}
ENTRY_HOST(rip, "Host RIP is not canonical") {
    write(Field::host_rip, not_canonical);
}

#define HOST_SELECTOR(name, field)                                                                           \
    ENTRY_HOST(name##_rpl_1, "Bit 0 of the selector's RPL is set in host " #name) {                          \
        set(field, 1);                                                                                       \
    }                                                                                                        \
    ENTRY_HOST(name##_rpl_2, "Bit 1 of the selector's RPL is set in host " #name) {                          \
        set(field, 2);                                                                                       \
    }                                                                                                        \
    ENTRY_HOST(name##_ti, "The selector's TI is set in host " #name) {                                       \
        set(field, 4);                                                                                       \
    }
HOST_SELECTOR(cs, Field::host_cs_selector)
HOST_SELECTOR(ss, Field::host_ss_selector)
HOST_SELECTOR(ds, Field::host_ds_selector)
HOST_SELECTOR(es, Field::host_es_selector)
HOST_SELECTOR(fs, Field::host_fs_selector)
HOST_SELECTOR(gs, Field::host_gs_selector)
HOST_SELECTOR(tr, Field::host_tr_selector)
ENTRY_HOST(cs_null, "Host CS is the null selector") {
    write(Field::host_cs_selector, 0);
}
ENTRY_HOST(tr_null, "Host TR is the null selector") {
    write(Field::host_tr_selector, 0);
}

ENTRY_HOST(efer_reserved, "A reserved bit of host IA32_EFER is set") {
    if (loads(vm_exit::load_ia32_efer, "exits do not load IA32_EFER"))
        set(Field::host_ia32_efer, 1U << 9);
}
ENTRY_HOST(efer_lma, "Host IA32_EFER.LMA is 0 for a 64-bit host") {
    if (loads(vm_exit::load_ia32_efer, "exits do not load IA32_EFER"))
        clear(Field::host_ia32_efer, 1U << 10);
}
ENTRY_HOST(efer_lme, "Host IA32_EFER.LME is 0 for a 64-bit host") {
    if (loads(vm_exit::load_ia32_efer, "exits do not load IA32_EFER"))
        clear(Field::host_ia32_efer, 1U << 8);
}
ENTRY_HOST_GOOD(efer_not_loaded, "Host IA32_EFER is not looked at where exits do not load it") {
    if ((allowed_exit().zero & vm_exit::load_ia32_efer) != 0)
        return not_applicable("exits always load IA32_EFER");
    if (allowed_exit().may_set(vm_exit::load_ia32_efer))
        write(Field::host_ia32_efer, ~std::uint64_t{0});
    clear(Field::exit_controls, vm_exit::load_ia32_efer);
}
#define HOST_PAT(name, value)                                                                                \
    ENTRY_HOST(pat_##name, "Host IA32_PAT has " #value) {                                                    \
        if (loads(vm_exit::load_ia32_pat, "exits do not load IA32_PAT"))                                     \
            write(Field::host_ia32_pat, value);                                                              \
    }
HOST_PAT(entry_0_type_2, 0x0007'0406'0007'0402)
HOST_PAT(entry_0_type_3, 0x0007'0406'0007'0403)
HOST_PAT(entry_7_type_8, 0x0807'0406'0007'0406)
HOST_PAT(entry_3_reserved_bits, 0x0007'0406'1007'0406)
ENTRY_HOST(perf_global_ctrl, "A reserved bit of host IA32_PERF_GLOBAL_CTRL is set") {
    if (loads(vm_exit::load_ia32_perf_global_ctrl, "exits do not load IA32_PERF_GLOBAL_CTRL"))
        write(Field::host_ia32_perf_global_ctrl, std::uint64_t{1} << 63);
}
ENTRY_HOST(address_space, "A host that is to have 32-bit mode, on a processor in IA-32e mode") {
    if (!allowed_exit().may_clear(vm_exit::host_address_space_size))
        return not_applicable("hosts are always of 64 bits");
    clear(Field::exit_controls, vm_exit::host_address_space_size);
}

} // namespace nestbed::vmx
