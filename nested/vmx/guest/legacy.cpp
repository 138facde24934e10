#include "nested/vmx/guest/legacy.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/l1.hpp"

namespace nestbed::vmx {

namespace {

constexpr std::uint32_t code32 = 0xc09b;
constexpr std::uint32_t data32 = 0xc093;
constexpr std::uint64_t flat = 0xffff'ffff;
constexpr std::uint64_t cr4_pse = 1U << 4;
constexpr std::uint64_t cr4_vmxe = 1U << 13;
constexpr std::uint64_t efer_sce = 1U << 0;
constexpr std::uint64_t efer_nxe = 1U << 11;

void set_flat(std::uint64_t code, std::uint64_t stack) {
    write(Field::guest_cs_access_rights, code32);
    for (const auto field : {Field::guest_ss_access_rights, Field::guest_ds_access_rights,
                             Field::guest_es_access_rights, Field::guest_fs_access_rights})
        write(field, data32);
    for (const auto field : {Field::guest_cs_limit, Field::guest_ss_limit, Field::guest_ds_limit,
                             Field::guest_es_limit, Field::guest_fs_limit})
        write(field, flat);
    write(Field::guest_rip, code);
    write(Field::guest_rsp, stack);
}

} // namespace

void set_compatibility_mode(L2&, std::uint64_t code, std::uint64_t stack) {
    set_flat(code, stack);
}

void set_legacy_mode(L2&, std::uint64_t code, std::uint64_t stack, std::uint64_t tss) {
    set_flat(code, stack);
    auto* const directory = static_cast<std::uint32_t*>(conform::allocate_pages(1));
    for (std::uint32_t i = 0; i < 1024; ++i)
        directory[i] = i << 22 | 0x87; // present, write, user, large
    write(Field::guest_cr3, conform::physical(directory));
    write(Field::guest_cr4, cr4_pse | cr4_vmxe);
    clear(Field::entry_controls, vm_entry::ia_32e_mode_guest);
    if ((read(Field::entry_controls) & vm_entry::load_ia32_efer) != 0)
        write(Field::guest_ia32_efer, guest::rdmsr(0xc000'0080) & (efer_sce | efer_nxe));
    write(Field::guest_tr_base, tss);
    write(Field::guest_tr_limit, 0x67);
    write(Field::guest_tr_access_rights, 0x8b);
}

} // namespace nestbed::vmx
