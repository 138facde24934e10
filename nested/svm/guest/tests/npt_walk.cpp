// Nested page faults on what L2's processor reads for itself: page tables, descriptors, the stack of an
// event.
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/window.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

// The page of L2's table at `level` on its way to the window. That of level 4 is what all of L2 uses.
std::uint64_t table_page(Window& window, unsigned level) {
    return conform::physical(&window.own_entry(level)) & ~std::uint64_t{0xfff};
}

// EXITINFO2 is the address of the faulting access. That it has the entry's offset in the page, or none, is
// left open: the APM says no more than "the faulting guest physical address".
void expect_walk_fault(Window& window, std::uint64_t why, std::uint64_t entry, const Text& what) {
    auto& control = window.guest.control();
    const auto page = entry & ~std::uint64_t{0xfff};
    if (window.guest.run_to(ExitCode::npf, what)) {
        expect_equal(control.exit_info_1, walk_fault(why), Text{what, ": EXITINFO1"});
        expect(control.exit_info_2 == entry || control.exit_info_2 == page,
               Text{what, ": EXITINFO2 is the guest's page table entry, ", conform::Hex{entry}, ", not ",
                    conform::Hex{control.exit_info_2}});
    }
}

enum class Wrong { not_present, read_only, supervisor, reserved };

template<unsigned level, Wrong wrong>
void walk() {
    if (!Window::possible())
        return;
    Window window;
    const auto table = table_page(window, level);
    auto& nested = window.nested.entry(table, wrong == Wrong::reserved ? 2 : 1);
    // At level 4 the first that needs the table is the fetch of L2's first instruction, entry 0.
    const auto entry = level == 4 ? table : conform::physical(&window.own_entry(level));
    const auto before = nested;
    std::uint64_t why = npf::present;
    switch (wrong) {
    case Wrong::not_present:
        nested &= ~npt_bit::present;
        why = 0;
        break;
    case Wrong::read_only:
        nested &= ~npt_bit::write;
        break;
    case Wrong::supervisor:
        nested &= ~npt_bit::user;
        break;
    case Wrong::reserved:
        nested |= 1U << 13; // of a 2 MiB page
        why |= npf::reserved;
        break;
    }
    if (wrong == Wrong::reserved) {
        // All that L2 is made of lies in that 2 MiB page, so that its first walk is what faults: its PML4.
        window.start(Access::read, 0);
        expect_walk_fault(window, why, table_page(window, 4), Text{"L2's first walk"});
        nested = before;
        flush_all(window.guest);
        window.finish("and cleared again");
        return;
    }
    for (const auto access : every_access) {
        const Text what{text_of(access), " through L2's table of level ", level};
        const auto faulty = nested;
        window.start(access, access == Access::write ? 3 : 0);
        expect_walk_fault(window, why, entry, what);
        nested = before;
        flush_all(window.guest);
        window.finish(Text{what, ", then permitted"});
        nested = faulty;
    }
}

template<unsigned level>
void walk_no_execute() {
    if (!Window::possible())
        return;
    Window window;
    window.nested.entry(table_page(window, level), 1) |= npt_bit::no_execute;
    window.start(Access::fetch, 0);
    window.finish("a fetch through a table that is nested no-execute");
}

} // namespace

#define WALK(level)                                                                                          \
    SVM_CASE(walk_##level##_present, "svm.npt.walk_level" #level "_not_present",                             \
             "L2's page table in a page that is not present: a user write of the walk", "15.25.6",           \
             (&walk<level, Wrong::not_present>), .needs = "npt")                                             \
    SVM_CASE(walk_##level##_write, "svm.npt.walk_level" #level "_read_only",                                 \
             "L2's page table in a read-only page faults whatever L2 does", "15.25.5",                       \
             (&walk<level, Wrong::read_only>), .needs = "npt")                                               \
    SVM_CASE(walk_##level##_user, "svm.npt.walk_level" #level "_supervisor",                                 \
             "L2's page table in a page without the user bit faults", "15.25.5",                             \
             (&walk<level, Wrong::supervisor>), .needs = "npt")                                              \
    SVM_CASE(walk_##level##_execute, "svm.npt.walk_level" #level "_no_execute",                              \
             "NX of a page table's page is no matter, even for a fetch", "15.25.6",                          \
             (&walk_no_execute<level>), .needs = "npt")
WALK(1)
WALK(2)
WALK(3)
WALK(4)
SVM_CASE(walk_reserved, "svm.npt.walk_reserved",
         "A reserved bit on the way to L2's page tables: RSV of the walk", "15.25.6",
         (&walk<4, Wrong::reserved>), .needs = "npt")

