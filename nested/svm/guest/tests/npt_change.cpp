// Nested page tables that L1 changes between two runs, and several of them.
#include "core/guest/cpu.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/window.hpp"

namespace nestbed::svm {

using conform::expect_equal;
using conform::Text;

namespace {

constexpr std::uint64_t first_value = 0x1111'2222'3333'4444;
constexpr std::uint64_t second_value = 0x5555'6666'7777'8888;

std::uint64_t page_with(std::uint64_t value) {
    const auto page = conform::physical(conform::allocate_pages(1));
    for (std::uint64_t at = 0; at < 4096; at += 8)
        *reinterpret_cast<std::uint64_t*>(page + at) = value;
    return page;
}
std::uint64_t word_at(std::uint64_t address) {
    return *reinterpret_cast<volatile std::uint64_t*>(address);
}

// What permits more needs no flush: a translation that was refused is not kept (5.5.3).
template<unsigned level>
void made_present() {
    if (!Window::possible())
        return;
    Window window;
    auto& entry = window.nested_entry(level);
    const auto before = entry;
    for (const auto access : every_access) {
        entry = 0;
        window.start(access, 0);
        window.expect_fault(final_fault(access, 0), window.target(access), text_of(access));
        entry = before;
        window.guest.control().tlb_control = tlb_control::do_nothing;
        window.finish(Text{text_of(access), " without a flush"});
    }
}

enum class Less { write, execute, user };

template<unsigned level, Less less>
void permitted_without_flush() {
    if (!Window::possible())
        return;
    Window window;
    auto& entry = window.nested_entry(level);
    const auto before = entry;
    const auto access = less == Less::write     ? Access::write
                        : less == Less::execute ? Access::fetch
                                                : Access::read;
    entry = less == Less::write     ? before & ~npt_bit::write
            : less == Less::execute ? before | npt_bit::no_execute
                                    : before & ~npt_bit::user;
    window.start(access, 0);
    window.expect_fault(final_fault(access, npf::present), window.target(access), text_of(access));
    entry = before;
    window.guest.control().tlb_control = tlb_control::do_nothing;
    window.finish(Text{text_of(access), " without a flush"});
}

// What permits less is in force after a flush, though the translation was in use.
template<unsigned level, Less less>
void forbidden_after_flush() {
    if (!Window::possible())
        return;
    Window window;
    auto& entry = window.nested_entry(level);
    const auto before = entry;
    const auto access = less == Less::write     ? Access::write
                        : less == Less::execute ? Access::fetch
                                                : Access::read;
    window.start(access, 3);
    window.finish("permitted");
    entry = less == Less::write     ? entry & ~npt_bit::write
            : less == Less::execute ? entry | npt_bit::no_execute
                                    : entry & ~npt_bit::user;
    window.start(access, 3);
    window.expect_fault(final_fault(access, npf::present), window.target(access), "forbidden");
    entry = before;
    window.start(access, 3);
    window.finish("permitted again");
    entry = 0;
    window.start(access, 3);
    window.expect_fault(final_fault(access, 0), window.target(access), "not present");
}

} // namespace

#define CHANGE(level)                                                                                        \
    SVM_CASE(change_present_##level, "svm.npt.change_made_present_level" #level,                             \
             "A nested entry made present is in use without a flush", "5.5.3", &made_present<level>,         \
             .needs = "npt")                                                                                 \
    SVM_CASE(change_write_##level, "svm.npt.change_made_writable_level" #level,                              \
             "A nested entry made writable is in use without a flush", "5.5.3",                              \
             (&permitted_without_flush<level, Less::write>), .needs = "npt")                                 \
    SVM_CASE(change_execute_##level, "svm.npt.change_made_executable_level" #level,                          \
             "A nested entry made executable is in use without a flush", "5.5.3",                            \
             (&permitted_without_flush<level, Less::execute>), .needs = "npt")                               \
    SVM_CASE(change_user_##level, "svm.npt.change_made_user_level" #level,                                   \
             "A nested entry that gets its user bit is in use without a flush", "5.5.3",                     \
             (&permitted_without_flush<level, Less::user>), .needs = "npt")                                  \
    SVM_CASE(change_not_write_##level, "svm.npt.change_made_read_only_level" #level,                         \
             "A nested entry made read-only is so after a flush", "15.16.1",                                 \
             (&forbidden_after_flush<level, Less::write>), .needs = "npt")                                   \
    SVM_CASE(change_not_execute_##level, "svm.npt.change_made_no_execute_level" #level,                      \
             "A nested entry made no-execute is so after a flush", "15.16.1",                                \
             (&forbidden_after_flush<level, Less::execute>), .needs = "npt")                                 \
    SVM_CASE(change_not_user_##level, "svm.npt.change_made_supervisor_level" #level,                         \
             "A nested entry that loses its user bit has lost it after a flush", "15.16.1",                  \
             (&forbidden_after_flush<level, Less::user>), .needs = "npt")
CHANGE(1)
CHANGE(2)
CHANGE(3)
CHANGE(4)

namespace {

// The window's entry at `level` leads elsewhere from the second run on.
template<unsigned level>
void leads_elsewhere(std::uint8_t flush, bool other_asid) {
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    const auto elsewhere = page_with(second_value);
    window.word() = window_value;
    auto& entry = window.nested_entry(level);
    const auto before = entry;
    // The other way: the same GPA through tables of another set.
    NestedPageTables other;
    other.entry(window.address(), 1) = elsewhere | 7;
    const auto after = level == 1 ? elsewhere | 7 : other.entry(window.address(), level);
    std::uint64_t seen = 0;
    const auto address = window.target(Access::read);
    auto code = [&] { seen = word_at(address); };
    for (unsigned round = 0; round < 6; ++round) {
        entry = round % 2 == 0 ? before : after;
        seen = 0;
        guest.start(code);
        guest.control().tlb_control = flush;
        // An ASID that was not in use before has no translations (15.16).
        if (other_asid)
            guest.control().asid = 1 + round;
        guest.run_to_end();
        expect_equal(seen, round % 2 == 0 ? window_value : second_value,
                     Text{"what L2 reads in round ", round});
    }
}

template<unsigned level>
void elsewhere_flush_all() {
    leads_elsewhere<level>(tlb_control::flush_all, false);
}
template<unsigned level>
void elsewhere_flush_asid() {
    leads_elsewhere<level>(tlb_control::flush_asid, false);
}
template<unsigned level>
void elsewhere_flush_non_global() {
    leads_elsewhere<level>(tlb_control::flush_asid_non_global, false);
}
template<unsigned level>
void elsewhere_new_asid() {
    leads_elsewhere<level>(tlb_control::do_nothing, true);
}

} // namespace

#define ELSEWHERE(level)                                                                                     \
    SVM_CASE(elsewhere_all_##level, "svm.npt.remap_level" #level "_flush_all",                               \
             "A nested entry that leads elsewhere does so after TLB_CONTROL 1", "15.16.1",                   \
             &elsewhere_flush_all<level>, .needs = "npt")                                                    \
    SVM_CASE(elsewhere_asid_##level, "svm.npt.remap_level" #level "_flush_asid",                             \
             "A nested entry that leads elsewhere does so after TLB_CONTROL 3", "15.16.1",                   \
             &elsewhere_flush_asid<level>, .needs = "npt,flushbyasid")                                       \
    SVM_CASE(elsewhere_non_global_##level, "svm.npt.remap_level" #level "_flush_non_global",                 \
             "A nested entry that leads elsewhere does so after TLB_CONTROL 7", "15.16.1",                   \
             &elsewhere_flush_non_global<level>, .needs = "npt,flushbyasid")                                 \
    SVM_CASE(elsewhere_new_##level, "svm.npt.remap_level" #level "_new_asid",                                \
             "A nested entry that leads elsewhere does so under an ASID not used before", "15.16",           \
             &elsewhere_new_asid<level>, .needs = "npt")
ELSEWHERE(1)
ELSEWHERE(2)
ELSEWHERE(3)
ELSEWHERE(4)

SVM_TEST(two_roots, "svm.npt.two_guests_two_roots",
         "Two L2 with N_CR3 and ASID of their own see their own pages", "15.25.4", .needs = "npt") {
    L2 guests[2];
    NestedPageTables nested[2];
    const auto address = page_with(0);
    for (unsigned i = 0; i < 2; ++i) {
        guests[i].control().asid = i + 1;
        nested[i].use_in(guests[i]);
        nested[i].entry(address, 1) = page_with(i == 0 ? first_value : second_value) | 7;
    }
    for (unsigned round = 0; round < 8; ++round) {
        auto& guest = guests[round % 2];
        std::uint64_t seen = 0;
        auto code = [&] { seen = word_at(address); };
        guest.start(code);
        guest.run_to_end();
        expect_equal(seen, round % 2 == 0 ? first_value : second_value,
                     Text{"what L2 ", round % 2, " reads"});
    }
    expect_equal(word_at(address), 0, "what L1 reads at the same address");
}

SVM_TEST(two_roots_one_guest, "svm.npt.one_guest_changes_root", "L1 gives L2 another N_CR3 and flushes",
         "15.25.4", .needs = "npt") {
    L2 guest;
    NestedPageTables nested[3];
    const auto address = page_with(0);
    for (unsigned i = 0; i < 3; ++i)
        nested[i].entry(address, 1) = page_with(first_value + i) | 7;
    for (unsigned round = 0; round < 9; ++round) {
        std::uint64_t seen = 0;
        auto code = [&] { seen = word_at(address); };
        nested[round % 3].use_in(guest);
        flush_all(guest);
        guest.start(code);
        guest.run_to_end();
        expect_equal(seen, first_value + round % 3, Text{"what L2 reads in round ", round});
    }
}

SVM_TEST(root_rights, "svm.npt.shared_tables_rights_of_each_root",
         "Two roots share their lower tables; what an upper entry forbids, only its own L2 is refused",
         "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    NestedPageTables other;
    // Level 4 of `other` leads to the window's tables, without W.
    other.entry(window.address(), 4) = window.nested_entry(4) & ~npt_bit::write;
    for (unsigned round = 0; round < 4; ++round) {
        const bool refused = round % 2 == 1;
        (refused ? other : window.nested).use_in(window.guest);
        window.start(Access::write, 0);
        if (refused)
            window.expect_fault(final_fault(Access::write, npf::present), window.target(Access::write),
                                Text{"the root without W in round ", round});
        else
            window.finish(Text{"the root with W in round ", round});
        window.start(Access::read, 0);
        window.finish(Text{"a read in round ", round});
    }
}

SVM_TEST(aliases_nested, "svm.npt.two_addresses_one_page",
         "Two guest-physical addresses of one page, one of them read-only: each has its own rights",
         "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    const auto alias = page_with(0);
    window.nested.entry(alias, 1) = window.page() | 5;
    window.start(Access::write, 0);
    window.finish("by the writable address");
    std::uint64_t seen = 0;
    auto code = [&] {
        seen = word_at(alias + window_data);
        make_access(Access::write, alias + window_data);
    };
    window.guest.start(code);
    window.guest.run();
    expect_npf(window.guest, final_fault(Access::write, npf::present), alias + window_data,
               "by the read-only address");
    expect_equal(seen, written_value, "read by the read-only address");
}

namespace {

// One page out of a large one leads elsewhere, and then is back.
void split(PageSize size) {
    L2 guest;
    NestedPageTables nested{size};
    nested.use_in(guest);
    const auto address = page_with(first_value);
    const auto neighbour = page_with(first_value + 1);
    const auto elsewhere = page_with(second_value);
    std::uint64_t seen[2]{};
    auto code = [&] {
        seen[0] = word_at(address);
        seen[1] = word_at(neighbour);
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen[0], first_value, "through the large page");
    const auto level = static_cast<unsigned>(size);
    const auto before = nested.entry(address, level);
    nested.entry(address, 1) = elsewhere | 7;
    flush_all(guest);
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen[0], second_value, "the page that leads elsewhere");
    expect_equal(seen[1], first_value + 1, "the page next to it");
    nested.entry(address, level) = before;
    flush_all(guest);
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen[0], first_value, "through the large page again");
    expect_equal(seen[1], first_value + 1, "the page next to it then");
}

} // namespace

