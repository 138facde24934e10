// Translations and ASIDs without nested paging: what a flush must take away, and what an ASID must keep
// apart. A stale translation is never asked for, only what the manual guarantees (15.16).
#include "core/guest/cpu.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/instructions.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/window.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

constexpr std::uint64_t value_of_page = 0x7061'6765'0000'0000;
constexpr std::uint64_t linear = 0x80'0000'0000; // the second entry of the highest level
constexpr std::uint64_t global = 1U << 8;
constexpr std::uint64_t cr4_pge = 1U << 7;
constexpr std::uint64_t cr4_pcide = 1U << 17;

std::uint64_t page_with(std::uint64_t value) {
    const auto page = conform::physical(conform::allocate_pages(1));
    for (std::uint64_t at = 0; at < 4096; at += 8)
        *reinterpret_cast<std::uint64_t*>(page + at) = value;
    return page;
}
std::uint64_t word_at(std::uint64_t address) {
    return *reinterpret_cast<volatile std::uint64_t*>(address);
}
void invlpg(std::uint64_t address) {
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}
void write_cr3(std::uint64_t value) {
    asm volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}
void write_cr4(std::uint64_t value) {
    asm volatile("movq %0, %%cr4" : : "r"(value) : "memory");
}

// Two pages, and an L2 whose own tables map `linear` to one or the other.
struct Mapped {
    L2 guest;
    NestedPageTables own; // of the same format as L2's
    std::uint64_t page[2]{page_with(value_of_page), page_with(value_of_page + 1)};
    std::uint64_t seen[4]{};

    explicit Mapped(std::uint32_t asid = 1) {
        guest.save().cr3 = own.root();
        guest.control().asid = asid;
        entry() = page[0] | 7;
    }
    std::uint64_t& entry(unsigned level = 1) { return own.entry(linear, level); }

    // What L2 reads at `linear` in one run.
    std::uint64_t read(std::uint8_t flush, const Text& what) {
        seen[0] = 0;
        auto code = [&] { seen[0] = word_at(linear); };
        guest.start(code);
        guest.control().tlb_control = flush;
        guest.run_to_end(what.c_str());
        return seen[0];
    }
    void expect_page(unsigned which, std::uint8_t flush, const Text& what) {
        expect_equal(read(flush, what), value_of_page + which, what);
    }
};

// The entry at `level` changes in L1's hands, L2's next entry flushes.
template<unsigned level>
void remapped(std::uint8_t flush, std::uint64_t bits) {
    Mapped mapped;
    NestedPageTables other;
    other.entry(linear, 1) = mapped.page[1] | 7 | bits;
    mapped.entry() |= bits;
    mapped.guest.save().cr4 |= bits != 0 ? cr4_pge : 0;
    const auto before = mapped.entry(level);
    const auto after = other.entry(linear, level);
    for (unsigned round = 0; round < 6; ++round) {
        mapped.entry(level) = round % 2 == 0 ? before : after;
        mapped.expect_page(round % 2, flush, Text{"what L2 reads in round ", round});
    }
}

template<unsigned level>
void remapped_flush_all() {
    remapped<level>(tlb_control::flush_all, 0);
}
template<unsigned level>
void remapped_flush_asid() {
    remapped<level>(tlb_control::flush_asid, 0);
}
template<unsigned level>
void remapped_flush_non_global() {
    remapped<level>(tlb_control::flush_asid_non_global, 0);
}

} // namespace

#define REMAPPED(level)                                                                                      \
    SVM_CASE(tlb_remapped_all_##level, "svm.tlb.remap_level" #level "_flush_all",                            \
             "An entry of L2's that L1 changes is in use after TLB_CONTROL 1", "15.16.1",                    \
             &remapped_flush_all<level>)                                                                     \
    SVM_CASE(tlb_remapped_asid_##level, "svm.tlb.remap_level" #level "_flush_asid",                          \
             "An entry of L2's that L1 changes is in use after TLB_CONTROL 3", "15.16.1",                    \
             &remapped_flush_asid<level>, .needs = "flushbyasid")                                            \
    SVM_CASE(tlb_remapped_non_global_##level, "svm.tlb.remap_level" #level "_flush_non_global",              \
             "An entry of L2's that is not global is in use after TLB_CONTROL 7", "15.16.1",                 \
             &remapped_flush_non_global<level>, .needs = "flushbyasid")
REMAPPED(1)
REMAPPED(2)
REMAPPED(3)
REMAPPED(4)

