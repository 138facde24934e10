// EPT violations on what L2's processor reads for itself while it walks L2's paging structures, and accesses
// that go over the end of a page.
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

constexpr auto own_flags = page_bit::accessed | page_bit::dirty;

// L2's entries have all flags that its processor would set. Level 4's table has L2's own code in it too.
void set_own_flags(Window& window) {
    for (unsigned level = 1; level <= 4; ++level)
        window.own_entry(level) |= own_flags;
    for (unsigned level = 2; level <= 4; ++level)
        window.own.entry(0, level) |= own_flags;
}

struct Walk {
    std::uint64_t tried;     // of the qualification, bits 1:0
    std::uint64_t undecided; // bits that the manual leaves open
};

// The first to need the table of level 4 is the fetch of L2's first instruction, by entry 0.
bool expect_walk(Window& window, unsigned level, Walk walk, std::uint64_t allowed, const Text& what,
                 const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
    window.guest.run();
    if (!expect_equal(read(Field::exit_reason), ExitReason::ept_violation, Text{what, ": exit reason"}, file,
                      line))
        return false;
    const auto mask = ept_violation::defined & ~walk.undecided;
    const auto qualification = ept_violation::linear_valid | walk.tried | as_allowed(allowed);
    const auto entry = level == 4 ? window.own.root() : conform::physical(&window.own_entry(level));
    expect_equal(read(Field::exit_qualification) & mask, qualification & mask,
                 Text{what, ": exit qualification"}, file, line);
    expect_equal(read(Field::guest_physical_address), entry,
                 Text{what, ": guest-physical address, that of L2's entry"}, file, line);
    if (level == 4)
        return expect_equal(read(Field::guest_linear_address), read(Field::guest_rip),
                            Text{what, ": guest-linear address"}, file, line);
    return expect_equal(page_of(read(Field::guest_linear_address)), window.linear(),
                        Text{what, ": page of the guest-linear address"}, file, line);
}

constexpr Walk reads{ept_violation::read, 0};
// Of a read-modify-write bit 0 is left open. That of a walk which counts as a write has a test of its own.
constexpr Walk writes{ept_violation::write, ept_violation::read};
constexpr Walk reads_and_writes{ept_violation::read | ept_violation::write, 0};

// L2's table at `level` in a page of which EPT permits this.
template<unsigned level, std::uint64_t permissions>
void walk(Walk expected, bool accessed_dirty) {
    if (!Window::possible())
        return;
    if (permissions == ept_bit::execute && !has_execute_only())
        return conform::not_applicable("EPT has no execute-only translations");
    if (accessed_dirty && !has_ept_accessed_dirty())
        return conform::not_applicable("EPT has no accessed and dirty flags");
    Window window;
    window.ept.use_accessed_dirty(accessed_dirty);
    window.ept.use_in(window.guest);
    auto& entry = window.ept.entry(window.table_page(level), 1);
    set_own_flags(window);
    const auto before = entry;
    for (const auto access : every_access) {
        const Text what{text_of(access), " through L2's table of level ", level};
        entry = (before & ~ept_bit::all) | permissions;
        window.start(access, access == Touch::write ? 3 : 0);
        if (!expect_walk(window, level, expected, permissions, what))
            return;
        entry = before;
        window.ept.invalidate();
        window.finish(Text{what, ", then permitted"});
    }
}

template<unsigned level, std::uint64_t permissions>
void walk_goes_through() {
    if (!Window::possible())
        return;
    Window window;
    set_own_flags(window);
    auto& entry = window.ept.entry(window.table_page(level), 1);
    entry = (entry & ~ept_bit::all) | permissions;
    for (const auto access : every_access) {
        window.start(access, 0);
        window.finish(text_of(access));
    }
}

// The processor has to set the accessed flag of L2's entry, or the dirty flag, in a page that is read-only.
template<unsigned level>
void walk_sets_flag(std::uint64_t flag, Touch access) {
    if (!Window::possible())
        return;
    Window window;
    set_own_flags(window);
    auto& own = level == 4 ? window.own.entry(0, 4) : window.own_entry(level);
    own &= ~flag;
    const auto own_before = own;
    auto& entry = window.ept.entry(window.table_page(level), 1);
    const auto before = entry;
    entry &= ~ept_bit::write;
    window.start(access, 0);
    if (!expect_walk(window, level, writes, ept_bit::read | ept_bit::execute, Text{text_of(access)}))
        return;
    expect_equal(own, own_before, "L2's entry after the refused write of its flag");
    entry = before;
    window.ept.invalidate();
    window.finish("then permitted");
    expect_equal(own, own_before | flag, "L2's entry in the end");
}

} // namespace

