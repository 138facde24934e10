// What each bit of a nested entry permits, at each level and page size, to L2 in ring 0 and ring 3.
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/window.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

enum class Lack { present, write, user, execute };

void take(std::uint64_t& entry, Lack lack) {
    switch (lack) {
    case Lack::present:
        entry &= ~npt_bit::present;
        return;
    case Lack::write:
        entry &= ~npt_bit::write;
        return;
    case Lack::user:
        entry &= ~npt_bit::user;
        return;
    case Lack::execute:
        entry |= npt_bit::no_execute;
        return;
    }
}

// L2's accesses are all user accesses at the nested level, so that a page without the user bit lets none
// through, whatever L2's ring (15.25.5).
bool permitted(Access access, Lack lack) {
    switch (lack) {
    case Lack::write:
        return access != Access::write;
    case Lack::execute:
        return access != Access::fetch;
    default:
        return false;
    }
}

void one_access(Window& window, unsigned level, Lack lack, Access access, unsigned ring) {
    const Text what{text_of(access), " in ring ", ring};
    auto& entry = window.nested_entry(level);
    const auto before = entry;
    take(entry, lack);
    window.start(access, ring);
    if (permitted(access, lack)) {
        window.finish(what);
    } else {
        const auto why = lack == Lack::present ? 0 : npf::present;
        if (!window.expect_fault(final_fault(access, why), window.target(access), what))
            return;
        entry = before;
        flush_all(window.guest);
        window.finish(Text{what, ", then permitted"});
    }
    entry = before;
}

template<PageSize leaf, unsigned level, Lack lack>
void permission() {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    for (const auto ring : every_ring)
        for (const auto access : every_access)
            one_access(window, level, lack, access, ring);
}

} // namespace

#define PERMISSION(leaf, leaf_name, level)                                                                   \
    SVM_CASE(permission_##leaf##_##level##_present,                                                          \
             "svm.npt.permission_" leaf_name "_level" #level "_not_present",                                 \
             "A nested entry that is not present stops every access", "15.25.6",                             \
             (&permission<PageSize::leaf, level, Lack::present>), .needs = "npt")                            \
    SVM_CASE(permission_##leaf##_##level##_write,                                                            \
             "svm.npt.permission_" leaf_name "_level" #level "_read_only",                                   \
             "A nested entry without W stops writes and no others", "15.25.5",                               \
             (&permission<PageSize::leaf, level, Lack::write>), .needs = "npt")                              \
    SVM_CASE(permission_##leaf##_##level##_user,                                                             \
             "svm.npt.permission_" leaf_name "_level" #level "_supervisor",                                  \
             "A nested entry without U stops every access, of L2's ring 0 too", "15.25.5",                   \
             (&permission<PageSize::leaf, level, Lack::user>), .needs = "npt")                               \
    SVM_CASE(permission_##leaf##_##level##_execute,                                                          \
             "svm.npt.permission_" leaf_name "_level" #level "_no_execute",                                  \
             "A nested entry with NX stops fetches and no others", "15.25.5",                                \
             (&permission<PageSize::leaf, level, Lack::execute>), .needs = "npt")

PERMISSION(k4, "4k", 1)
PERMISSION(k4, "4k", 2)
PERMISSION(k4, "4k", 3)
PERMISSION(k4, "4k", 4)
PERMISSION(m2, "2m", 2)
PERMISSION(m2, "2m", 3)
PERMISSION(m2, "2m", 4)
PERMISSION(g1, "1g", 3)
PERMISSION(g1, "1g", 4)

namespace {

// A combination of W, U and NX in the entry, against every access: what is left is the least of all.
template<bool can_write, bool can_execute>
void mix() {
    if (!Window::possible())
        return;
    Window window;
    auto& entry = window.nested_entry(1);
    if (!can_write)
        entry &= ~npt_bit::write;
    // At another level, so that levels are combined.
    if (!can_execute)
        window.nested_entry(3) |= npt_bit::no_execute;
    for (const auto ring : every_ring)
        for (const auto access : every_access) {
            const Text what{text_of(access), " in ring ", ring};
            window.start(access, ring);
            if ((access == Access::write && !can_write) || (access == Access::fetch && !can_execute))
                window.expect_fault(final_fault(access, npf::present), window.target(access), what);
            else
                window.finish(what);
        }
}

} // namespace

SVM_CASE(permission_mix_all, "svm.npt.permission_mix_write_execute", "Everything is permitted", "15.25.5",
         (&mix<true, true>), .needs = "npt")
SVM_CASE(permission_mix_write, "svm.npt.permission_mix_write_no_execute", "Writes but no fetches", "15.25.5",
         (&mix<true, false>), .needs = "npt")
SVM_CASE(permission_mix_execute, "svm.npt.permission_mix_read_only_execute", "Fetches but no writes",
         "15.25.5", (&mix<false, true>), .needs = "npt")
