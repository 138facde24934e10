// What VM entry checks of the guest state (SDM volume 3, "Checks on the Guest State Area"), a 64-bit guest
// unless said otherwise.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/entry_checks.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::not_applicable;
using conform::physical;

namespace {

constexpr std::uint64_t not_canonical = std::uint64_t{1} << 62;
constexpr std::uint64_t rflags_if = 1U << 9;
constexpr std::uint64_t rflags_tf = 1U << 8;
constexpr std::uint32_t unusable = 1U << 16;

bool loads(std::uint32_t control, const char* otherwise) {
    return want(Field::entry_controls, allowed_entry(), control, otherwise);
}

bool has_activity(unsigned bit, const char* otherwise) {
    if ((miscellaneous() >> bit & 1) != 0)
        return true;
    not_applicable(otherwise);
    return false;
}

} // namespace

// Control registers, debug registers and MSRs.
ENTRY_GUEST(cr0_pg_without_pe, "Guest CR0.PG without PE") {
    clear(Field::guest_cr0, 1);
}
ENTRY_GUEST(cr0_ne, "Guest CR0.NE is 0") {
    clear(Field::guest_cr0, 1U << 5);
}
ENTRY_GUEST(cr0_pg_without_unrestricted, "Guest CR0.PG is 0, not an unrestricted guest") {
    clear(Field::guest_cr0, 1U << 31);
}
ENTRY_GUEST(cr0_bit_32, "Bit 32 of guest CR0 is set") {
    set(Field::guest_cr0, std::uint64_t{1} << 32);
}
ENTRY_GUEST_GOOD(cr0_cd_nw, "CR0.CD and NW are not checked") {
    set(Field::guest_cr0, 3U << 29);
}
ENTRY_GUEST(cr4_vmxe, "Guest CR4.VMXE is 0") {
    clear(Field::guest_cr4, 1U << 13);
}
ENTRY_GUEST(cr4_reserved, "A bit of guest CR4 that may not be 1 is set") {
    const auto may_not = ~guest::rdmsr(msr::vmx_cr4_fixed1);
    set(Field::guest_cr4, may_not & -may_not);
}
ENTRY_GUEST(cr4_bit_40, "Bit 40 of guest CR4 is set") {
    set(Field::guest_cr4, std::uint64_t{1} << 40);
}
ENTRY_GUEST(cr4_pae, "Guest CR4.PAE is 0 in an IA-32e guest") {
    clear(Field::guest_cr4, 1U << 5);
}
ENTRY_GUEST(cr3_beyond, "Guest CR3 is beyond the physical width") {
    set(Field::guest_cr3, std::uint64_t{1} << physical_address_bits());
}
ENTRY_GUEST(cr3_bit_62, "Bit 62 of guest CR3 is set") {
    set(Field::guest_cr3, std::uint64_t{1} << 62);
}
ENTRY_GUEST(dr7_high, "Bit 32 of guest DR7 is set, with debug controls loaded") {
    if (loads(vm_entry::load_debug_controls, "entries do not load debug controls"))
        set(Field::guest_dr7, std::uint64_t{1} << 32);
}
ENTRY_GUEST(dr7_bit_63, "Bit 63 of guest DR7 is set, with debug controls loaded") {
    if (loads(vm_entry::load_debug_controls, "entries do not load debug controls"))
        set(Field::guest_dr7, std::uint64_t{1} << 63);
}
ENTRY_GUEST(debugctl_reserved, "A reserved bit of guest IA32_DEBUGCTL is set, with debug controls loaded") {
    if (loads(vm_entry::load_debug_controls, "entries do not load debug controls"))
        set(Field::guest_ia32_debugctl, 1U << 4);
}
ENTRY_GUEST(debugctl_high, "Bit 63 of guest IA32_DEBUGCTL is set, with debug controls loaded") {
    if (loads(vm_entry::load_debug_controls, "entries do not load debug controls"))
        set(Field::guest_ia32_debugctl, std::uint64_t{1} << 63);
}
ENTRY_GUEST(sysenter_esp, "Guest IA32_SYSENTER_ESP is not canonical") {
    write(Field::guest_ia32_sysenter_esp, not_canonical);
}
ENTRY_GUEST(sysenter_eip, "Guest IA32_SYSENTER_EIP is not canonical") {
    write(Field::guest_ia32_sysenter_eip, not_canonical);
}
ENTRY_GUEST(efer_reserved, "A reserved bit of guest IA32_EFER is set") {
    if (loads(vm_entry::load_ia32_efer, "entries do not load IA32_EFER"))
        set(Field::guest_ia32_efer, 1U << 9);
}
ENTRY_GUEST(efer_lma, "Guest IA32_EFER.LMA is 0 in an IA-32e guest") {
    if (loads(vm_entry::load_ia32_efer, "entries do not load IA32_EFER"))
        clear(Field::guest_ia32_efer, 1U << 10);
}
ENTRY_GUEST(efer_lme, "Guest IA32_EFER.LME is 0 with LMA and paging") {
    if (loads(vm_entry::load_ia32_efer, "entries do not load IA32_EFER"))
        clear(Field::guest_ia32_efer, 1U << 8);
}
ENTRY_GUEST(pat_type_2, "Guest IA32_PAT has type 2") {
    if (loads(vm_entry::load_ia32_pat, "entries do not load IA32_PAT"))
        write(Field::guest_ia32_pat, 0x0007'0406'0007'0402);
}
ENTRY_GUEST(pat_type_3, "Guest IA32_PAT has type 3") {
    if (loads(vm_entry::load_ia32_pat, "entries do not load IA32_PAT"))
        write(Field::guest_ia32_pat, 0x0307'0406'0007'0406);
}
ENTRY_GUEST(pat_reserved, "Guest IA32_PAT has a reserved bit") {
    if (loads(vm_entry::load_ia32_pat, "entries do not load IA32_PAT"))
        write(Field::guest_ia32_pat, 0x0007'0406'0007'0486);
}
ENTRY_GUEST_GOOD(pat_type_7, "Guest IA32_PAT has type 7, UC-") {
    if (loads(vm_entry::load_ia32_pat, "entries do not load IA32_PAT"))
        write(Field::guest_ia32_pat, 0x0707'0707'0707'0706);
}
ENTRY_GUEST(perf_global_ctrl, "A reserved bit of guest IA32_PERF_GLOBAL_CTRL is set") {
    if (loads(vm_entry::load_ia32_perf_global_ctrl, "entries do not load IA32_PERF_GLOBAL_CTRL"))
        write(Field::guest_ia32_perf_global_ctrl, std::uint64_t{1} << 63);
}
ENTRY_GUEST(bndcfgs, "A reserved bit of guest IA32_BNDCFGS is set") {
    if (loads(vm_entry::load_ia32_bndcfgs, "entries do not load IA32_BNDCFGS"))
        write(Field::guest_ia32_bndcfgs, 0x10);
}

// Segments.
ENTRY_GUEST(tr_ti, "The selector of guest TR has TI set") {
    set(Field::guest_tr_selector, 4);
}
ENTRY_GUEST(tr_unusable, "Guest TR is unusable") {
    set(Field::guest_tr_access_rights, unusable);
}
ENTRY_GUEST(tr_base, "Guest TR base is not canonical") {
    write(Field::guest_tr_base, not_canonical);
}
ENTRY_GUEST(tr_not_busy, "Guest TR has the type of an available TSS") {
    clear(Field::guest_tr_access_rights, 2);
}
ENTRY_GUEST(tr_type_3, "Guest TR has the type of a 16-bit TSS in an IA-32e guest") {
    write(Field::guest_tr_access_rights, 0x83);
}
ENTRY_GUEST(tr_s, "Guest TR has S set") {
    set(Field::guest_tr_access_rights, 1U << 4);
}
ENTRY_GUEST(tr_not_present, "Guest TR is not present") {
    clear(Field::guest_tr_access_rights, 1U << 7);
}
ENTRY_GUEST(tr_reserved_8, "Bit 17 of guest TR's access rights is set") {
    set(Field::guest_tr_access_rights, 1U << 17);
}
ENTRY_GUEST(tr_g_small, "Guest TR has G set with a limit below 4 KiB") {
    set(Field::guest_tr_access_rights, 1U << 15);
}
ENTRY_GUEST(tr_g_large, "Guest TR has G clear with a limit of 1 MiB") {
    write(Field::guest_tr_limit, 0x10'0067);
}
ENTRY_GUEST(ldtr_ti, "The selector of a usable guest LDTR has TI set") {
    write(Field::guest_ldtr_access_rights, 0x82);
    write(Field::guest_ldtr_selector, 0x44);
}
ENTRY_GUEST(ldtr_type, "A usable guest LDTR has another type than LDT") {
    write(Field::guest_ldtr_access_rights, 0x83);
}
ENTRY_GUEST(ldtr_s, "A usable guest LDTR has S set") {
    write(Field::guest_ldtr_access_rights, 0x92);
}
ENTRY_GUEST(ldtr_not_present, "A usable guest LDTR is not present") {
    write(Field::guest_ldtr_access_rights, 0x02);
}
ENTRY_GUEST(ldtr_base, "The base of a usable guest LDTR is not canonical") {
    write(Field::guest_ldtr_access_rights, 0x82);
    write(Field::guest_ldtr_base, not_canonical);
}
ENTRY_GUEST_GOOD(ldtr_unusable, "Nothing but the base of an unusable guest LDTR is looked at") {
    write(Field::guest_ldtr_access_rights, unusable | 0xf0ff);
    write(Field::guest_ldtr_selector, 0xffff);
}
ENTRY_GUEST(cs_unusable_rights, "Guest CS has a type that is no code") {
    write(Field::guest_cs_access_rights, 0xa093);
}
ENTRY_GUEST(cs_not_accessed, "Guest CS is not accessed") {
    clear(Field::guest_cs_access_rights, 1);
}
ENTRY_GUEST(cs_s, "Guest CS has S clear") {
    clear(Field::guest_cs_access_rights, 1U << 4);
}
ENTRY_GUEST(cs_not_present, "Guest CS is not present") {
    clear(Field::guest_cs_access_rights, 1U << 7);
}
ENTRY_GUEST(cs_l_and_d, "Guest CS has L and D set") {
    set(Field::guest_cs_access_rights, 1U << 14);
}
ENTRY_GUEST(cs_dpl_3, "Guest CS, not conforming, has DPL 3 with SS at DPL 0") {
    set(Field::guest_cs_access_rights, 3U << 5);
}
ENTRY_GUEST(cs_base_high, "Guest CS base has bit 32 set") {
    write(Field::guest_cs_base, std::uint64_t{1} << 32);
}
ENTRY_GUEST(cs_reserved, "Bit 17 of guest CS's access rights is set") {
    set(Field::guest_cs_access_rights, 1U << 17);
}
ENTRY_GUEST(cs_g, "Guest CS has G clear with a limit of 4 GiB") {
    clear(Field::guest_cs_access_rights, 1U << 15);
}
ENTRY_GUEST(cs_g_limit, "Guest CS has G set with limit bits 11:0 not all 1") {
    write(Field::guest_cs_limit, 0xffff'f000);
}
ENTRY_GUEST(ss_rpl, "The RPL of guest SS differs from that of CS, not an unrestricted guest") {
    set(Field::guest_ss_selector, 3);
}
ENTRY_GUEST(ss_dpl, "The DPL of guest SS differs from its RPL, not an unrestricted guest") {
    set(Field::guest_ss_access_rights, 3U << 5);
}
ENTRY_GUEST(ss_type, "Guest SS is not writable") {
    write(Field::guest_ss_access_rights, 0xc091);
}
ENTRY_GUEST(ss_s, "Guest SS has S clear") {
    clear(Field::guest_ss_access_rights, 1U << 4);
}
ENTRY_GUEST(ss_not_present, "Guest SS is not present") {
    clear(Field::guest_ss_access_rights, 1U << 7);
}
ENTRY_GUEST(ss_base_high, "The base of a usable guest SS has bit 32 set") {
    write(Field::guest_ss_base, std::uint64_t{1} << 32);
}
ENTRY_GUEST_GOOD(ss_unusable, "An unusable guest SS") {
    set(Field::guest_ss_access_rights, unusable);
}
#define DATA_SEGMENT(name)                                                                                   \
    ENTRY_GUEST(name##_not_accessed, "Guest " #name " is not accessed") {                                    \
        clear(Field::guest_##name##_access_rights, 1);                                                       \
    }                                                                                                        \
    ENTRY_GUEST(name##_execute_only, "Guest " #name " is code that cannot be read") {                        \
        write(Field::guest_##name##_access_rights, 0xc099);                                                  \
    }                                                                                                        \
    ENTRY_GUEST(name##_s, "Guest " #name " has S clear") {                                                   \
        clear(Field::guest_##name##_access_rights, 1U << 4);                                                 \
    }                                                                                                        \
    ENTRY_GUEST(name##_not_present, "Guest " #name " is not present") {                                      \
        clear(Field::guest_##name##_access_rights, 1U << 7);                                                 \
    }                                                                                                        \
    ENTRY_GUEST(name##_dpl_below_rpl, "Guest " #name " has a DPL below its RPL") {                           \
        set(Field::guest_##name##_selector, 3);                                                              \
    }                                                                                                        \
    ENTRY_GUEST_GOOD(name##_unusable, "An unusable guest " #name) {                                          \
        write(Field::guest_##name##_access_rights, unusable);                                                \
    }
DATA_SEGMENT(ds)
DATA_SEGMENT(es)
DATA_SEGMENT(fs)
DATA_SEGMENT(gs)
ENTRY_GUEST(ds_base_high, "The base of a usable guest DS has bit 32 set") {
    write(Field::guest_ds_base, std::uint64_t{1} << 32);
}
ENTRY_GUEST(es_base_high, "The base of a usable guest ES has bit 32 set") {
    write(Field::guest_es_base, std::uint64_t{1} << 32);
}
ENTRY_GUEST(fs_base, "Guest FS base is not canonical") {
    write(Field::guest_fs_base, not_canonical);
}
ENTRY_GUEST(gs_base, "Guest GS base is not canonical") {
    write(Field::guest_gs_base, not_canonical);
}

// Descriptor-table registers, RIP, RFLAGS.
ENTRY_GUEST(gdtr_base, "Guest GDTR base is not canonical") {
    write(Field::guest_gdtr_base, not_canonical);
}
ENTRY_GUEST(idtr_base, "Guest IDTR base is not canonical") {
    write(Field::guest_idtr_base, not_canonical);
}
ENTRY_GUEST(gdtr_limit, "Bit 16 of guest GDTR limit is set") {
    set(Field::guest_gdtr_limit, 1U << 16);
}
ENTRY_GUEST(idtr_limit, "Bit 31 of guest IDTR limit is set") {
    set(Field::guest_idtr_limit, 1U << 31);
}
ENTRY_GUEST(rip_canonical, "Guest RIP is not canonical") {
    write(Field::guest_rip, not_canonical);
}
ENTRY_GUEST(rip_high_compatibility, "Guest RIP has bit 32 set with CS.L clear") {
    write(Field::guest_cs_access_rights, 0xc09b);
    write(Field::guest_rip, std::uint64_t{1} << 32);
}
ENTRY_GUEST(rflags_bit_1, "Bit 1 of guest RFLAGS is 0") {
    clear(Field::guest_rflags, 2);
}
ENTRY_GUEST(rflags_bit_3, "Bit 3 of guest RFLAGS is 1") {
    set(Field::guest_rflags, 8);
}
ENTRY_GUEST(rflags_bit_5, "Bit 5 of guest RFLAGS is 1") {
    set(Field::guest_rflags, 0x20);
}
ENTRY_GUEST(rflags_bit_15, "Bit 15 of guest RFLAGS is 1") {
    set(Field::guest_rflags, 0x8000);
}
ENTRY_GUEST(rflags_bit_22, "Bit 22 of guest RFLAGS is 1") {
    set(Field::guest_rflags, 1U << 22);
}
ENTRY_GUEST(rflags_bit_63, "Bit 63 of guest RFLAGS is 1") {
    set(Field::guest_rflags, std::uint64_t{1} << 63);
}
ENTRY_GUEST(rflags_vm, "Guest RFLAGS.VM in an IA-32e guest") {
    set(Field::guest_rflags, 1U << 17);
}
ENTRY_GUEST(rflags_if, "Guest RFLAGS.IF is 0 where an external interrupt is injected") {
    clear(Field::guest_rflags, rflags_if);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x40));
}

// Non-register state.
ENTRY_GUEST(activity_4, "Guest activity state 4") {
    write(Field::guest_activity_state, 4);
}
ENTRY_GUEST(activity_hlt_dpl, "Guest activity state HLT with SS at DPL 3") {
    if (!has_activity(6, "no activity state HLT"))
        return;
    write(Field::guest_activity_state, 1);
    for (const auto field : {Field::guest_ss_selector, Field::guest_cs_selector})
        set(field, 3);
    for (const auto field :
         {Field::guest_ss_access_rights, Field::guest_cs_access_rights, Field::guest_ds_access_rights,
          Field::guest_es_access_rights, Field::guest_fs_access_rights, Field::guest_gs_access_rights})
        set(field, 3U << 5);
}
ENTRY_GUEST(activity_hlt_sti, "Guest activity state HLT with blocking by STI") {
    if (!has_activity(6, "no activity state HLT"))
        return;
    write(Field::guest_activity_state, 1);
    set(Field::guest_rflags, rflags_if);
    write(Field::guest_interruptibility_state, 1);
}
ENTRY_GUEST(activity_hlt_mov_ss, "Guest activity state HLT with blocking by MOV SS") {
    if (!has_activity(6, "no activity state HLT"))
        return;
    write(Field::guest_activity_state, 1);
    write(Field::guest_interruptibility_state, 2);
}
ENTRY_GUEST(activity_sipi_inject, "Guest activity state wait-for-SIPI with an injection") {
    if (!has_activity(8, "no activity state wait-for-SIPI"))
        return;
    write(Field::guest_activity_state, 3);
    write(Field::entry_interruption_information, event(EventType::nmi, 2));
}
ENTRY_GUEST(activity_shutdown_inject, "Guest activity state shutdown with an injected interrupt") {
    if (!has_activity(7, "no activity state shutdown"))
        return;
    write(Field::guest_activity_state, 2);
    set(Field::guest_rflags, rflags_if);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x40));
}
ENTRY_GUEST(blocking_reserved, "Bit 5 of the interruptibility state is set") {
    write(Field::guest_interruptibility_state, 1U << 5);
}
ENTRY_GUEST(blocking_reserved_31, "Bit 31 of the interruptibility state is set") {
    write(Field::guest_interruptibility_state, 1U << 31);
}
ENTRY_GUEST(blocking_sti_and_mov_ss, "Blocking by STI and by MOV SS at once") {
    set(Field::guest_rflags, rflags_if);
    write(Field::guest_interruptibility_state, 3);
}
ENTRY_GUEST(blocking_sti_if, "Blocking by STI with RFLAGS.IF 0") {
    clear(Field::guest_rflags, rflags_if);
    write(Field::guest_interruptibility_state, 1);
}
ENTRY_GUEST(blocking_sti_interrupt, "Blocking by STI with an injected external interrupt") {
    set(Field::guest_rflags, rflags_if);
    write(Field::guest_interruptibility_state, 1);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x40));
}
ENTRY_GUEST(blocking_mov_ss_interrupt, "Blocking by MOV SS with an injected external interrupt") {
    set(Field::guest_rflags, rflags_if);
    write(Field::guest_interruptibility_state, 2);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x40));
}
ENTRY_GUEST(blocking_mov_ss_nmi, "Blocking by MOV SS with an injected NMI") {
    write(Field::guest_interruptibility_state, 2);
    write(Field::entry_interruption_information, event(EventType::nmi, 2));
}
ENTRY_GUEST(blocking_smi, "Blocking by SMI outside SMM") {
    write(Field::guest_interruptibility_state, 4);
}
ENTRY_GUEST(blocking_nmi_inject, "Blocking by NMI with an injected NMI and virtual NMIs") {
    if (!allowed_pin_based().may_set(pin_based::virtual_nmis | pin_based::nmi_exiting))
        return not_applicable("no virtual NMIs");
    set(Field::pin_based_controls, pin_based::virtual_nmis | pin_based::nmi_exiting);
    write(Field::guest_interruptibility_state, 8);
    write(Field::entry_interruption_information, event(EventType::nmi, 2));
}
ENTRY_GUEST(pending_reserved, "Bit 4 of the pending debug exceptions is set") {
    write(Field::guest_pending_debug_exceptions, 1U << 4);
}
ENTRY_GUEST(pending_reserved_63, "Bit 63 of the pending debug exceptions is set") {
    write(Field::guest_pending_debug_exceptions, std::uint64_t{1} << 63);
}
ENTRY_GUEST(pending_bs_missing, "Blocking by MOV SS with TF set and no pending single step") {
    set(Field::guest_rflags, rflags_tf);
    write(Field::guest_interruptibility_state, 2);
    write(Field::guest_pending_debug_exceptions, 0);
}
ENTRY_GUEST(pending_bs_extra, "Blocking by MOV SS with TF clear and a pending single step") {
    clear(Field::guest_rflags, rflags_tf);
    write(Field::guest_interruptibility_state, 2);
    write(Field::guest_pending_debug_exceptions, 1U << 14);
}
ENTRY_GUEST_LINK(link_misaligned, "The VMCS link pointer is misaligned") {
    write(Field::vmcs_link_pointer, physical(make_region()) + 0x10);
}
ENTRY_GUEST_LINK(link_beyond, "The VMCS link pointer is beyond the physical width") {
    write(Field::vmcs_link_pointer, physical(make_region()) | std::uint64_t{1} << physical_address_bits());
}
ENTRY_GUEST_LINK(link_revision, "The VMCS link pointer leads to another revision identifier") {
    auto* const region = static_cast<std::uint32_t*>(make_region());
    *region ^= 1;
    write(Field::vmcs_link_pointer, physical(region));
}

} // namespace nestbed::vmx
