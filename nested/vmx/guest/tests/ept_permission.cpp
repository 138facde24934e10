// What the bits of an EPT entry permit, at each level and page size, to L2 in ring 0 and ring 3, and the exit
// qualification where they do not.
#include "core/guest/guard.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

void one_access(Window& window, unsigned level, std::uint64_t permissions, Touch access, unsigned ring) {
    const Text what{text_of(access), " in ring ", ring};
    auto& entry = window.ept_entry(level);
    const auto before = entry;
    entry = (entry & ~ept_bit::all) | permissions;
    window.start(access, ring);
    if (permits(permissions, access)) {
        window.finish(what);
    } else {
        if (!window.expect_violation(permissions, what))
            return;
        entry = before;
        window.ept.invalidate();
        window.finish(Text{what, ", then permitted"});
    }
    entry = before;
}

template<PageSize leaf, unsigned level, std::uint64_t permissions>
void permission() {
    if (!Window::possible(leaf))
        return;
    if (permissions == ept_bit::execute && !has_execute_only())
        return conform::not_applicable("EPT has no execute-only translations");
    Window window{leaf};
    for (const auto ring : every_ring)
        for (const auto access : every_access)
            one_access(window, level, permissions, access, ring);
}

} // namespace

#define PERMISSION(leaf, leaf_name, level, name, bits, title)                                                \
    VMX_CASE(permission_##leaf##_##level##_##bits, "vmx.ept.permission_" leaf_name "_level" #level "_" name, \
             title, "EPT Violations", (&permission<PageSize::leaf, level, bits>), .needs = "ept")
#define PERMISSIONS(leaf, leaf_name, level)                                                                  \
    PERMISSION(leaf, leaf_name, level, "none", 0, "An EPT entry that is not present stops every access")     \
    PERMISSION(leaf, leaf_name, level, "r", 1, "An EPT entry with R alone stops writes and fetches")         \
    PERMISSION(leaf, leaf_name, level, "rw", 3, "An EPT entry without X stops fetches and no others")        \
    PERMISSION(leaf, leaf_name, level, "x", 4, "An execute-only EPT entry stops reads and writes")           \
    PERMISSION(leaf, leaf_name, level, "rx", 5, "An EPT entry without W stops writes and no others")         \
    PERMISSION(leaf, leaf_name, level, "rwx", 7, "An EPT entry with R, W and X stops nothing")

PERMISSIONS(k4, "4k", 1)
PERMISSIONS(k4, "4k", 2)
PERMISSIONS(k4, "4k", 3)
PERMISSIONS(k4, "4k", 4)
PERMISSIONS(m2, "2m", 2)
PERMISSIONS(m2, "2m", 3)
PERMISSIONS(m2, "2m", 4)
PERMISSIONS(g1, "1g", 3)
PERMISSIONS(g1, "1g", 4)

namespace {

// At two levels: what is left is what both permit, and so says the qualification.
template<unsigned upper, std::uint64_t above, std::uint64_t below>
void mix() {
    if (!Window::possible())
        return;
    Window window;
    auto& entry = window.ept_entry(1);
    auto& entry_above = window.ept_entry(upper);
    entry = (entry & ~ept_bit::all) | below;
    entry_above = (entry_above & ~ept_bit::all) | above;
    for (const auto ring : every_ring)
        for (const auto access : every_access) {
            const Text what{text_of(access), " in ring ", ring};
            window.start(access, ring);
            if (permits(above & below, access))
                window.finish(what);
            else
                window.expect_violation(above & below, what);
        }
}

} // namespace

#define MIX(name, upper, above, below)                                                                       \
    VMX_CASE(permission_mix_##upper##_##above##_##below, "vmx.ept.permission_mix_" name,                     \
             "Two levels permit what both of them do, and bits 5:3 are the AND of both", "EPT Violations",   \
             (&mix<upper, above, below>), .needs = "ept")
MIX("level4_r_level1_rwx", 4, 1, 7)
MIX("level3_rx_level1_rw", 3, 5, 3)
MIX("level2_rw_level1_rx", 2, 3, 5)
MIX("level4_rw_level1_r", 4, 3, 1)
MIX("level3_rwx_level1_rx", 3, 7, 5)
MIX("level2_rwx_level1_none", 2, 7, 0)

// L2's own paging structures are judged first, and its own #PF has nothing of EPT in it.
namespace {

void guest_fault(bool ept_forbids, std::uint64_t own_without, std::uint64_t own_with, Touch access,
                 unsigned ring, std::uint64_t error_code) {
    if (!Window::possible())
        return;
    Window window;
    auto& own = window.own_entry(1);
    own = (own & ~own_without) | own_with;
    if (ept_forbids)
        window.ept_entry(1) = 0;
    window.guest.intercept_exception(14);
    window.start(access, ring);
    if (!window.guest.run_to(ExitReason::exception_or_nmi, "L2's own paging structures forbid the access"))
        return;
    expect_equal(read(Field::exit_interruption_information),
                 event_with_error_code(EventType::hardware_exception, 14),
                 "VM-exit interruption information");
    expect_equal(read(Field::exit_interruption_error_code), error_code, "the #PF's error code");
    expect_equal(read(Field::exit_qualification), window.linear() + Window::offset(access),
                 "exit qualification: the #PF's address");
    expect_equal(read(Field::idt_vectoring_information) >> 31, 0U, "IDT-vectoring information, valid");
}

} // namespace