SVM_TEST(split_2m, "svm.npt.split_2m", "A nested 2 MiB page is split into 4 KiB pages and put together again",
         "15.25.5", .needs = "npt") {
    split(PageSize::m2);
}
SVM_TEST(split_1g, "svm.npt.split_1g", "A nested 1 GiB page is split into 4 KiB pages and put together again",
         "15.25.5", .needs = "npt") {
    if (!Window::possible(PageSize::g1))
        return;
    split(PageSize::g1);
}

SVM_TEST(ping_pong, "svm.npt.memory_shared_with_l1", "L2's writes are L1's at once, and the other way round",
         "15.25.5", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    guest.intercept(Intercept::cpuid);
    const auto address = window.target(Access::read);
    std::uint64_t seen = 0;
    auto code = [&] {
        for (std::uint64_t i = 0; i < 16; ++i) {
            seen = word_at(address);
            *reinterpret_cast<volatile std::uint64_t*>(address) = seen + i;
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    for (std::uint64_t i = 0; i < 16; ++i) {
        window.word() = i * 0x1'0000'0001;
        if (!guest.run_to(ExitCode::cpuid, Text{"round ", i}))
            return;
        expect_equal(seen, i * 0x1'0000'0001, "what L2 reads of L1's");
        expect_equal(window.word(), i * 0x1'0000'0001 + i, "what L1 reads of L2's");
        guest.skip(2);
    }
}

SVM_TEST(l2_writes_nested, "svm.npt.l2_writes_nested_entry",
         "L2 that is given its nested tables can write them; the entry is in use after a flush", "15.25.5",
         .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    auto& guest = window.guest;
    const auto elsewhere = page_with(second_value);
    auto* const entry = &window.nested_entry(1);
    const auto address = window.target(Access::read);
    std::uint64_t seen[2]{};
    guest.intercept(Intercept::cpuid);
    window.word() = window_value;
    auto code = [&] {
        seen[0] = word_at(address);
        *reinterpret_cast<volatile std::uint64_t*>(entry) = elsewhere | 7;
        guest::cpuid(0, 0);
        seen[1] = word_at(address);
    };
    guest.start(code);
    if (!guest.run_to(ExitCode::cpuid, "after L2's write"))
        return;
    expect_equal(seen[0], window_value, "what L2 reads before");
    expect_equal(*entry & ~(npt_bit::accessed | npt_bit::dirty), elsewhere | 7, "the entry as L1 sees it");
    guest.skip(2);
    flush_all(guest);
    guest.run_to_end();
    expect_equal(seen[1], second_value, "what L2 reads after the flush");
}

SVM_TEST(same_tables, "svm.npt.l2_walks_nested_tables",
         "L2's CR3 and N_CR3 may be the same tables: one format, one page", "15.25.5", .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    nested.use_in(guest);
    guest.save().cr3 = nested.root();
    std::uint64_t seen = 0;
    auto code = [&] { seen = first_value; };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, first_value, "what L2 wrote");
}

SVM_TEST(l1_l2_tables, "svm.npt.nested_tables_of_l1s_own", "N_CR3 may be L1's own CR3: one format, one page",
         "15.25.5", .needs = "npt") {
    L2 guest;
    guest.control().nested_ctl |= 1;
    guest.control().n_cr3 = guest::control_register<3>();
    std::uint64_t seen = 0;
    auto code = [&] { seen = first_value; };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, first_value, "what L2 wrote");
}

} // namespace nestbed::svm
