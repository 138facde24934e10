// Accessed and dirty bits of nested entries (APM volume 2, 15.25.5 and 5.4.2).
#include "core/guest/cpu.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/window.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

constexpr auto both = npt_bit::accessed | npt_bit::dirty;

template<PageSize leaf, Access access>
void sets_bits() {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    constexpr auto last = static_cast<unsigned>(leaf);
    std::uint64_t before[5]{};
    for (unsigned level = last; level <= 4; ++level) {
        auto& entry = window.nested_entry(level);
        entry = (entry & ~both) | 0xa00; // with bits of software's that must stay
        before[level] = entry;
    }
    window.start(access, 0);
    if (!window.finish(text_of(access)))
        return;
    for (unsigned level = last; level <= 4; ++level) {
        const auto seen = window.nested_entry(level);
        expect_equal(seen & npt_bit::accessed, npt_bit::accessed, Text{"A at level ", level});
        // D is of the last level alone; above, bit 6 is ignored and no promise is made.
        const auto judged = level == last ? ~npt_bit::accessed : ~both;
        const auto dirty = level == last && access == Access::write ? npt_bit::dirty : 0;
        expect_equal(seen & judged, before[level] | dirty, Text{"the rest of the entry at level ", level});
    }
}

} // namespace

#define SETS_BITS(leaf, leaf_name)                                                                           \
    SVM_CASE(accessed_##leaf##_read, "svm.npt.accessed_" leaf_name "_read",                                  \
             "A read sets A at every nested level and leaves D", "15.25.5",                                  \
             (&sets_bits<PageSize::leaf, Access::read>), .needs = "npt")                                     \
    SVM_CASE(accessed_##leaf##_write, "svm.npt.accessed_" leaf_name "_write",                                \
             "A write sets A at every nested level and D at the last", "15.25.5",                            \
             (&sets_bits<PageSize::leaf, Access::write>), .needs = "npt")                                    \
    SVM_CASE(accessed_##leaf##_fetch, "svm.npt.accessed_" leaf_name "_fetch",                                \
             "A fetch sets A at every nested level and leaves D", "15.25.5",                                 \
             (&sets_bits<PageSize::leaf, Access::fetch>), .needs = "npt")
SETS_BITS(k4, "4k")
SETS_BITS(m2, "2m")
SETS_BITS(g1, "1g")

namespace {

// First read, then written in the same run: the write must not go by the translation that was made clean.
template<PageSize leaf>
void read_then_write() {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    auto& guest = window.guest;
    auto& entry = window.nested_entry(static_cast<unsigned>(leaf));
    entry &= ~both;
    guest.intercept(Intercept::cpuid);
    const auto address = window.target(Access::read);
    auto code = [&] {
        make_access(Access::read, address);
        guest::cpuid(0, 0);
        make_access(Access::write, address);
    };
    guest.start(code);
    if (!guest.run_to(ExitCode::cpuid, "after the read"))
        return;
    expect_equal(entry & both, npt_bit::accessed, "A and D after the read");
    guest.skip(2);
    guest.run_to_end();
    expect_equal(entry & both, both, "A and D after the write");
    expect_equal(window.word(), written_value, "what L2 wrote");
}

// L1 clears the bits and flushes: they are set again.
template<PageSize leaf>
void cleared_again() {
    if (!Window::possible(leaf))
        return;
    Window window{leaf};
    auto& entry = window.nested_entry(static_cast<unsigned>(leaf));
    for (unsigned round = 0; round < 3; ++round) {
        entry &= ~both;
        window.start(Access::write, 0);
        window.finish("a write");
        expect_equal(entry & both, both, Text{"A and D after the write of round ", round});
        entry &= ~both;
        window.start(Access::read, 0);
        window.finish("a read");
        expect_equal(entry & both, npt_bit::accessed, Text{"A and D after the read of round ", round});
    }
}

} // namespace

#define READ_THEN_WRITE(leaf, leaf_name)                                                                     \
    SVM_CASE(accessed_##leaf##_later, "svm.npt.accessed_" leaf_name "_read_then_write",                      \
             "A write after a read of the same page sets D", "15.25.5", &read_then_write<PageSize::leaf>,    \
             .needs = "npt")                                                                                 \
    SVM_CASE(accessed_##leaf##_again, "svm.npt.accessed_" leaf_name "_cleared_again",                        \
             "A and D that L1 clears are set again after a flush", "15.25.5",                                \
             &cleared_again<PageSize::leaf>, .needs = "npt")
