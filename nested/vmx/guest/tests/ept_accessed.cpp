// Accessed and dirty flags of EPT entries.
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

constexpr auto both = ept_bit::accessed | ept_bit::dirty;

bool possible(PageSize leaf) {
    if (!Window::possible(leaf))
        return false;
    if (has_ept_accessed_dirty())
        return true;
    conform::not_applicable("EPT has no accessed and dirty flags");
    return false;
}

void turn_on(Window& window, bool on = true) {
    window.ept.use_accessed_dirty(on);
    window.ept.use_in(window.guest);
}

template<PageSize leaf, Touch access>
void sets_flags() {
    if (!possible(leaf))
        return;
    Window window{leaf};
    turn_on(window);
    constexpr auto last = static_cast<unsigned>(leaf);
    std::uint64_t before[5]{};
    for (const auto ring : every_ring) {
        for (unsigned level = last; level <= 4; ++level) {
            auto& entry = window.ept_entry(level);
            entry = (entry & ~both) | 0x800; // with a bit of software's that must stay
            before[level] = entry;
        }
        window.start(access, ring);
        if (!window.finish(text_of(access)))
            return;
        for (unsigned level = last; level <= 4; ++level) {
            const auto seen = window.ept_entry(level);
            const auto dirty = level == last && access == Touch::write ? ept_bit::dirty : 0;
            // Bit 9 of an entry that maps no page is ignored, and no promise is made.
            const auto judged = level == last ? ~std::uint64_t{0} : ~ept_bit::dirty;
            expect_equal(seen & judged, before[level] | ept_bit::accessed | dirty,
                         Text{"the entry at level ", level, " after an access of ring ", ring});
        }
    }
}

template<PageSize leaf, Touch access>
void leaves_flags() {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    constexpr auto last = static_cast<unsigned>(leaf);
    for (const auto flags : {std::uint64_t{0}, both}) {
        for (unsigned level = last; level <= 4; ++level) {
            auto& entry = window.ept_entry(level);
            entry = (entry & ~both) | flags;
        }
        window.start(access, 0);
        if (!window.finish(text_of(access)))
            return;
        for (unsigned level = last; level <= 4; ++level)
            expect_equal(window.ept_entry(level) & both, flags, Text{"the flags at level ", level});
    }
}

} // namespace

#define FLAGS(leaf, leaf_name, access, name)                                                                 \
    VMX_CASE(accessed_##leaf##_##access, "vmx.ept.accessed_" leaf_name "_" name,                             \
             "An access sets the accessed flag at every level, a write the dirty flag at the last",          \
             "Accessed and Dirty Flags for EPT", (&sets_flags<PageSize::leaf, Touch::access>),               \
             .needs = "ept,ept_ad")                                                                          \
    VMX_CASE(accessed_off_##leaf##_##access, "vmx.ept.accessed_off_" leaf_name "_" name,                     \
             "Where EPTP bit 6 is 0 no flag is set and none is looked at",                                   \
             "Accessed and Dirty Flags for EPT", (&leaves_flags<PageSize::leaf, Touch::access>),             \
             .needs = "ept")
FLAGS(k4, "4k", read, "read")
FLAGS(k4, "4k", write, "write")
FLAGS(k4, "4k", fetch, "fetch")
FLAGS(m2, "2m", read, "read")
FLAGS(m2, "2m", write, "write")
FLAGS(m2, "2m", fetch, "fetch")
FLAGS(g1, "1g", read, "read")
FLAGS(g1, "1g", write, "write")
FLAGS(g1, "1g", fetch, "fetch")

namespace {

// First read, then written in the same run: the write must not go by the translation that was made clean.
template<PageSize leaf>
void read_then_write() {
    if (!possible(leaf))
        return;
    Window window{leaf};
    turn_on(window);
    auto& guest = window.guest;
    auto& entry = window.ept_entry(static_cast<unsigned>(leaf));
    entry &= ~both;
    const auto address = window.linear() + window_data;
    auto code = [&] {
        make_access(Touch::read, address);
        conform::l2_hypercall(1);
        make_access(Touch::write, address);
    };
    guest.start(code);
    if (!guest.run_to(ExitReason::vmcall, "after the read"))
        return;
    expect_equal(entry & both, ept_bit::accessed, "the flags after the read");
    guest.skip();
    guest.run_to_end();
    expect_equal(entry & both, both, "the flags after the write");
    expect_equal(window.word(), written_value, "what L2 wrote");
}

// L1 clears the flags, with INVEPT: they are set again.
template<PageSize leaf>
void cleared_again() {
    if (!possible(leaf))
        return;
    Window window{leaf};
    turn_on(window);
    auto& entry = window.ept_entry(static_cast<unsigned>(leaf));
    for (unsigned round = 0; round < 3; ++round) {
        entry &= ~both;
        window.start(Touch::write, 0);
        window.finish("a write");
        expect_equal(entry & both, both, Text{"the flags after the write of round ", round});
        entry &= ~both;
        window.start(Touch::read, 0);
        window.finish("a read");
        expect_equal(entry & both, ept_bit::accessed, Text{"the flags after the read of round ", round});
    }
}

} // namespace