#define GUEST_FAULT(name, title, ...)                                                                        \
    VMX_TEST(guest_fault_##name, "vmx.ept.guest_fault_" #name, title,                                        \
             "Information for VM Exits Due to Vectored Events", .needs = "ept") {                            \
        guest_fault(__VA_ARGS__);                                                                            \
    }
GUEST_FAULT(not_present, "L2's entry that is not present is L2's #PF, before EPT is looked at", true,
            page_bit::present, 0, Touch::read, 0, 0)
GUEST_FAULT(read_only, "A write that L2's entries forbid is L2's #PF where EPT permits it", false,
            page_bit::write, 0, Touch::write, 0, 3)
GUEST_FAULT(read_only_first, "A write that L2's entries forbid is L2's #PF where EPT forbids it too", true,
            page_bit::write, 0, Touch::write, 0, 3)
GUEST_FAULT(supervisor, "Ring 3 on L2's supervisor page is L2's #PF", false, page_bit::user, 0, Touch::read,
            3, 5)
GUEST_FAULT(supervisor_first, "Ring 3's fetch of L2's supervisor page is L2's #PF where EPT forbids it too",
            true, page_bit::user, 0, Touch::fetch, 3, 0x15)
GUEST_FAULT(execute_disable, "A fetch that L2's entries forbid is L2's #PF", false, 0,
            page_bit::execute_disable, Touch::fetch, 0, 0x11)
VMX_TEST(guest_fault_reserved, "vmx.ept.guest_fault_reserved",
         "An address beyond MAXPHYADDR in L2's entry is L2's #PF with RSVD, no EPT violation",
         "Information for VM Exits Due to Vectored Events", .needs = "ept") {
    if (physical_address_bits() >= 52)
        return conform::not_applicable("no address bit is reserved");
    guest_fault(false, 0, std::uint64_t{1} << 51, Touch::read, 0, 9);
}

VMX_TEST(guest_wp_off, "vmx.ept.guest_wp_off_does_not_write",
         "CR0.WP=0 in L2 cannot make a page writable that EPT has read-only", "EPT Violations",
         .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    clear(Field::guest_cr0, 1U << 16);
    window.own_entry(1) &= ~page_bit::write; // L2's own bit is what WP=0 overrides
    window.start(Touch::write, 0);
    window.finish("EPT permits it");
    window.ept_entry(1) &= ~ept_bit::write;
    window.start(Touch::write, 0);
    window.expect_violation(ept_bit::read | ept_bit::execute, "EPT forbids it");
}

VMX_TEST(guest_supervisor_page, "vmx.ept.guest_supervisor_page",
         "EPT knows no rings: L2's supervisor page is judged like any other", "EPT Violations",
         .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    window.own_entry(1) &= ~page_bit::user;
    for (const auto access : every_access) {
        auto& entry = window.ept_entry(1);
        entry |= ept_bit::all;
        window.start(access, 0);
        window.finish(text_of(access));
        const auto permissions = access == Touch::read    ? 0
                                 : access == Touch::write ? ept_bit::read | ept_bit::execute
                                                          : ept_bit::read | ept_bit::write;
        entry = (entry & ~ept_bit::all) | permissions;
        window.start(access, 0);
        window.expect_violation(permissions, Text{text_of(access), " that EPT forbids"});
    }
}

VMX_TEST(guest_nxe_off, "vmx.ept.guest_nxe_off_no_execute",
         "L2 with IA32_EFER.NXE=0 does not execute a page that EPT forbids to", "EPT Violations",
         .needs = "ept") {
    if (!Window::possible())
        return;
    if (!allowed_entry().may_set(vm_entry::load_ia32_efer))
        return conform::not_applicable("entries do not load IA32_EFER");
    Window window;
    clear(Field::guest_ia32_efer, 1U << 11);
    window.start(Touch::fetch, 0);
    window.finish("a page that may be executed");
    window.ept_entry(1) &= ~ept_bit::execute;
    window.start(Touch::fetch, 0);
    window.expect_violation(ept_bit::read | ept_bit::write, "a page without X");
}

VMX_TEST(permission_ignored, "vmx.ept.permission_ignored_bits",
         "Bits of EPT entries that are ignored change nothing", "The Extended Page Table Mechanism",
         .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    // Bits 11 and 62:61 of all, bits 8 and 9 without accessed and dirty flags, and bit 7 of a page table's.
    constexpr std::uint64_t of_all = std::uint64_t{3} << 61 | 1U << 11 | ept_bit::accessed | ept_bit::dirty;
    std::uint64_t before[5]{};
    for (unsigned level = 1; level <= 4; ++level) {
        auto& entry = window.ept_entry(level);
        entry |= of_all | (level == 1 ? ept_bit::large | ept_bit::ignore_pat : 0);
        before[level] = entry;
    }
    for (const auto access : every_access) {
        window.start(access, 0);
        window.finish(text_of(access));
    }
    for (unsigned level = 1; level <= 4; ++level)
        expect_equal(window.ept_entry(level), before[level], Text{"the entry at level ", level, " after it"});
}

} // namespace nestbed::vmx