SVM_TEST(tlb_global_all, "svm.tlb.global_flush_all", "TLB_CONTROL 1 takes global translations too",
         "15.16.1") {
    remapped<1>(tlb_control::flush_all, global);
}
SVM_TEST(tlb_global_asid, "svm.tlb.global_flush_asid", "TLB_CONTROL 3 takes global translations too",
         "15.16.1", .needs = "flushbyasid") {
    remapped<1>(tlb_control::flush_asid, global);
}

SVM_TEST(tlb_new_asid, "svm.tlb.remap_new_asid", "An ASID not used before has no translations", "15.16") {
    Mapped mapped;
    for (unsigned round = 0; round < 6; ++round) {
        mapped.entry() = mapped.page[round % 2] | 7;
        mapped.guest.control().asid = 1 + round;
        mapped.expect_page(round % 2, tlb_control::do_nothing, Text{"what L2 reads with ASID ", 1 + round});
    }
}
SVM_TEST(tlb_new_asid_global, "svm.tlb.global_new_asid", "Global pages are global within their ASID alone",
         "15.16") {
    Mapped mapped;
    mapped.guest.save().cr4 |= cr4_pge;
    for (unsigned round = 0; round < 6; ++round) {
        mapped.entry() = mapped.page[round % 2] | 7 | global;
        mapped.guest.control().asid = 1 + round;
        mapped.expect_page(round % 2, tlb_control::do_nothing, Text{"what L2 reads with ASID ", 1 + round});
    }
}

SVM_TEST(tlb_two_asids, "svm.tlb.two_guests_two_asids",
         "Two L2 with ASID and CR3 of their own, in turns, unflushed", "15.16") {
    Mapped first{1};
    Mapped second{2};
    second.entry() = second.page[1] | 7;
    for (unsigned round = 0; round < 8; ++round) {
        first.expect_page(0, tlb_control::do_nothing, Text{"the first in round ", round});
        second.expect_page(1, tlb_control::do_nothing, Text{"the second in round ", round});
    }
}
SVM_TEST(tlb_two_asids_global, "svm.tlb.two_guests_global_pages",
         "Global pages of one L2 are not the other's", "15.16") {
    Mapped first{1};
    Mapped second{2};
    second.entry() = second.page[1] | 7 | global;
    first.entry() |= global;
    first.guest.save().cr4 |= cr4_pge;
    second.guest.save().cr4 |= cr4_pge;
    for (unsigned round = 0; round < 8; ++round) {
        first.expect_page(0, tlb_control::do_nothing, Text{"the first in round ", round});
        second.expect_page(1, tlb_control::do_nothing, Text{"the second in round ", round});
    }
}
SVM_TEST(tlb_one_asid, "svm.tlb.two_guests_one_asid", "Two L2 of one ASID, each flushed at its entry",
         "15.16.1") {
    Mapped first{1};
    Mapped second{1};
    second.entry() = second.page[1] | 7;
    for (unsigned round = 0; round < 8; ++round) {
        first.expect_page(0, tlb_control::flush_all, Text{"the first in round ", round});
        second.expect_page(1, tlb_control::flush_all, Text{"the second in round ", round});
    }
}
SVM_TEST(tlb_rights, "svm.tlb.two_asids_rights", "What one L2 may write, another that may not is refused",
         "15.16") {
    Mapped first{1};
    Mapped second{2};
    second.entry() = first.page[0] | 5;
    second.guest.intercept_exception(14);
    for (unsigned round = 0; round < 4; ++round) {
        auto code = [&] { make_access(Access::write, linear); };
        first.guest.start(code);
        first.guest.run_to_end();
        second.guest.start(code);
        second.guest.run_to(exception_exit(14), Text{"round ", round});
        expect_equal(second.guest.control().exit_info_1, 3U, "the #PF's error code");
        expect_equal(second.guest.control().exit_info_2, linear, "the #PF's address");
    }
    expect_equal(first.page[0] != 0 ? word_at(first.page[0]) : 0, written_value, "what the first wrote");
}
SVM_TEST(tlb_host_apart, "svm.tlb.host_asid_apart", "L2's translations are not L1's, and the other way round",
         "15.16") {
    Mapped mapped;
    // Where L1 has memory of its own.
    const auto address = page_with(value_of_page + 7);
    mapped.own.entry(address, 1) = mapped.page[0] | 7;
    for (unsigned round = 0; round < 4; ++round) {
        std::uint64_t seen = 0;
        auto code = [&] { seen = word_at(address); };
        expect_equal(word_at(address), value_of_page + 7, Text{"L1 in round ", round});
        mapped.guest.start(code);
        mapped.guest.control().tlb_control = tlb_control::do_nothing;
        mapped.guest.run_to_end();
        expect_equal(seen, value_of_page, Text{"L2 in round ", round});
    }
}

