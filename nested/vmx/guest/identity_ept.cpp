#include "nested/vmx/guest/identity_ept.hpp"

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/l1.hpp"

namespace nestbed::vmx {

using conform::physical;

namespace {

constexpr std::uint64_t all_access = 7;
constexpr std::uint64_t write_back = 6U << 3;
constexpr std::uint64_t large = 1U << 7;
constexpr std::uint64_t address_bits = 0x000f'ffff'ffff'f000;

std::uint64_t* make_table(std::uint64_t count = 1) {
    return static_cast<std::uint64_t*>(conform::allocate_pages(count));
}

} // namespace

IdentityEpt::IdentityEpt() : _top{make_table()}, _directories{make_table(4)} {
    auto* const third = make_table();
    _top[0] = physical(third) | all_access;
    for (std::uint64_t i = 0; i < 4; ++i)
        third[i] = physical(_directories + 512 * i) | all_access;
    for (std::uint64_t i = 0; i < 2048; ++i)
        _directories[i] = i << 21 | large | write_back | all_access;
}

std::uint64_t IdentityEpt::pointer(bool accessed_dirty) const {
    return physical(_top) | 3U << 3 | 6 | (accessed_dirty ? 1U << 6 : 0);
}

void IdentityEpt::use_in(L2&, bool accessed_dirty) const {
    write(Field::ept_pointer, pointer(accessed_dirty));
    set(Field::primary_controls, primary::activate_secondary_controls);
    set(Field::secondary_controls, secondary::enable_ept);
}

std::uint64_t& IdentityEpt::page(std::uint64_t address) const {
    auto& directory = _directories[address >> 21];
    if ((directory & large) != 0) {
        auto* const table = make_table();
        for (std::uint64_t i = 0; i < 512; ++i)
            table[i] = (address >> 21 << 21) + (i << 12) + (write_back | all_access);
        directory = physical(table) | all_access;
    }
    return guest::pointer_to<std::uint64_t>(directory & address_bits)[address >> 12 & 511];
}

std::uint64_t IdentityEpt::leaf(std::uint64_t address) const {
    const auto entry = _directories[address >> 21];
    return (entry & large) != 0 ? entry
                                : guest::pointer_to<std::uint64_t>(entry & address_bits)[address >> 12 & 511];
}

bool offers_ept() {
    constexpr std::uint64_t four_levels = 1U << 6;
    constexpr std::uint64_t write_back_type = 1U << 14;
    constexpr std::uint64_t two_mib = 1U << 16;
    const auto wanted = four_levels | write_back_type | two_mib;
    return allowed_secondary().may_set(secondary::enable_ept) && (ept_vpid_capabilities() & wanted) == wanted;
}

bool offers_accessed_dirty() {
    return offers_ept() && (ept_vpid_capabilities() >> 21 & 1) != 0;
}

void invalidate_ept() {
    constexpr std::uint64_t all_contexts = 2;
    invept(all_contexts, {0, 0});
}

} // namespace nestbed::vmx