SVM_CASE(permission_mix_none, "svm.npt.permission_mix_read_only_no_execute", "Neither writes nor fetches",
         "15.25.5", (&mix<false, false>), .needs = "npt")

// The guest's level is judged first, and its own #PF has nothing of the nested tables in it (15.25.6).
namespace {

// L2's own entry forbids the access while the nested one does not, or does so too: a #PF either way.
template<bool nested_forbids>
void guest_fault(std::uint64_t own_without, std::uint64_t own_with, Access access, unsigned ring,
                 std::uint64_t error_code) {
    if (!Window::possible())
        return;
    Window window;
    auto& own = window.own_entry(1);
    own = (own & ~own_without) | own_with;
    if (nested_forbids)
        window.nested_entry(1) = 0;
    window.guest.intercept_exception(14);
    window.start(access, ring);
    window.guest.run_to(exception_exit(14), "L2's own page tables forbid the access");
    expect_equal(window.guest.control().exit_info_1, error_code, "the #PF's error code");
    expect_equal(window.guest.control().exit_info_2, window.target(access), "the #PF's address");
}

} // namespace

SVM_TEST(guest_fault_not_present, "svm.npt.guest_fault_not_present",
         "A guest entry that is not present is L2's #PF, before the nested page is looked at", "15.25.6",
         .needs = "npt") {
    guest_fault<true>(npt_bit::present, 0, Access::read, 0, 0);
}
SVM_TEST(guest_fault_write, "svm.npt.guest_fault_read_only",
         "A write that L2's tables forbid is L2's #PF where the nested page permits it", "15.25.6",
         .needs = "npt") {
    guest_fault<false>(npt_bit::write, 0, Access::write, 0, 3);
}
SVM_TEST(guest_fault_write_both, "svm.npt.guest_fault_read_only_first",
         "A write that L2's tables forbid is L2's #PF where the nested page is not present", "15.25.6",
         .needs = "npt") {
    guest_fault<true>(npt_bit::write, 0, Access::write, 0, 3);
}
SVM_TEST(guest_fault_user, "svm.npt.guest_fault_supervisor",
         "Ring 3 on a guest's supervisor page is L2's #PF", "15.25.5", .needs = "npt") {
    guest_fault<false>(npt_bit::user, 0, Access::read, 3, 5);
}
SVM_TEST(guest_fault_fetch, "svm.npt.guest_fault_no_execute", "A fetch that L2's tables forbid is L2's #PF",
         "15.25.5", .needs = "npt") {
    guest_fault<false>(0, npt_bit::no_execute, Access::fetch, 0, 0x11);
}
SVM_TEST(guest_fault_reserved, "svm.npt.guest_fault_reserved",
         "An address above MAXPHYADDR in L2's entry is L2's #PF, not a nested one", "15.25.6",
         .needs = "npt") {
    if (physical_address_bits() >= 52)
        return conform::not_applicable("no address bit is reserved");
    guest_fault<false>(0, std::uint64_t{1} << 51, Access::read, 0, 9);
}

SVM_TEST(guest_wp_off, "svm.npt.guest_wp_off_does_not_write",
         "CR0.WP=0 in L2 cannot make a nested read-only page writable", "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.guest.save().cr0 &= ~(std::uint64_t{1} << 16);
    window.own_entry(1) &= ~npt_bit::write; // the guest's own bit is what WP=0 overrides
    window.start(Access::write, 0);
    window.finish("the nested page permits it");
    window.nested_entry(1) &= ~npt_bit::write;
    window.start(Access::write, 0);
    window.expect_fault(final_fault(Access::write, npf::present), window.target(Access::write),
                        "the nested page forbids it");
}

SVM_TEST(guest_supervisor_page, "svm.npt.guest_supervisor_page",
         "L2's ring 0 on its own supervisor page is a user access at the nested level", "15.25.6",
         .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.own_entry(1) &= ~npt_bit::user;
    for (const auto access : every_access) {
        window.nested_entry(1) = window.page() | 7;
        window.start(access, 0);
        window.finish(text_of(access));
        window.nested_entry(1) &= ~npt_bit::user;
        window.start(access, 0);
        window.expect_fault(final_fault(access, npf::present), window.target(access),
                            Text{text_of(access), " of a page without the nested user bit"});
    }
}

SVM_TEST(guest_nxe_off, "svm.npt.guest_nxe_off_nested_no_execute",
         "L2 with EFER.NXE=0 does not execute nested no-execute pages", "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.guest.save().efer &= ~std::uint64_t{1 << 11};
    window.start(Access::fetch, 0);
    window.finish("a page that may be executed");
    window.nested_entry(1) |= npt_bit::no_execute;
    window.start(Access::fetch, 0);
    window.expect_fault(final_fault(Access::fetch, npf::present), window.address(), "a nested NX page");
}

} // namespace nestbed::svm