// What permits more is in use without a flush (5.5.3).
SVM_TEST(tlb_made_present, "svm.tlb.made_present_without_flush",
         "An entry of L2's that L1 makes present is in use", "5.5.3") {
    Mapped mapped;
    mapped.entry() = 0;
    mapped.guest.intercept_exception(14);
    auto code = [&] { mapped.seen[0] = word_at(linear); };
    mapped.guest.start(code);
    mapped.guest.run_to(exception_exit(14), "an entry that is not present");
    expect_equal(mapped.guest.control().exit_info_1, 0, "the #PF's error code");
    mapped.entry() = mapped.page[1] | 7;
    mapped.guest.run_to_end();
    expect_equal(mapped.seen[0], value_of_page + 1, "what L2 reads");
}
SVM_TEST(tlb_made_writable, "svm.tlb.made_writable_without_flush",
         "An entry of L2's that L1 makes writable is in use", "5.5.3") {
    Mapped mapped;
    mapped.entry() = mapped.page[0] | 5;
    mapped.guest.intercept_exception(14);
    auto code = [&] { make_access(Access::write, linear); };
    mapped.guest.start(code);
    mapped.guest.run_to(exception_exit(14), "a read-only entry");
    expect_equal(mapped.guest.control().exit_info_1, 3U, "the #PF's error code");
    mapped.entry() |= npt_bit::write;
    mapped.guest.run_to_end();
    expect_equal(word_at(mapped.page[0]), written_value, "what L2 wrote");
}
SVM_TEST(tlb_made_read_only, "svm.tlb.made_read_only_flush",
         "An entry of L2's that L1 makes read-only is so after a flush", "15.16.1") {
    Mapped mapped;
    mapped.guest.intercept_exception(14);
    auto code = [&] { make_access(Access::write, linear); };
    mapped.guest.start(code);
    mapped.guest.run_to_end();
    mapped.entry() &= ~npt_bit::write;
    flush_all(mapped.guest);
    mapped.guest.start(code);
    mapped.guest.run_to(exception_exit(14), "after it was made read-only");
    expect_equal(mapped.guest.control().exit_info_1, 3U, "the #PF's error code");
}

// L2's own means.
namespace {

// L2 reads, changes its entry, does something, and reads again.
template<typename Flush>
void l2_remaps(Flush flush, std::uint64_t bits = 0) {
    Mapped mapped;
    mapped.entry() |= bits;
    mapped.guest.save().cr4 |= bits != 0 ? cr4_pge : 0;
    auto* const entry = &mapped.entry();
    auto code = [&] {
        for (unsigned i = 0; i < 4; ++i) {
            *const_cast<volatile std::uint64_t*>(entry) = mapped.page[i % 2] | 7 | bits;
            flush(mapped);
            mapped.seen[i] = word_at(linear);
        }
    };
    mapped.guest.start(code);
    mapped.guest.run_to_end();
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(mapped.seen[i], value_of_page + i % 2, Text{"what L2 reads, ", i});
}

} // namespace