#define WALK(level)                                                                                          \
    VMX_TEST(walk_##level##_none, "vmx.ept.walk_level" #level "_not_present",                                \
             "L2's paging structure in a page not present: a read of the walk, bit 8 clear",                 \
             "EPT Violations", .needs = "ept") {                                                             \
        walk<level, 0>(reads, false);                                                                        \
    }                                                                                                        \
    VMX_TEST(walk_##level##_execute, "vmx.ept.walk_level" #level "_execute_only",                            \
             "L2's paging structure in an execute-only page cannot be read", "EPT Violations",               \
             .needs = "ept") {                                                                               \
        walk<level, ept_bit::execute>(reads, false);                                                         \
    }                                                                                                        \
    VMX_TEST(walk_##level##_read_only, "vmx.ept.walk_level" #level "_read_only",                             \
             "A walk that sets no flag goes through a read-only page", "EPT Violations", .needs = "ept") {   \
        walk_goes_through<level, ept_bit::read | ept_bit::execute>();                                        \
    }                                                                                                        \
    VMX_TEST(walk_##level##_no_execute, "vmx.ept.walk_level" #level "_no_execute",                           \
             "X of a paging structure's page is no matter, even for a fetch", "EPT Violations",              \
             .needs = "ept") {                                                                               \
        walk_goes_through<level, ept_bit::read | ept_bit::write>();                                          \
    }                                                                                                        \
    VMX_TEST(walk_##level##_accessed, "vmx.ept.walk_level" #level "_sets_accessed",                          \
             "Setting L2's accessed flag in a read-only page is a write of the walk", "EPT Violations",      \
             .needs = "ept") {                                                                               \
        walk_sets_flag<level>(page_bit::accessed, Touch::read);                                              \
    }                                                                                                        \
    VMX_TEST(walk_##level##_ad_none, "vmx.ept.walk_level" #level "_not_present_ad",                          \
             "With accessed and dirty flags for EPT a walk that faults was a write, bit 8 clear",            \
             "Accessed and Dirty Flags for EPT", .needs = "ept,ept_ad") {                                    \
        walk<level, 0>(writes, true);                                                                        \
    }                                                                                                        \
    VMX_TEST(walk_##level##_ad_read_only, "vmx.ept.walk_level" #level "_read_only_ad",                       \
             "With accessed and dirty flags for EPT any walk is a write to EPT",                             \
             "Accessed and Dirty Flags for EPT", .needs = "ept,ept_ad") {                                    \
        walk<level, ept_bit::read | ept_bit::execute>(writes, true);                                         \
    }
WALK(1)
WALK(2)
WALK(3)
WALK(4)

VMX_TEST(walk_both_bits, "vmx.ept.walk_sets_both_access_bits",
         "With accessed and dirty flags for EPT a walk that faults sets bits 0 and 1 of the qualification",
         "Accessed and Dirty Flags for EPT", .needs = "ept,ept_ad") {
    walk<1, 0>(reads_and_writes, true);
}

VMX_TEST(walk_dirty, "vmx.ept.walk_sets_dirty",
         "Setting L2's dirty flag in a read-only page is a write of the walk", "EPT Violations",
         .needs = "ept") {
    walk_sets_flag<1>(page_bit::dirty, Touch::write);
}

VMX_TEST(walk_first, "vmx.ept.walk_before_final", "L2's paging structure faults before the page that it maps",
         "EPT Violations", .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    auto& of_table = window.ept.entry(window.table_page(1), 1);
    auto& of_page = window.ept_entry(1);
    const auto table_before = of_table;
    const auto page_before = of_page;
    of_table = of_page = 0;
    window.start(Touch::write, 0);
    window.expect_walk_violation(1, ept_violation::read, 0, Text{"both are not present"});
    of_table = table_before;
    window.ept.invalidate();
    window.expect_violation(0, "the paging structure is present");
    of_page = page_before;
    window.ept.invalidate();
    window.finish("both are present");
}

VMX_TEST(walk_guest_flags, "vmx.ept.walk_sets_guest_flags",
         "L2's own entries get their accessed and dirty flags, and L1 sees them", "Accessed and Dirty Flags",
         .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    window.start(Touch::read, 0);
    window.finish("a read");
    for (unsigned level = 1; level <= 4; ++level)
        expect_equal(window.own_entry(level) & page_bit::accessed, page_bit::accessed,
                     Text{"the accessed flag of L2's entry at level ", level});
    expect_equal(window.own_entry(1) & page_bit::dirty, 0, "the dirty flag after a read");
    window.start(Touch::write, 0);
    window.finish("a write");
    expect_equal(window.own_entry(1) & page_bit::dirty, page_bit::dirty, "the dirty flag after a write");
}