SVM_TEST(walk_first, "svm.npt.walk_before_final", "The guest's table faults before the page that it maps",
         "15.25.6", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    const auto table = table_page(window, 1);
    auto& of_table = window.nested.entry(table, 1);
    of_table = 0;
    window.nested_entry(1) = 0;
    window.start(Access::write, 0);
    expect_walk_fault(window, 0, conform::physical(&window.own_entry(1)), Text{"both are not present"});
    of_table = table | 7;
    flush_all(window.guest);
    window.expect_fault(final_fault(Access::write, 0), window.target(Access::write), "the table is present");
    window.nested_entry(1) = window.page() | 7;
    flush_all(window.guest);
    window.finish("both are present");
}

SVM_TEST(walk_guest_accessed, "svm.npt.walk_sets_guest_bits",
         "L2's own entries get their accessed and dirty bits, and L1 sees them", "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    constexpr auto both = npt_bit::accessed | npt_bit::dirty;
    for (unsigned level = 1; level <= 4; ++level)
        window.own_entry(level) &= ~both;
    window.start(Access::read, 0);
    window.finish("a read");
    for (unsigned level = 1; level <= 4; ++level)
        expect_equal(window.own_entry(level) & npt_bit::accessed, npt_bit::accessed,
                     Text{"A of L2's entry at level ", level, " after a read"});
    expect_equal(window.own_entry(1) & npt_bit::dirty, 0, "D of L2's entry after a read");
    window.start(Access::write, 0);
    window.finish("a write");
    expect_equal(window.own_entry(1) & npt_bit::dirty, npt_bit::dirty, "D of L2's entry after a write");
}