SVM_TEST(tlb_invlpg, "svm.tlb.l2_invlpg", "INVLPG in L2 takes the translation", "5.5.3") {
    l2_remaps([](Mapped&) { invlpg(linear); });
}
SVM_TEST(tlb_invlpg_global, "svm.tlb.l2_invlpg_global", "INVLPG in L2 takes a global translation", "5.5.3") {
    l2_remaps([](Mapped&) { invlpg(linear); }, global);
}
SVM_TEST(tlb_cr3, "svm.tlb.l2_cr3_write", "A write of CR3 in L2 takes the translation", "5.5.3") {
    l2_remaps([](Mapped& mapped) { write_cr3(mapped.own.root()); });
}
SVM_TEST(tlb_pge, "svm.tlb.l2_pge_toggle", "A change of CR4.PGE in L2 takes global translations", "5.5.3") {
    l2_remaps(
        [](Mapped&) {
            const auto cr4 = guest::control_register<4>();
            write_cr4(cr4 & ~cr4_pge);
            write_cr4(cr4);
        },
        global);
}
SVM_TEST(tlb_cr0, "svm.tlb.l2_cr0_write_protect", "A change of CR0.WP in L2 is in force at once", "5.5.3") {
    Mapped mapped;
    mapped.entry() = mapped.page[0] | 5;
    mapped.guest.intercept_exception(14);
    const auto cr0 = mapped.guest.save().cr0;
    auto code = [&] {
        asm volatile("movq %0, %%cr0" : : "r"(cr0 & ~(std::uint64_t{1} << 16)) : "memory");
        make_access(Access::write, linear);
        asm volatile("movq %0, %%cr0" : : "r"(cr0) : "memory");
        make_access(Access::write, linear + 8);
    };
    mapped.guest.start(code);
    mapped.guest.run_to(exception_exit(14), "the write with WP=1");
    expect_equal(mapped.guest.control().exit_info_2, linear + 8, "the #PF's address");
    expect_equal(word_at(mapped.page[0]), written_value, "what L2 wrote with WP=0");
    expect_equal(word_at(mapped.page[0] + 8), value_of_page, "what it did not write with WP=1");
}
SVM_TEST(tlb_two_cr3, "svm.tlb.l2_two_cr3", "L2 loads one CR3 and another", "5.5.3") {
    Mapped mapped;
    NestedPageTables other;
    other.entry(linear, 1) = mapped.page[1] | 7;
    auto code = [&] {
        for (unsigned i = 0; i < 4; ++i) {
            write_cr3(i % 2 == 0 ? mapped.own.root() : other.root());
            mapped.seen[i] = word_at(linear);
        }
    };
    mapped.guest.start(code);
    mapped.guest.run_to_end();
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(mapped.seen[i], value_of_page + i % 2, Text{"what L2 reads, ", i});
    expect_equal(mapped.guest.save().cr3, other.root(), "CR3 in the VMCB");
}
SVM_TEST(tlb_cr3_l1, "svm.tlb.l1_changes_cr3", "L1 gives L2 another CR3 and flushes", "15.16.1") {
    Mapped mapped;
    NestedPageTables other;
    other.entry(linear, 1) = mapped.page[1] | 7;
    for (unsigned round = 0; round < 6; ++round) {
        mapped.guest.save().cr3 = round % 2 == 0 ? mapped.own.root() : other.root();
        mapped.expect_page(round % 2, tlb_control::flush_all, Text{"what L2 reads in round ", round});
    }
}

// Intercepts of what flushes: L1 may carry it out, and finds L2 unchanged.
SVM_TEST(tlb_invlpg_intercepted, "svm.tlb.invlpg_intercepted",
         "An INVLPG that L1 intercepts exits at the instruction", "15.9") {
    Mapped mapped;
    mapped.guest.intercept(Intercept::invlpg);
    auto code = [&] {
        invlpg(linear);
        mapped.seen[0] = word_at(linear);
    };
    mapped.guest.start(code);
    if (!mapped.guest.run_to(ExitCode::invlpg, "INVLPG"))
        return;
    // INVLPG (reg): 0F 01 /7, with a REX prefix for the upper registers.
    const auto* const at = reinterpret_cast<const std::uint8_t*>(mapped.guest.save().rip);
    const auto prefix = (at[0] & 0xf0) == 0x40 ? 1U : 0U;
    expect_equal(at[prefix] << 8 | at[prefix + 1], 0x0f01, "the bytes at RIP");
    mapped.entry() = mapped.page[1] | 7;
    invlpga(linear, 1);
    mapped.guest.intercept(Intercept::invlpg, false);
    mapped.guest.run_to_end();
    expect_equal(mapped.seen[0], value_of_page + 1, "what L2 reads");
}

// INVLPGA in L1.
namespace {

void by_invlpga(std::uint64_t bits, std::uint32_t asid) {
    Mapped mapped{asid};
    mapped.guest.save().cr4 |= bits != 0 ? cr4_pge : 0;
    mapped.entry() |= bits;
    for (unsigned round = 0; round < 6; ++round) {
        mapped.entry() = mapped.page[round % 2] | 7 | bits;
        invlpga(linear, asid);
        mapped.expect_page(round % 2, tlb_control::do_nothing, Text{"what L2 reads in round ", round});
    }
}

} // namespace