VMX_TEST(walk_cr3, "vmx.ept.walk_cr3_not_mapped",
         "A CR3 in a page that EPT does not map is an EPT violation of L2's first fetch, not of VM entry",
         "EPT-Induced VM Exits", .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    window.start(Touch::read, 0);
    const auto cr3 = window.address() + 0x10'0000'0000; // another 64 GiB up: nothing is mapped
    const auto before = read(Field::guest_cr3);
    write(Field::guest_cr3, cr3);
    window.guest.run();
    expect_ept_violation(ept_violation::linear_valid | ept_violation::read, cr3, read(Field::guest_rip),
                         "the PML4 table");
    expect_equal(read(Field::guest_cr3), cr3, "guest CR3 after the exit");
    write(Field::guest_cr3, before);
    window.finish("with a CR3 that is mapped");
}

// Accesses over the end of a page.
namespace {

struct Pair {
    std::uint64_t first; // L2's address, linear and physical: 4 KiB pages of the identity map
    std::uint64_t second;
};
Pair two_pages(Window& window) {
    const auto first = conform::physical(conform::allocate_pages(2));
    window.ept.entry(first, 1) = first | ept_bit::leaf;
    window.ept.entry(first + 4096, 1) = (first + 4096) | ept_bit::leaf;
    return {first, first + 4096};
}

// A read or write of 8 bytes, 3 of them in the first page.
void crossing(Touch access, bool first_lacks, std::uint64_t permissions) {
    if (!Window::possible())
        return;
    Window window;
    const auto pages = two_pages(window);
    const auto address = pages.second - 3;
    auto* const word = reinterpret_cast<std::uint64_t*>(address);
    *word = window_value;
    std::uint64_t seen = 0;
    auto code = [&] { seen = make_access(access, address); };
    window.guest.start(code);
    auto& entry = window.ept.entry(first_lacks ? pages.first : pages.second, 1);
    const auto before = entry;
    entry = (entry & ~ept_bit::all) | permissions;
    window.ept.invalidate();
    window.guest.run();
    // The part that is in the second page begins with that page.
    const auto faulting = first_lacks ? address : pages.second;
    if (!expect_ept_violation(final_access(access) | as_allowed(permissions), faulting, faulting,
                              "an access over the end of a page"))
        return;
    expect_equal(*word, window_value, "memory before the access is let through");
    entry = before;
    window.ept.invalidate();
    window.guest.run_to_end();
    if (access == Touch::read)
        expect_equal(seen, window_value, "what L2 read");
    else
        expect_equal(*word, written_value, "what L2 wrote");
}

} // namespace

VMX_TEST(crossing_read_first, "vmx.ept.crossing_read_first", "A read over two pages, the first not present",
         "EPT Violations", .needs = "ept") {
    crossing(Touch::read, true, 0);
}
VMX_TEST(crossing_read_second, "vmx.ept.crossing_read_second",
         "A read over two pages, the second not present", "EPT Violations", .needs = "ept") {
    crossing(Touch::read, false, 0);
}
VMX_TEST(crossing_write_first, "vmx.ept.crossing_write_first", "A write over two pages, the first read-only",
         "EPT Violations", .needs = "ept") {
    crossing(Touch::write, true, ept_bit::read | ept_bit::execute);
}
VMX_TEST(crossing_write_second, "vmx.ept.crossing_write_second",
         "A write over two pages, the second read-only, writes nothing before it faults", "EPT Violations",
         .needs = "ept") {
    crossing(Touch::write, false, ept_bit::read | ept_bit::execute);
}

VMX_TEST(crossing_fetch, "vmx.ept.crossing_fetch",
         "An instruction over two pages, the second without X: the address is that of the second page",
         "EPT Violations", .needs = "ept") {
    if (!Window::possible())
        return;
    Window window;
    const auto pages = two_pages(window);
    const auto begin = pages.second - 4;
    // MOV RAX, imm64: 48 B8 and eight bytes; then RET.
    auto* const bytes = reinterpret_cast<std::uint8_t*>(begin);
    bytes[0] = 0x48;
    bytes[1] = 0xb8;
    for (unsigned i = 0; i < 8; ++i)
        bytes[2 + i] = static_cast<std::uint8_t>(0xa0 + i);
    bytes[10] = 0xc3;
    std::uint64_t seen = 0;
    auto code = [&] { asm volatile("call *%1" : "=a"(seen) : "r"(begin) : "memory"); };
    window.guest.start(code);
    auto& entry = window.ept.entry(pages.second, 1);
    entry &= ~ept_bit::execute;
    window.ept.invalidate();
    window.guest.run();
    if (!expect_ept_violation(final_access(Touch::fetch) | as_allowed(ept_bit::read | ept_bit::write),
                              pages.second, pages.second, "the second half"))
        return;
    expect_equal(read(Field::guest_rip), begin, "RIP: the instruction's begin");
    entry |= ept_bit::execute;
    window.ept.invalidate();
    window.guest.run_to_end();
    expect_equal(seen, 0xa7a6'a5a4'a3a2'a1a0U, "what the instruction loads");
}

} // namespace nestbed::vmx
