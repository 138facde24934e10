#include "nested/vmx/guest/virtual_apic.hpp"

#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/l1.hpp"

namespace nestbed::vmx {

namespace {
constexpr std::uint8_t pattern = 0x5a;
}

bool offers_apic(std::uint32_t primary_controls, std::uint32_t secondary_controls) {
    if (allowed_primary().may_set(primary_controls | primary::use_tpr_shadow) &&
        allowed_secondary().may_set(secondary_controls))
        return true;
    conform::not_applicable("KVM does not offer this part of APIC virtualization");
    return false;
}

VirtualApic::VirtualApic(std::uint32_t secondary_controls)
    : _page{static_cast<std::uint32_t*>(conform::allocate_pages(1))}, _access{static_cast<std::uint8_t*>(
                                                                          conform::allocate_pages(1))} {
    for (unsigned i = 0; i < 4096; ++i)
        _access[i] = pattern;
    write(Field::virtual_apic_address, conform::physical(_page));
    write(Field::apic_access_address, conform::physical(_access));
    write(Field::tpr_threshold, 0);
    for (const auto field : {Field::eoi_exit_bitmap_0, Field::eoi_exit_bitmap_1, Field::eoi_exit_bitmap_2,
                             Field::eoi_exit_bitmap_3, Field::guest_interrupt_status})
        if ((secondary_controls & secondary::virtual_interrupt_delivery) != 0)
            write(field, 0);
    clear(Field::primary_controls, primary::cr8_load_exiting | primary::cr8_store_exiting);
    set(Field::primary_controls, primary::use_tpr_shadow);
    set(Field::secondary_controls, secondary_controls);
}

bool VirtualApic::is_set(Apic first, std::uint8_t vector) const {
    return (at(static_cast<std::uint32_t>(first) + vector / 32 * 16) >> vector % 32 & 1) != 0;
}

void VirtualApic::set_vector(Apic first, std::uint8_t vector, bool on) const {
    auto& word = at(static_cast<std::uint32_t>(first) + vector / 32 * 16);
    word = on ? word | 1U << vector % 32 : word & ~(1U << vector % 32);
}

std::uint64_t VirtualApic::access_page() const {
    return conform::physical(_access);
}

bool VirtualApic::access_page_untouched() const {
    for (unsigned i = 0; i < 4096; ++i)
        if (_access[i] != pattern)
            return false;
    return true;
}

void VirtualApic::request(std::uint8_t vector) const {
    set_vector(Apic::request, vector);
    const auto status = read(Field::guest_interrupt_status);
    write(Field::guest_interrupt_status, (status & 0xff00) | vector);
}

} // namespace nestbed::vmx