SVM_TEST(tlb_invlpga, "svm.tlb.invlpga", "INVLPGA takes L2's translation", "15.16.2") {
    by_invlpga(0, 1);
}
SVM_TEST(tlb_invlpga_global, "svm.tlb.invlpga_global", "INVLPGA takes L2's global translation", "15.16.2") {
    by_invlpga(global, 1);
}
SVM_TEST(tlb_invlpga_other, "svm.tlb.invlpga_asid_5", "INVLPGA for an ASID other than 1", "15.16.2") {
    by_invlpga(0, 5);
}
SVM_TEST(tlb_invlpga_offset, "svm.tlb.invlpga_within_page",
         "INVLPGA of any address in the page takes its translation", "15.16.2") {
    Mapped mapped;
    for (unsigned round = 0; round < 4; ++round) {
        mapped.entry() = mapped.page[round % 2] | 7;
        invlpga(linear + 0xfff, 1);
        mapped.expect_page(round % 2, tlb_control::do_nothing, Text{"what L2 reads in round ", round});
    }
}
SVM_TEST(tlb_invlpga_zero, "svm.tlb.invlpga_asid_0", "INVLPGA with ASID 0 takes L1's translation",
         "15.16.2") {
    // L1 on tables of its own that it changes.
    NestedPageTables own;
    const std::uint64_t page[2]{page_with(value_of_page), page_with(value_of_page + 1)};
    const auto before = guest::control_register<3>();
    own.entry(linear, 1) = page[0] | 7;
    write_cr3(own.root());
    for (unsigned round = 0; round < 4; ++round) {
        own.entry(linear, 1) = page[round % 2] | 7;
        invlpga(linear, 0);
        expect_equal(word_at(linear), value_of_page + round % 2, Text{"what L1 reads in round ", round});
    }
    write_cr3(before);
}
SVM_TEST(tlb_invlpga_keeps, "svm.tlb.invlpga_changes_nothing_else", "INVLPGA changes no register and no flag",
         "15.16.2") {
    std::uint64_t rax = linear;
    std::uint64_t rcx = 0xffff'ffff'0000'0002;
    std::uint64_t flags = 0;
    asm volatile("stc; invlpga %%rax, %%ecx; pushfq; popq %2"
                 : "+a"(rax), "+c"(rcx), "=r"(flags)
                 :
                 : "memory", "cc");
    expect_equal(rax, linear, "RAX");
    expect_equal(rcx, 0xffff'ffff'0000'0002U, "RCX");
    expect_equal(flags & 1, 1U, "CF");
}

// L1 changes its own tables while L2 shares them.
SVM_TEST(tlb_shared, "svm.tlb.l1_tables_shared_with_l2",
         "L1 changes the tables that it shares with L2, with INVLPG and a flush", "15.16.1") {
    NestedPageTables own;
    const std::uint64_t page[2]{page_with(value_of_page), page_with(value_of_page + 1)};
    own.entry(linear, 1) = page[0] | 7;
    const auto before = guest::control_register<3>();
    write_cr3(own.root());
    L2 guest; // takes L1's CR3
    expect_equal(guest.save().cr3, own.root(), "L2 has L1's tables");
    for (unsigned round = 0; round < 6; ++round) {
        own.entry(linear, 1) = page[round % 2] | 7;
        invlpg(linear);
        std::uint64_t seen = 0;
        auto code = [&] { seen = word_at(linear); };
        guest.start(code);
        flush_all(guest);
        guest.run_to_end();
        expect_equal(seen, value_of_page + round % 2, Text{"what L2 reads in round ", round});
        expect_equal(word_at(linear), value_of_page + round % 2, Text{"what L1 reads in round ", round});
    }
    write_cr3(before);
}
SVM_TEST(tlb_shared_by_l2, "svm.tlb.l2_changes_shared_tables",
         "L2 changes the tables that it shares with L1; after L1's INVLPG they are so for it", "15.16") {
    NestedPageTables own;
    const std::uint64_t page[2]{page_with(value_of_page), page_with(value_of_page + 1)};
    auto* const entry = &own.entry(linear, 1);
    *entry = page[0] | 7;
    const auto before = guest::control_register<3>();
    write_cr3(own.root());
    L2 guest;
    for (unsigned round = 0; round < 4; ++round) {
        expect_equal(word_at(linear), value_of_page + round % 2, Text{"what L1 reads in round ", round});
        std::uint64_t seen = 0;
        auto code = [&] {
            *const_cast<volatile std::uint64_t*>(entry) = page[1 - round % 2] | 7;
            invlpg(linear);
            seen = word_at(linear);
        };
        guest.start(code);
        guest.run_to_end();
        expect_equal(seen, value_of_page + 1 - round % 2, Text{"what L2 reads in round ", round});
        invlpg(linear);
        expect_equal(word_at(linear), value_of_page + 1 - round % 2,
                     Text{"what L1 reads then in round ", round});
    }
    write_cr3(before);
}
SVM_TEST(tlb_l1_cr3_moves, "svm.tlb.l1_cr3_changes_between_runs",
         "L1 changes its own CR3 between runs of L2, which keeps its own", "15.16") {
    Mapped mapped;
    NestedPageTables l1;
    l1.entry(linear, 1) = mapped.page[1] | 7;
    const auto before = guest::control_register<3>();
    for (unsigned round = 0; round < 4; ++round) {
        write_cr3(l1.root());
        expect_equal(word_at(linear), value_of_page + 1, Text{"what L1 reads in round ", round});
        mapped.expect_page(0, tlb_control::do_nothing, Text{"what L2 reads in round ", round});
        expect_equal(guest::control_register<3>(), l1.root(), "L1's CR3 after the exit");
        expect_equal(word_at(linear), value_of_page + 1, "what L1 reads after the exit");
        write_cr3(before);
    }
}

// Accessed and dirty bits of L2's own entries.
SVM_TEST(tlb_accessed, "svm.tlb.accessed_and_dirty", "L2's entries get A and D without nested paging",
         "5.4.2") {
    Mapped mapped;
    constexpr auto both = npt_bit::accessed | npt_bit::dirty;
    for (unsigned level = 1; level <= 4; ++level)
        mapped.entry(level) &= ~both;
    mapped.expect_page(0, tlb_control::flush_all, Text{"what L2 reads"});
    for (unsigned level = 1; level <= 4; ++level)
        expect_equal(mapped.entry(level) & npt_bit::accessed, npt_bit::accessed, Text{"A at level ", level});
    expect_equal(mapped.entry() & npt_bit::dirty, 0, "D after a read");
    auto code = [&] { make_access(Access::write, linear); };
    mapped.guest.start(code);
    mapped.guest.run_to_end();
    expect_equal(mapped.entry() & both, both, "A and D after a write");
}

// Nested paging on and off under one ASID, flushed.
SVM_TEST(tlb_np_switch, "svm.tlb.nested_paging_on_and_off",
         "NP_ENABLE changes between flushed runs of one ASID", "15.25.3", .needs = "npt") {
    Mapped mapped;
    NestedPageTables nested;
    nested.entry(mapped.page[0], 1) = mapped.page[1] | 7;
    for (unsigned round = 0; round < 6; ++round) {
        mapped.guest.control().nested_ctl = round % 2;
        mapped.guest.control().n_cr3 = nested.root();
        mapped.expect_page(round % 2, tlb_control::flush_all, Text{"what L2 reads in round ", round});
    }
}
SVM_TEST(tlb_np_two, "svm.tlb.nested_paging_one_of_two",
         "One L2 with nested paging and one without, ASIDs of their own", "15.25.3", .needs = "npt") {
    Mapped with{1};
    Mapped without{2};
    NestedPageTables nested;
    nested.entry(with.page[0], 1) = with.page[1] | 7;
    nested.use_in(with.guest);
    for (unsigned round = 0; round < 6; ++round) {
        with.expect_page(1, tlb_control::do_nothing, Text{"the one with, round ", round});
        without.expect_page(0, tlb_control::do_nothing, Text{"the one without, round ", round});
    }
}
SVM_TEST(tlb_np_table_page, "svm.tlb.nested_and_own_table_one_page",
         "One page is L2's page table in one run and a nested one in the next", "15.25.3", .needs = "npt") {
    Mapped mapped;
    for (unsigned round = 0; round < 4; ++round) {
        // The identity map of `own` does as well as the nested one; `linear` is above what L2 then uses.
        mapped.guest.control().nested_ctl = round % 2;
        mapped.guest.control().n_cr3 = mapped.own.root();
        mapped.guest.save().cr3 = round % 2 == 0 ? mapped.own.root() : guest::control_register<3>();
        const auto address = round % 2 == 0 ? linear : mapped.page[0];
        auto code = [&] { mapped.seen[0] = word_at(address); };
        mapped.guest.start(code);
        flush_all(mapped.guest);
        mapped.guest.run_to_end();
        expect_equal(mapped.seen[0], value_of_page, Text{"what L2 reads in round ", round});
    }
}

// TLB_CONTROL itself.
namespace {

template<unsigned value>
void valid_tlb_control() {
    L2 guest;
    std::uint64_t ran = 0;
    auto code = [&] { ++ran; };
    guest.start(code);
    guest.control().tlb_control = value;
    guest.run_to_end();
    expect_equal(ran, 1U, "runs of L2");
}

} // namespace

// Encodings that table 15-9 does not define are reserved, and VMRUN's consistency checks (15.5.1) do not name
// them: it may refuse them, or run L2 as with any other.
SVM_TEST(tlb_control_reserved, "svm.tlb.control_reserved",
         "A reserved TLB_CONTROL is refused, or L2 runs and sees what is mapped", "15.16.1") {
    Mapped mapped;
    for (unsigned value = 2; value < 256; ++value) {
        if (value == tlb_control::flush_asid || value == tlb_control::flush_asid_non_global)
            continue;
        mapped.seen[0] = 0;
        auto code = [&] { mapped.seen[0] = word_at(linear); };
        mapped.guest.start(code);
        mapped.guest.control().tlb_control = static_cast<std::uint8_t>(value);
        const bool refused = mapped.guest.run() == ExitCode::invalid;
        if (!expect(refused || mapped.guest.at_end(), Text{"L2 came to its end with TLB_CONTROL ", value}) ||
            !expect_equal(mapped.seen[0], refused ? 0 : value_of_page, Text{"what L2 read with ", value}))
            return;
    }
}
SVM_CASE(tlb_control_0, "svm.tlb.control_0", "TLB_CONTROL 0 is valid", "15.16.1", &valid_tlb_control<0>)
SVM_CASE(tlb_control_1, "svm.tlb.control_1", "TLB_CONTROL 1 is valid", "15.16.1", &valid_tlb_control<1>)
SVM_CASE(tlb_control_3, "svm.tlb.control_3", "TLB_CONTROL 3 is valid with FlushByAsid", "15.16.1",
         &valid_tlb_control<3>, .needs = "flushbyasid")
SVM_CASE(tlb_control_7, "svm.tlb.control_7", "TLB_CONTROL 7 is valid with FlushByAsid", "15.16.1",
         &valid_tlb_control<7>, .needs = "flushbyasid")

SVM_TEST(tlb_largest_asid, "svm.tlb.largest_asid", "The largest ASID that CPUID tells of can be used",
         "15.16") {
    Mapped mapped;
    mapped.guest.control().asid = guest::cpuid(0x8000'000a, 0).ebx - 1;
    mapped.expect_page(0, tlb_control::do_nothing, Text{"with the largest ASID"});
    mapped.entry() = mapped.page[1] | 7;
    mapped.expect_page(1, tlb_control::flush_all, Text{"after a flush"});
}

// PCIDs within L2.
SVM_TEST(tlb_pcid, "svm.tlb.pcid", "L2's PCIDs keep translations apart, and CR3 without bit 63 takes its own",
         "5.5.1") {
    if ((guest::cpuid(1, 0).ecx >> 17 & 1) == 0)
        return conform::not_applicable("the vCPU has no PCID (CPUID Fn0000_0001 ECX bit 17)");
    Mapped mapped;
    NestedPageTables other;
    other.entry(linear, 1) = mapped.page[1] | 7;
    mapped.guest.save().cr4 |= cr4_pcide;
    mapped.guest.save().cr3 = mapped.own.root() | 1;
    constexpr std::uint64_t keep = std::uint64_t{1} << 63;
    auto* const entry = &mapped.entry();
    auto code = [&] {
        mapped.seen[0] = word_at(linear);
        write_cr3(other.root() | 2);
        mapped.seen[1] = word_at(linear);
        write_cr3(mapped.own.root() | 1 | keep);
        mapped.seen[2] = word_at(linear);
        *const_cast<volatile std::uint64_t*>(entry) = mapped.page[1] | 7;
        write_cr3(mapped.own.root() | 1);
        mapped.seen[3] = word_at(linear);
    };
    mapped.guest.start(code);
    mapped.guest.run_to_end();
    expect_equal(mapped.seen[0], value_of_page, "PCID 1");
    expect_equal(mapped.seen[1], value_of_page + 1, "PCID 2");
    expect_equal(mapped.seen[2], value_of_page, "PCID 1 again");
    expect_equal(mapped.seen[3], value_of_page + 1, "PCID 1 after its entry changed and CR3 was written");
    expect_equal(mapped.guest.save().cr3, mapped.own.root() | 1, "CR3 in the VMCB");
}

// PAE without nested paging: the pointers are L2's own, loaded with CR3 and at VMRUN.
L2_CODE(l2_tlb_read_32, 32, "movl (%esi), %eax; vmmcall");
L2_CODE(l2_tlb_cr3_32, 32, "movl (%esi), %eax; movl %ebx, %cr3; movl (%esi), %edx; vmmcall");

namespace {

// The pointers are written anew before each run: VMRUN holds their bits 8:5 to be zero, as they were written.
struct Pae {
    L2 guest;
    std::uint64_t cr3[2]{};
    std::uint64_t pointers[2][4]{};
    explicit Pae(const char* code) {
        for (unsigned i = 0; i < 2; ++i) {
            set_pae_mode(guest.save(), reinterpret_cast<std::uint64_t>(code),
                         conform::physical(conform::allocate_pages(1)) + 4096);
            cr3[i] = guest.save().cr3;
            auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
            table[0] = page_with(value_of_page + i + 1) | 7;
            auto* const directory = reinterpret_cast<std::uint64_t*>(pointer(i) & npt_bit::address);
            directory[0] = conform::physical(table) | 7;
            for (unsigned k = 0; k < 4; ++k)
                pointers[i][k] = reinterpret_cast<std::uint64_t*>(cr3[i])[k];
        }
        guest.save().cr3 = cr3[0];
        guest.registers.rsi = std::uint64_t{2} << 30;
    }
    std::uint64_t& pointer(unsigned i) { return reinterpret_cast<std::uint64_t*>(cr3[i])[2]; }
    std::uint64_t read(const Text& what) {
        guest.save().rip = reinterpret_cast<std::uint64_t>(l2_tlb_read_32);
        guest.run_to(ExitCode::vmmcall, what);
        for (unsigned i = 0; i < 2; ++i)
            for (unsigned k = 0; k < 4; ++k)
                reinterpret_cast<std::uint64_t*>(cr3[i])[k] = pointers[i][k];
        return guest.save().rax & 0xffff'ffff;
    }
};

} // namespace

SVM_TEST(tlb_pae_two, "svm.tlb.pae_two_cr3", "PAE L2 with one CR3 and another in the VMCB", "15.5.1") {
    Pae pae{l2_tlb_read_32};
    for (unsigned round = 0; round < 6; ++round) {
        pae.guest.save().cr3 = pae.cr3[round % 2];
        flush_all(pae.guest);
        expect_equal(pae.read(Text{"round ", round}), round % 2 + 1, Text{"what L2 reads in round ", round});
    }
}
SVM_TEST(tlb_pae_pointers, "svm.tlb.pae_pointers_loaded_at_vmrun",
         "VMRUN loads the pointers of PAE that stand in memory then", "15.5.1") {
    Pae pae{l2_tlb_read_32};
    const auto first = pae.pointer(0);
    const auto second = pae.pointer(1);
    for (unsigned round = 0; round < 4; ++round) {
        pae.pointer(0) = round % 2 == 0 ? first : second;
        flush_all(pae.guest);
        expect_equal(pae.read(Text{"round ", round}), round % 2 + 1, Text{"what L2 reads in round ", round});
    }
}
SVM_TEST(tlb_pae_cr3, "svm.tlb.pae_l2_writes_cr3", "PAE L2 writes CR3: the pointers are those of the new one",
         "15.5.1") {
    Pae pae{l2_tlb_cr3_32};
    pae.guest.registers.rbx = pae.cr3[1];
    pae.guest.run_to(ExitCode::vmmcall, "L2 writes CR3");
    expect_equal(pae.guest.save().rax & 0xffff'ffff, 1U, "read before");
    expect_equal(pae.guest.registers.rdx & 0xffff'ffff, 2U, "read after");
    expect_equal(pae.guest.save().cr3, pae.cr3[1], "CR3 in the VMCB");
}
SVM_TEST(tlb_pae_and_long, "svm.tlb.pae_and_long_in_turns", "A PAE L2 and a 64-bit L2 in turns", "15.5.1") {
    Pae pae{l2_tlb_read_32};
    Mapped mapped{2};
    for (unsigned round = 0; round < 4; ++round) {
        expect_equal(pae.read(Text{"PAE in round ", round}), 1U, Text{"what PAE reads in round ", round});
        mapped.expect_page(0, tlb_control::do_nothing, Text{"what 64-bit L2 reads in round ", round});
    }
}

} // namespace nestbed::svm
