#include "nested/vmx/guest/modes.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/l1.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

namespace {

constexpr std::uint64_t cr0_pe = 1U << 0;
constexpr std::uint64_t cr0_pg = 1U << 31;
constexpr std::uint64_t cr4_pse = 1U << 4;
constexpr std::uint64_t cr4_pae = 1U << 5;
constexpr std::uint64_t efer_long_mode = 1U << 8 | 1U << 10; // LME, LMA
constexpr std::uint64_t entry_bits = 7;                      // present, write, user
constexpr std::uint64_t large = 1U << 7;
constexpr std::uint64_t four_gib = std::uint64_t{4} << 30;
constexpr std::uint64_t rflags_vm = 1U << 17;
constexpr std::uint32_t busy_tss32 = 0x008b;
constexpr std::uint32_t flat = 0xffff'ffff;

struct SegmentFields {
    Field selector, limit, rights, base;
};
constexpr SegmentFields cs{Field::guest_cs_selector, Field::guest_cs_limit, Field::guest_cs_access_rights,
                           Field::guest_cs_base};
constexpr SegmentFields ss{Field::guest_ss_selector, Field::guest_ss_limit, Field::guest_ss_access_rights,
                           Field::guest_ss_base};
constexpr SegmentFields others[]{
    {Field::guest_ds_selector, Field::guest_ds_limit, Field::guest_ds_access_rights, Field::guest_ds_base},
    {Field::guest_es_selector, Field::guest_es_limit, Field::guest_es_access_rights, Field::guest_es_base},
    {Field::guest_fs_selector, Field::guest_fs_limit, Field::guest_fs_access_rights, Field::guest_fs_base},
    {Field::guest_gs_selector, Field::guest_gs_limit, Field::guest_gs_access_rights, Field::guest_gs_base}};

void write_segment(const SegmentFields& fields, std::uint64_t selector, std::uint64_t base,
                   std::uint32_t limit, std::uint32_t rights) {
    write(fields.selector, selector);
    write(fields.base, base);
    write(fields.limit, limit);
    write(fields.rights, rights);
}

void flat_segments(std::uint32_t code_rights) {
    constexpr std::uint32_t data_rights = 0xc093;
    using nestbed::wire::kernel_data_selector;
    write_segment(cs, nestbed::wire::kernel_code_selector, 0, flat, code_rights);
    write_segment(ss, kernel_data_selector, 0, flat, data_rights);
    for (const auto& fields : others)
        write_segment(fields, kernel_data_selector, 0, flat, data_rights);
}

// 64 KiB, from selector * 16 on.
void small_segments(std::uint64_t code, std::uint64_t stack, std::uint32_t code_rights,
                    std::uint32_t data_rights) {
    write_segment(cs, code >> 4 & 0xffff, code, 0xffff, code_rights);
    write_segment(ss, stack >> 4 & 0xffff, stack, 0xffff, data_rights);
    for (const auto& fields : others)
        write_segment(fields, 0, 0, 0xffff, data_rights);
}

void leave_ia_32e_mode() {
    clear(Field::entry_controls, vm_entry::ia_32e_mode_guest);
    if (allowed_entry().may_set(vm_entry::load_ia32_efer))
        clear(Field::guest_ia32_efer, efer_long_mode);
    write(Field::guest_tr_access_rights, busy_tss32);
}

// CR4 without the features that need IA-32e mode or 64-bit tables; VMXE has to stay.
std::uint64_t plain_cr4() {
    return guest::rdmsr(msr::vmx_cr4_fixed0);
}
std::uint64_t plain_cr0() {
    return guest::rdmsr(msr::vmx_cr0_fixed0);
}

void begin_at(std::uint64_t code, std::uint64_t stack) {
    write(Field::guest_rip, code);
    write(Field::guest_rsp, stack);
    write(Field::guest_rflags, 2);
}

void be_unrestricted() {
    set(Field::primary_controls, primary::activate_secondary_controls);
    set(Field::secondary_controls, secondary::unrestricted_guest);
}

std::uint64_t* page() {
    return static_cast<std::uint64_t*>(conform::allocate_pages(1));
}

std::uint64_t two_level_tables() {
    auto* const directory = reinterpret_cast<std::uint32_t*>(page());
    for (std::uint32_t i = 0; i < 1024; ++i)
        directory[i] = i << 22 | entry_bits | large;
    return conform::physical(directory);
}

} // namespace