// Delivery of an event in L2 reads its IDT and GDT and writes its stack. L1 finds the event in EXITINTINFO
// (15.7.2), mends the page, injects it again, and L2's handler runs once.
namespace {

enum class Table { idt, gdt, tss, stack };

std::uint64_t* words_at(std::uint64_t address) {
    return reinterpret_cast<std::uint64_t*>(address);
}

// How L2 comes by the event.
enum class Source { undefined_opcode, injected };

void delivery(Table which, Source source) {
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    auto& context = guest.context();
    auto& save = guest.save();
    context.resume |= 1U << 6;
    const auto fresh = conform::physical(conform::allocate_pages(1));
    const auto page_of = [&](const void* pointer) {
        conform::copy_page(words_at(fresh), words_at(conform::physical(pointer) & ~std::uint64_t{0xfff}));
        return fresh + (conform::physical(pointer) & 0xfff);
    };
    constexpr std::uint8_t vector = 0x51;
    const auto taken = source == Source::injected ? vector : 6;
    switch (which) {
    case Table::idt:
        save.idtr.base = page_of(context.idt);
        break;
    case Table::gdt:
        save.gdtr.base = page_of(context.gdt);
        break;
    case Table::tss:
        save.tr.base = page_of(context.tss);
        break;
    case Table::stack:
        break;
    }
    // By the interrupt stack table, so that only the delivery touches the TSS and this stack (8.9.4): IST1.
    auto* const gate = words_at(conform::physical(context.idt) + std::uint64_t{16} * taken);
    if (which == Table::tss || which == Table::stack) {
        *gate |= std::uint64_t{1} << 32;
        *words_at(save.tr.base + 0x24) =
            which == Table::stack ? fresh + 4096 : conform::physical(context.user_stack) + 4096;
    }
    std::uint64_t went_on = 0;
    auto code = [&] {
        if (source == Source::undefined_opcode)
            asm volatile("ud2");
        went_on = 1;
    };
    guest.start(code);
    if (source == Source::injected)
        guest.control().event_inj = event(EventType::interrupt, vector);
    auto& nested = window.nested.entry(fresh, 1);
    nested = 0;
    flush_all(guest);
    if (!guest.run_to(ExitCode::npf, "the delivery meets a page that is not present"))
        return;
    const auto& control = guest.control();
    const auto info1 = npf::final | npf::user | (which == Table::stack ? npf::write : 0);
    expect_equal(control.exit_info_1, info1, "EXITINFO1");
    expect_equal(control.exit_info_2 & ~std::uint64_t{0xfff}, fresh, "the page of EXITINFO2");
    const auto expected_event =
        source == Source::injected ? event(EventType::interrupt, vector) : event(EventType::exception, 6);
    expect_equal(control.exit_int_info & 0xffff'ffff, expected_event, "EXITINTINFO");
    expect_equal(control.event_inj & event_valid, 0, "EVENTINJ.V after the exit");
    expect_equal(context.delivered, 0U, "events that L2 has seen so far");
    nested = fresh | 7;
    flush_all(guest);
    guest.control().event_inj = control.exit_int_info;
    guest.intercept(Intercept::iret);
    if (!guest.run_to(ExitCode::iret, "L2's handler comes to its IRET"))
        return;
    expect_equal(context.delivered, 1U, "events that L2 has seen");
    expect_equal(context.last.vector, taken, "the vector");
    if (which == Table::stack)
        expect_equal(guest.save().rsp & ~std::uint64_t{0xfff}, fresh, "the page of RSP in the handler");
    guest.intercept(Intercept::iret, false);
    if (source == Source::undefined_opcode)
        *words_at(guest.save().rsp) += 2; // past the UD2
    guest.run_to_end();
    expect_equal(went_on, 1U, "L2 goes on after the event");
    expect_equal(context.delivered, 1U, "events that L2 has seen at its end");
}

} // namespace

#define DELIVERY(table, title)                                                                               \
    SVM_TEST(delivery_##table##_exception, "svm.npt.delivery_exception_" #table,                             \
             "An exception of L2's meets " title " that is not present", "15.7.2", .needs = "npt") {         \
        delivery(Table::table, Source::undefined_opcode);                                                    \
    }                                                                                                        \
    SVM_TEST(delivery_##table##_injected, "svm.npt.delivery_injected_" #table,                               \
             "An interrupt that L1 injects meets " title " that is not present", "15.7.2", .needs = "npt") { \
        delivery(Table::table, Source::injected);                                                            \
    }
DELIVERY(idt, "an IDT")
DELIVERY(gdt, "a GDT")
DELIVERY(tss, "a TSS")
DELIVERY(stack, "a stack")

// Accesses over the end of a page.
namespace {

struct Pair {
    std::uint64_t first; // L2's address, virtual and physical: 4 KiB pages of the identity map
    std::uint64_t second;
};
Pair two_pages(Window& window) {
    const auto first = conform::physical(conform::allocate_pages(2));
    window.nested.entry(first, 1) = first | 7;
    window.nested.entry(first + 4096, 1) = (first + 4096) | 7;
    return {first, first + 4096};
}

// A read or write of 8 bytes, 3 of them in the first page.
void crossing(Access access, bool first_lacks, bool read_only) {
    if (!Window::possible())
        return;
    Window window;
    const auto pages = two_pages(window);
    const auto address = pages.second - 3;
    auto* const word = words_at(address);
    *word = window_value;
    std::uint64_t seen = 0;
    auto code = [&] { seen = make_access(access, address); };
    window.guest.start(code);
    const auto faulting = first_lacks ? pages.first : pages.second;
    auto& nested = window.nested.entry(faulting, 1);
    nested = read_only ? faulting | 5 : 0;
    flush_all(window.guest);
    // The part that is in the second page begins with that page.
    if (!expect_npf((window.guest.run(), window.guest), final_fault(access, read_only ? npf::present : 0),
                    first_lacks ? address : pages.second, "an access over the end of a page"))
        return;
    expect_equal(*word, window_value, "memory before the access is let through");
    nested = faulting | 7;
    flush_all(window.guest);
    window.guest.run_to_end();
    if (access == Access::read)
        expect_equal(seen, window_value, "what L2 read");
    else
        expect_equal(*word, written_value, "what L2 wrote");
}

} // namespace

SVM_TEST(crossing_read_first, "svm.npt.crossing_read_first", "A read over two pages, the first not present",
         "15.25.6", .needs = "npt") {
    crossing(Access::read, true, false);
}
SVM_TEST(crossing_read_second, "svm.npt.crossing_read_second",
         "A read over two pages, the second not present", "15.25.6", .needs = "npt") {
    crossing(Access::read, false, false);
}
SVM_TEST(crossing_write_first, "svm.npt.crossing_write_first", "A write over two pages, the first read-only",
         "15.25.6", .needs = "npt") {
    crossing(Access::write, true, true);
}
SVM_TEST(crossing_write_second, "svm.npt.crossing_write_second",
         "A write over two pages, the second read-only, writes nothing before it faults", "15.25.6",
         .needs = "npt") {
    crossing(Access::write, false, true);
}

SVM_TEST(crossing_fetch, "svm.npt.crossing_fetch",
         "An instruction over two pages, the second no-execute: EXITINFO2 is the second page", "15.25.6",
         .needs = "npt") {
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
    auto& nested = window.nested.entry(pages.second, 1);
    nested |= npt_bit::no_execute;
    flush_all(window.guest);
    window.guest.run();
    if (!expect_npf(window.guest, final_fault(Access::fetch, npf::present), pages.second, "the second half"))
        return;
    expect_equal(window.guest.save().rip, begin, "RIP: the instruction's begin");
    nested &= ~npt_bit::no_execute;
    flush_all(window.guest);
    window.guest.run_to_end();
    expect_equal(seen, 0xa7a6'a5a4'a3a2'a1a0U, "what the instruction loads");
}

} // namespace nestbed::svm