#define LATER(leaf, leaf_name)                                                                               \
    VMX_CASE(accessed_##leaf##_later, "vmx.ept.accessed_" leaf_name "_read_then_write",                      \
             "A write after a read of the same page sets the dirty flag",                                    \
             "Accessed and Dirty Flags for EPT", &read_then_write<PageSize::leaf>, .needs = "ept,ept_ad")    \
    VMX_CASE(accessed_##leaf##_again, "vmx.ept.accessed_" leaf_name "_cleared_again",                        \
             "Flags that L1 clears are set again after INVEPT", "Accessed and Dirty Flags for EPT",          \
             &cleared_again<PageSize::leaf>, .needs = "ept,ept_ad")
LATER(k4, "4k")
LATER(m2, "2m")
LATER(g1, "1g")

VMX_TEST(accessed_refused, "vmx.ept.accessed_refused_write",
         "A write that EPT refuses leaves the dirty flag clear", "Accessed and Dirty Flags for EPT",
         .needs = "ept,ept_ad") {
    if (!possible(PageSize::k4))
        return;
    Window window;
    turn_on(window);
    window.ept_entry(1) &= ~ept_bit::write;
    window.start(Touch::write, 0);
    window.expect_violation(ept_bit::read | ept_bit::execute, "a read-only page");
    expect_equal(window.ept_entry(1) & ept_bit::dirty, 0, "the dirty flag after the refused write");
}

VMX_TEST(accessed_read_modify_write, "vmx.ept.accessed_locked_add",
         "A locked ADD is a write: bit 1 of the qualification, and the dirty flag",
         "Accessed and Dirty Flags for EPT", .needs = "ept,ept_ad") {
    if (!possible(PageSize::k4))
        return;
    Window window;
    turn_on(window);
    const auto address = window.linear() + window_data;
    window.ept_entry(1) &= ~ept_bit::write;
    auto code = [&] { asm volatile("lock addq $1, (%0)" : : "r"(address) : "memory"); };
    window.guest.start(code);
    if (!window.guest.run_to(ExitReason::ept_violation, "a read-only page"))
        return;
    // Whether bit 0 is set too is left open for a read-modify-write.
    expect_equal(read(Field::exit_qualification) & ept_violation::defined & ~ept_violation::read,
                 final_access(Touch::write) | as_allowed(ept_bit::read | ept_bit::execute),
                 "exit qualification");
    expect_equal(read(Field::guest_physical_address), window.address() + window_data,
                 "guest-physical address");
    expect_equal(window.word(), window_value, "memory after the refused addition");
    window.ept_entry(1) |= ept_bit::write;
    window.ept.invalidate();
    window.guest.run_to_end();
    expect_equal(window.word(), window_value + 1, "memory after the addition");
    expect_equal(window.ept_entry(1) & both, both, "the flags after the addition");
}

VMX_TEST(accessed_walk, "vmx.ept.accessed_paging_structures",
         "Pages of L2's paging structures get both flags, since each walk counts as a write",
         "Accessed and Dirty Flags for EPT", .needs = "ept,ept_ad") {
    if (!possible(PageSize::k4))
        return;
    Window window;
    turn_on(window);
    std::uint64_t tables[5]{};
    for (unsigned level = 1; level <= 4; ++level) {
        tables[level] = window.table_page(level);
        window.ept.entry(tables[level], 1) &= ~both;
        // L2's own flags are there already: nothing is left to be written but what the rule asks for.
        window.own_entry(level) |= page_bit::accessed | page_bit::dirty;
    }
    window.start(Touch::read, 0);
    window.finish("a read");
    for (unsigned level = 1; level <= 4; ++level)
        expect_equal(window.ept.entry(tables[level], 1) & both, both,
                     Text{"the flags of the page of L2's table of level ", level});
}