bool has_unrestricted_guest() {
    if (allowed_secondary().may_set(secondary::unrestricted_guest))
        return true;
    conform::not_applicable("KVM does not offer unrestricted guests");
    return false;
}

void set_real_mode(L2& /*guest*/, std::uint64_t code, std::uint64_t stack) {
    leave_ia_32e_mode();
    be_unrestricted();
    small_segments(code, stack, 0x9b, 0x93);
    // The code lies above 1 MiB, so no selector is right. Bochs refuses one whose RPL is not CS.DPL, which
    // the SDM asks of no guest (volume 3, "Checks on Guest Segment Registers").
    clear(Field::guest_cs_selector, 3);
    write(Field::guest_idtr_limit, 0x3ff);
    write(Field::guest_idtr_base, 0);
    write(Field::guest_cr0, plain_cr0() & ~(cr0_pe | cr0_pg));
    write(Field::guest_cr3, 0);
    write(Field::guest_cr4, plain_cr4());
    begin_at(0, 0x1000);
}

void set_protected_mode(L2& /*guest*/, std::uint64_t code, std::uint64_t stack) {
    leave_ia_32e_mode();
    be_unrestricted();
    flat_segments(0xc09b);
    write(Field::guest_cr0, (plain_cr0() | cr0_pe) & ~cr0_pg);
    write(Field::guest_cr3, 0);
    write(Field::guest_cr4, plain_cr4());
    begin_at(code, stack);
}

void set_pae_mode(L2& /*guest*/, std::uint64_t code, std::uint64_t stack) {
    leave_ia_32e_mode();
    flat_segments(0xc09b);
    auto* const pointers = page();
    for (std::uint64_t at = 0; at < four_gib; at += std::uint64_t{1} << 30) {
        auto* const directory = page();
        for (std::uint64_t i = 0; i < 512; ++i)
            directory[i] = (at + (i << 21)) | entry_bits | large;
        pointers[at >> 30] = conform::physical(directory) | 1; // no write or user bit at this level
    }
    if (allowed_secondary().may_set(secondary::enable_ept)) {
        write(Field::guest_pdpte0, pointers[0]);
        write(Field::guest_pdpte1, pointers[1]);
        write(Field::guest_pdpte2, pointers[2]);
        write(Field::guest_pdpte3, pointers[3]);
    }
    write(Field::guest_cr0, plain_cr0() | cr0_pe | cr0_pg);
    write(Field::guest_cr3, conform::physical(pointers));
    write(Field::guest_cr4, plain_cr4() | cr4_pae);
    begin_at(code, stack);
}

void set_legacy_paging_mode(L2& /*guest*/, std::uint64_t code, std::uint64_t stack) {
    leave_ia_32e_mode();
    flat_segments(0xc09b);
    write(Field::guest_cr0, plain_cr0() | cr0_pe | cr0_pg);
    write(Field::guest_cr3, two_level_tables());
    write(Field::guest_cr4, plain_cr4() | cr4_pse);
    begin_at(code, stack);
}

void set_compatibility_mode(L2& /*guest*/, std::uint64_t code, std::uint64_t stack) {
    flat_segments(0xc09b);
    begin_at(code, stack);
}

void set_virtual_8086_mode(L2& /*guest*/, std::uint64_t code, std::uint64_t stack) {
    leave_ia_32e_mode();
    small_segments(code, stack, 0xf3, 0xf3);
    write(Field::guest_cr0, plain_cr0() | cr0_pe | cr0_pg);
    write(Field::guest_cr3, two_level_tables());
    write(Field::guest_cr4, plain_cr4() | cr4_pse);
    begin_at(0, 0x1000);
    write(Field::guest_rflags, rflags_vm | 2);
}

} // namespace nestbed::vmx
