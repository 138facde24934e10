#include "nested/vmx/guest/ept.hpp"

#include "nested/guest/check.hpp"
#include "nested/vmx/guest/l1.hpp"
#include "nested/vmx/guest/l2.hpp"

namespace nestbed::vmx {

namespace {
bool capable(std::uint64_t bits) {
    return (ept_vpid_capabilities() & bits) == bits;
}
} // namespace

bool has_ept() {
    return allowed_secondary().may_set(secondary::enable_ept);
}
bool has_page_size(PageSize size) {
    switch (size) {
    case PageSize::k4:
        return true;
    case PageSize::m2:
        return capable(ept_capability::pages_2_mib);
    default:
        return capable(ept_capability::pages_1_gib);
    }
}
bool has_execute_only() {
    return capable(ept_capability::execute_only);
}
bool has_ept_accessed_dirty() {
    return capable(ept_capability::accessed_dirty);
}
bool has_invept(unsigned type) {
    return (type == 1 || type == 2) &&
           capable(ept_capability::invept | ept_capability::invept_single_context << (type - 1));
}
bool has_invvpid(unsigned type) {
    return type <= 3 && capable(ept_capability::invvpid | ept_capability::invvpid_individual_address << type);
}

ExtendedPageTables::ExtendedPageTables(PageSize size) : FourLevelTables{size, ept_bit::all, ept_bit::leaf} {}

PageSize ExtendedPageTables::usual_size() {
    return has_page_size(PageSize::m2) ? PageSize::m2 : PageSize::k4;
}

std::uint64_t ExtendedPageTables::pointer() const {
    // The type of the tables' own memory: uncacheable, 0, where write-back is not offered.
    return root() | eptp_bit::walk_length_4 |
           (capable(ept_capability::write_back) ? eptp_bit::write_back : 0) |
           (_accessed_dirty ? eptp_bit::accessed_dirty : 0);
}

void ExtendedPageTables::use_in(L2& /*guest*/) const {
    set(Field::primary_controls, primary::activate_secondary_controls);
    set(Field::secondary_controls, secondary::enable_ept);
    write(Field::ept_pointer, pointer());
}

void ExtendedPageTables::invalidate() const {
    const unsigned type = has_invept(1) ? 1 : 2;
    if (has_invept(type))
        conform::expect_equal(invept(type, {type == 1 ? pointer() : 0, 0}), Outcome::succeed, "INVEPT");
}

void stop_using_ept() {
    clear(Field::secondary_controls, secondary::enable_ept | secondary::unrestricted_guest);
}

} // namespace nestbed::vmx