VMX_TEST(accessed_neighbour, "vmx.ept.accessed_neighbour_stays_clean",
         "A write sets the dirty flag of its own entry, not of the next", "Accessed and Dirty Flags for EPT",
         .needs = "ept,ept_ad") {
    if (!possible(PageSize::k4))
        return;
    Window window;
    turn_on(window);
    const auto pages = conform::physical(conform::allocate_pages(3));
    for (std::uint64_t i = 0; i < 3; ++i)
        window.ept.entry(pages + i * 4096, 1) = (pages + i * 4096) | ept_bit::leaf;
    auto code = [&] { make_access(Touch::write, pages + 4096); };
    window.guest.start(code);
    window.ept.invalidate();
    window.guest.run_to_end();
    expect_equal(window.ept.entry(pages + 4096, 1) & both, both, "the flags of the page");
    // The accessed flag may be set ahead of need, the dirty flag never is.
    expect_equal(window.ept.entry(pages, 1) & ept_bit::dirty, 0, "the dirty flag of the page before");
    expect_equal(window.ept.entry(pages + 8192, 1) & ept_bit::dirty, 0, "the dirty flag of the page after");
}

VMX_TEST(accessed_crossing, "vmx.ept.accessed_crossing_write",
         "A write over two pages sets the dirty flag of both", "Accessed and Dirty Flags for EPT",
         .needs = "ept,ept_ad") {
    if (!possible(PageSize::k4))
        return;
    Window window;
    turn_on(window);
    const auto first = conform::physical(conform::allocate_pages(2));
    for (std::uint64_t i = 0; i < 2; ++i)
        window.ept.entry(first + i * 4096, 1) = (first + i * 4096) | ept_bit::leaf;
    auto code = [&] { make_access(Touch::write, first + 4096 - 3); };
    window.guest.start(code);
    window.ept.invalidate();
    window.guest.run_to_end();
    expect_equal(window.ept.entry(first, 1) & both, both, "the flags of the first page");
    expect_equal(window.ept.entry(first + 4096, 1) & both, both, "the flags of the second page");
    expect_equal(word_at(first + 4096 - 3), written_value, "what was written");
}

VMX_TEST(accessed_toggled, "vmx.ept.accessed_turned_on_and_off",
         "EPTP bit 6 counts at each entry: one set of tables with flags and without",
         "Accessed and Dirty Flags for EPT", .needs = "ept,ept_ad") {
    if (!possible(PageSize::k4))
        return;
    Window window;
    auto& entry = window.ept_entry(1);
    for (unsigned round = 0; round < 4; ++round) {
        turn_on(window, round % 2 == 0);
        entry &= ~both;
        window.start(Touch::write, 0);
        window.finish(Text{"round ", round});
        expect_equal(entry & both, round % 2 == 0 ? both : 0, Text{"the flags after round ", round});
    }
}

VMX_TEST(accessed_injected, "vmx.ept.accessed_by_delivery",
         "Delivery of an event sets the flags of the pages of IDT and stack",
         "Accessed and Dirty Flags for EPT", .needs = "ept,ept_ad") {
    if (!possible(PageSize::k4))
        return;
    Window window;
    turn_on(window);
    auto& context = window.guest.context();
    const auto idt = conform::physical(context.idt);
    auto* const gate = reinterpret_cast<std::uint64_t*>(idt + 16 * 0x51);
    *gate |= std::uint64_t{1} << 32; // IST1: a stack that nothing else uses
    const auto stack = conform::physical(conform::allocate_pages(1));
    *reinterpret_cast<std::uint64_t*>(context.tss + 0x24) = stack + 4096;
    for (const auto page : {idt, stack})
        window.ept.entry(page, 1) &= ~both;
    auto code = [] {};
    window.guest.start(code);
    set(Field::guest_rflags, 1U << 9);
    write(Field::entry_interruption_information, event(EventType::external_interrupt, 0x51));
    window.ept.invalidate();
    window.guest.run_to_end();
    expect_equal(context.interrupts[0x51], 1U, "interrupts that L2 has seen");
    expect_equal(window.ept.entry(idt, 1) & both, ept_bit::accessed, "the flags of the IDT's page");
    expect_equal(window.ept.entry(stack, 1) & both, both, "the flags of the stack's page");
}

} // namespace nestbed::vmx