READ_THEN_WRITE(k4, "4k")
READ_THEN_WRITE(m2, "2m")
READ_THEN_WRITE(g1, "1g")

SVM_TEST(accessed_refused, "svm.npt.accessed_refused_write",
         "A write that faults leaves D of the nested entry clear", "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.nested_entry(1) &= ~(both | npt_bit::write);
    window.start(Access::write, 0);
    window.expect_fault(final_fault(Access::write, npf::present), window.target(Access::write),
                        "a read-only page");
    expect_equal(window.nested_entry(1) & npt_bit::dirty, 0, "D after the refused write");
}

SVM_TEST(accessed_read_modify_write, "svm.npt.accessed_locked_add",
         "A locked ADD is a write: A, D, and EXITINFO1", "15.25.6", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    const auto address = window.target(Access::write);
    window.nested_entry(1) &= ~(both | npt_bit::write);
    auto code = [&] { asm volatile("lock addq $1, (%0)" : : "r"(address) : "memory"); };
    window.guest.start(code);
    window.guest.run();
    expect_npf(window.guest, final_fault(Access::write, npf::present), address, "a read-only page");
    expect_equal(window.word(), window_value, "memory after the refused addition");
    window.nested_entry(1) |= npt_bit::write;
    flush_all(window.guest);
    window.guest.run_to_end();
    expect_equal(window.word(), window_value + 1, "memory after the addition");
    expect_equal(window.nested_entry(1) & both, both, "A and D after the addition");
}

SVM_TEST(accessed_walk, "svm.npt.accessed_page_table_pages",
         "Pages of L2's page tables get A and D, since each walk counts as a write", "15.25.5",
         .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    const std::uint64_t tables[]{
        conform::physical(&window.own_entry(1)), conform::physical(&window.own_entry(2)),
        conform::physical(&window.own_entry(3)), conform::physical(&window.own_entry(4))};
    for (const auto table : tables)
        window.nested.entry(table, 1) &= ~both;
    // L2's own bits are there already: nothing is left to be written but what the rule asks for.
    for (unsigned level = 1; level <= 4; ++level)
        window.own_entry(level) |= both;
    window.start(Access::read, 0);
    window.finish("a read");
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(window.nested.entry(tables[i], 1) & both, both,
                     Text{"A and D of the page of L2's table of level ", i + 1});
}

SVM_TEST(accessed_neighbour, "svm.npt.accessed_neighbour_stays_clean",
         "A write sets D of its own nested entry, not of the next", "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    const auto pages = conform::physical(conform::allocate_pages(3));
    for (std::uint64_t i = 0; i < 3; ++i)
        window.nested.entry(pages + i * 4096, 1) = (pages + i * 4096) | 7;
    auto code = [&] { make_access(Access::write, pages + 4096); };
    window.guest.start(code);
    flush_all(window.guest);
    window.guest.run_to_end();
    expect_equal(window.nested.entry(pages + 4096, 1) & both, both, "A and D of the page");
    // A may be set ahead of need (5.4.2), D never is.
    expect_equal(window.nested.entry(pages, 1) & npt_bit::dirty, 0, "D of the page before");
    expect_equal(window.nested.entry(pages + 8192, 1) & npt_bit::dirty, 0, "D of the page after");
}

SVM_TEST(accessed_crossing, "svm.npt.accessed_crossing_write", "A write over two pages sets D of both",
         "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    const auto first = conform::physical(conform::allocate_pages(2));
    for (std::uint64_t i = 0; i < 2; ++i)
        window.nested.entry(first + i * 4096, 1) = (first + i * 4096) | 7;
    auto code = [&] { make_access(Access::write, first + 4096 - 3); };
    window.guest.start(code);
    flush_all(window.guest);
    window.guest.run_to_end();
    expect_equal(window.nested.entry(first, 1) & both, both, "A and D of the first page");
    expect_equal(window.nested.entry(first + 4096, 1) & both, both, "A and D of the second page");
    expect_equal(*reinterpret_cast<std::uint64_t*>(first + 4096 - 3), written_value, "what was written");
}

} // namespace nestbed::svm
