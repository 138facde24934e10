// Translations and VPIDs: what an invalidation must take away, and what a VPID must keep apart. A stale
// translation is never asked for, only what the manual guarantees (SDM volume 3, "Caching Translation
// Information").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

constexpr std::uint64_t value_of_page = 0x7061'6765'0000'0000;
constexpr std::uint64_t linear = std::uint64_t{3} << 39; // an entry of the highest level of its own
constexpr std::uint64_t cr4_pge = 1U << 7;

void invlpg(std::uint64_t address) {
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}
void load_cr3(std::uint64_t value) {
    asm volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}

// What L1 does before it enters L2.
enum class Flush : unsigned { address = 0, context = 1, all = 2, context_but_globals = 3, none };

bool offered(Flush flush) {
    if (flush > Flush::context_but_globals || has_invvpid(static_cast<unsigned>(flush)))
        return true;
    not_applicable("this type of INVVPID is not offered");
    return false;
}

// Two pages, and an L2 whose own tables map `linear` to one or the other. VPID 0: without VPIDs.
struct Mapped {
    L2 guest;
    LongModeTables own;
    std::uint64_t page[2]{page_with(value_of_page), page_with(value_of_page + 1)};
    std::uint64_t seen[4]{};
    std::uint16_t vpid;

    explicit Mapped(std::uint16_t number) : vpid{number} {
        write(Field::guest_cr3, own.root());
        use_vpid(number);
        entry() = page[0] | page_bit::all;
    }
    void use_vpid(std::uint16_t number) {
        vpid = number;
        set(Field::primary_controls, primary::activate_secondary_controls);
        if (number == 0)
            return clear(Field::secondary_controls, secondary::enable_vpid);
        set(Field::secondary_controls, secondary::enable_vpid);
        write(Field::virtual_processor_identifier, number);
    }
    std::uint64_t& entry(unsigned level = 1) { return own.entry(linear, level); }

    void flush(Flush how, std::uint64_t address = linear) const {
        if (how > Flush::context_but_globals)
            return;
        const auto type = static_cast<unsigned>(how);
        expect_equal(invvpid(type, {type == 2 ? 0U : vpid, type == 0 ? address : 0}), Outcome::succeed,
                     "INVVPID");
    }
    // What L2 reads at `linear` in one run.
    std::uint64_t read(const Text& what) {
        seen[0] = 0;
        auto code = [&] { seen[0] = word_at(linear); };
        guest.start(code);
        guest.run_to_end(what.c_str());
        return seen[0];
    }
    void expect_page(unsigned which, const Text& what) {
        expect_equal(read(what), value_of_page + which, what);
    }
};

// The entry at `level` changes in L1's hands, L1 flushes.
template<unsigned level, Flush how>
void remapped(std::uint16_t vpid, std::uint64_t bits, bool with_ept) {
    if (!offered(how))
        return;
    Mapped mapped{vpid};
    ExtendedPageTables ept;
    if (with_ept)
        ept.use_in(mapped.guest);
    LongModeTables other;
    other.entry(linear, 1) = mapped.page[1] | page_bit::all | bits;
    mapped.entry() |= bits;
    if (bits != 0)
        set(Field::guest_cr4, cr4_pge);
    const auto before = mapped.entry(level);
    const auto after = other.entry(linear, level);
    for (unsigned round = 0; round < 6; ++round) {
        mapped.entry(level) = round % 2 == 0 ? before : after;
        mapped.flush(how);
        mapped.expect_page(round % 2, Text{"what L2 reads in round ", round});
    }
}

} // namespace

#define REMAPPED(level, how, name, title, features, vpid, bits, ept)                                         \
    VMX_TEST(tlb_remapped_##level##_##name, "vmx.tlb.remap_level" #level "_" #name,                          \
             "An entry of L2's that L1 changes is in use after " title,                                      \
             "Operations that Invalidate Cached Mappings", .needs = features) {                              \
        remapped<level, Flush::how>(vpid, bits, ept);                                                        \
    }
#define REMAPPED_AT(level)                                                                                   \
    REMAPPED(level, none, no_vpid, "VM entry without VPIDs", "", 0, 0, false)                                \
    REMAPPED(level, none, no_vpid_ept, "VM entry without VPIDs, under EPT", "ept", 0, 0, true)               \
    REMAPPED(level, address, address, "INVVPID of its address", "vpid,invvpid_address", 7, 0, false)         \
    REMAPPED(level, context, context, "INVVPID of its VPID", "vpid,invvpid_single", 7, 0, false)             \
    REMAPPED(level, all, all, "INVVPID of all VPIDs", "vpid,invvpid_all", 7, 0, false)                       \
    REMAPPED(level, context_but_globals, but_globals, "INVVPID of its VPID but for global translations",     \
             "vpid,invvpid_single_globals", 7, 0, false)                                                     \
    REMAPPED(level, address, address_ept, "INVVPID of its address, under EPT", "ept,vpid,invvpid_address",   \
             7, 0, true)                                                                                     \
    REMAPPED(level, context, context_ept, "INVVPID of its VPID, under EPT", "ept,vpid,invvpid_single", 7, 0, \
             true)
REMAPPED_AT(1)
REMAPPED_AT(2)
REMAPPED_AT(3)
REMAPPED_AT(4)
REMAPPED(1, none, global_no_vpid, "VM entry without VPIDs, global ones too", "", 0, page_bit::global, false)
REMAPPED(1, address, global_address, "INVVPID of its address, global ones too", "vpid,invvpid_address", 7,
         page_bit::global, false)
REMAPPED(1, context, global_context, "INVVPID of its VPID, global ones too", "vpid,invvpid_single", 7,
         page_bit::global, false)
REMAPPED(1, all, global_all, "INVVPID of all VPIDs, global ones too", "vpid,invvpid_all", 7, page_bit::global,
         false)

VMX_TEST(tlb_offset, "vmx.tlb.invvpid_within_page",
         "INVVPID of any address in the page takes its translation", "INVVPID",
         .needs = "vpid,invvpid_address") {
    if (!offered(Flush::address))
        return;
    Mapped mapped{7};
    for (unsigned round = 0; round < 4; ++round) {
        mapped.entry() = mapped.page[round % 2] | page_bit::all;
        mapped.flush(Flush::address, linear + 0x357 * round);
        mapped.expect_page(round % 2, Text{"what L2 reads in round ", round});
    }
}

VMX_TEST(tlb_new_vpid, "vmx.tlb.remap_new_vpid", "A VPID not used before has no translations",
         "Virtual Processor Identifiers (VPIDs)", .needs = "vpid") {
    Mapped mapped{1};
    for (unsigned round = 0; round < 6; ++round) {
        mapped.entry() = mapped.page[round % 2] | page_bit::all;
        mapped.use_vpid(static_cast<std::uint16_t>(1 + round));
        mapped.expect_page(round % 2, Text{"what L2 reads with VPID ", 1 + round});
    }
}
VMX_TEST(tlb_new_vpid_global, "vmx.tlb.global_new_vpid", "Global pages are global within their VPID alone",
         "Virtual Processor Identifiers (VPIDs)", .needs = "vpid") {
    Mapped mapped{1};
    set(Field::guest_cr4, cr4_pge);
    for (unsigned round = 0; round < 6; ++round) {
        mapped.entry() = mapped.page[round % 2] | page_bit::all | page_bit::global;
        mapped.use_vpid(static_cast<std::uint16_t>(0xffff - round));
        mapped.expect_page(round % 2, Text{"what L2 reads with VPID ", 0xffff - round});
    }
}

namespace {

// Two L2 in turns, without any flush.
void two_guests(std::uint16_t first_vpid, std::uint16_t second_vpid, std::uint64_t bits, bool ept_first,
                bool ept_second, Flush flush = Flush::none) {
    if (!offered(flush))
        return;
    Mapped first{first_vpid};
    ExtendedPageTables ept[2];
    if (ept_first)
        ept[0].use_in(first.guest);
    if (bits != 0)
        set(Field::guest_cr4, cr4_pge);
    first.entry() |= bits;
    Mapped second{second_vpid};
    if (ept_second)
        ept[1].use_in(second.guest);
    if (bits != 0)
        set(Field::guest_cr4, cr4_pge);
    second.entry() = second.page[1] | page_bit::all | bits;
    for (unsigned round = 0; round < 8; ++round) {
        first.guest.load();
        first.flush(flush);
        first.expect_page(0, Text{"the first in round ", round});
        second.guest.load();
        second.flush(flush);
        second.expect_page(1, Text{"the second in round ", round});
    }
}

} // namespace

#define TWO(name, title, features, ...)                                                                      \
    VMX_TEST(tlb_two_##name, "vmx.tlb.two_guests_" #name, title, "Caching Translation Information",          \
             .needs = features) {                                                                            \
        two_guests(__VA_ARGS__);                                                                             \
    }
TWO(no_vpid, "Two L2 without VPIDs in turns", "", 0, 0, 0, false, false)
TWO(no_vpid_global, "Two L2 without VPIDs in turns, with global pages", "", 0, 0, page_bit::global, false,
    false)
TWO(two_vpids, "Two L2 with VPIDs of their own in turns, nothing is invalidated", "vpid", 1, 2, 0, false,
    false)
TWO(two_vpids_global, "Global pages of one VPID are not another's", "vpid", 1, 2, page_bit::global, false,
    false)
TWO(one_of_two, "One L2 with a VPID and one without", "vpid", 1, 0, 0, false, false)
TWO(one_vpid, "Two L2 of one VPID, which L1 flushes each time", "vpid,invvpid_single", 5, 5, 0, false, false,
    Flush::context)
TWO(one_vpid_address, "Two L2 of one VPID, of which L1 flushes the address", "vpid,invvpid_address", 5, 5, 0,
    false, false, Flush::address)
TWO(ept, "Two L2 under EPT without VPIDs", "ept", 0, 0, 0, true, true)
TWO(ept_two_vpids, "Two L2 under EPT with VPIDs of their own", "ept,vpid", 1, 2, 0, true, true)
TWO(ept_one_vpid, "Two L2 of one VPID under EPTs of their own: mappings are apart by EPT too", "ept,vpid", 3,
    3, 0, true, true)
TWO(ept_one_vpid_global, "Global pages of one VPID are apart by EPT too", "ept,vpid", 3, 3, page_bit::global,
    true, true)
TWO(ept_one_of_two, "One L2 under EPT and one without", "ept", 0, 0, 0, true, false)
TWO(ept_one_of_two_vpids, "One L2 under EPT and one without, VPIDs of their own", "ept,vpid", 1, 2, 0, true,
    false)

VMX_TEST(tlb_rights, "vmx.tlb.two_vpids_rights", "What one L2 may write, another that may not is refused",
         "Virtual Processor Identifiers (VPIDs)", .needs = "vpid") {
    Mapped first{1};
    Mapped second{2};
    second.entry() = first.page[0] | page_bit::present | page_bit::user;
    second.guest.intercept_exception(14);
    for (unsigned round = 0; round < 4; ++round) {
        auto code = [&] { make_access(Touch::write, linear); };
        first.guest.load();
        first.guest.start(code);
        first.guest.run_to_end();
        second.guest.load();
        second.guest.start(code);
        if (!second.guest.run_to(ExitReason::exception_or_nmi, Text{"round ", round}))
            return;
        expect_equal(read(Field::exit_interruption_error_code), 3U, "the #PF's error code");
        expect_equal(read(Field::exit_qualification), linear, "the #PF's address");
    }
    expect_equal(word_at(first.page[0]), written_value, "what the first wrote");
}

namespace {
void host_apart(std::uint16_t vpid) {
    Mapped mapped{vpid};
    // Where L1 has memory of its own.
    const auto address = page_with(value_of_page + 7);
    mapped.own.entry(address, 1) = mapped.page[0] | page_bit::all;
    for (unsigned round = 0; round < 4; ++round) {
        std::uint64_t seen = 0;
        auto code = [&] { seen = word_at(address); };
        expect_equal(word_at(address), value_of_page + 7, Text{"L1 in round ", round});
        mapped.guest.start(code);
        mapped.guest.run_to_end();
        expect_equal(seen, value_of_page, Text{"L2 in round ", round});
        expect_equal(word_at(address), value_of_page + 7, Text{"L1 after round ", round});
    }
}
} // namespace
VMX_TEST(tlb_host_apart, "vmx.tlb.host_apart", "L2's translations are not L1's, and the other way round",
         "Caching Translation Information") {
    host_apart(0);
}
VMX_TEST(tlb_host_apart_vpid, "vmx.tlb.host_apart_vpid", "With a VPID L2's translations are not L1's",
         "Virtual Processor Identifiers (VPIDs)", .needs = "vpid") {
    host_apart(1);
}

// What permits more is in use without an invalidation.
namespace {
void more_permitted(std::uint64_t at_first, Touch access, std::uint64_t error_code) {
    for (const std::uint16_t vpid : {std::uint16_t{0}, std::uint16_t{9}}) {
        if (vpid != 0 && !allowed_secondary().may_set(secondary::enable_vpid))
            return;
        Mapped mapped{vpid};
        mapped.entry() = at_first == 0 ? 0 : mapped.page[1] | at_first;
        mapped.guest.intercept_exception(14);
        auto code = [&] { mapped.seen[0] = make_access(access, linear); };
        mapped.guest.start(code);
        if (!mapped.guest.run_to(ExitReason::exception_or_nmi, "an entry that forbids it"))
            return;
        expect_equal(read(Field::exit_interruption_error_code), error_code, "the #PF's error code");
        mapped.entry() = mapped.page[1] | page_bit::all;
        mapped.guest.run_to_end();
        if (access == Touch::read)
            expect_equal(mapped.seen[0], value_of_page + 1, "what L2 reads");
        else
            expect_equal(word_at(mapped.page[1]), written_value, "what L2 wrote");
    }
}
} // namespace
VMX_TEST(tlb_made_present, "vmx.tlb.made_present", "An entry of L2's that L1 makes present is in use",
         "Operations that Invalidate Cached Mappings") {
    more_permitted(0, Touch::read, 0);
}
VMX_TEST(tlb_made_writable, "vmx.tlb.made_writable", "An entry of L2's that L1 makes writable is in use",
         "Operations that Invalidate Cached Mappings") {
    more_permitted(page_bit::present, Touch::write, 3);
}

// L2's own means.
namespace {

// L2 reads, changes its entry, does something, and reads again.
template<typename Invalidate>
void l2_remaps(std::uint16_t vpid, bool with_ept, Invalidate invalidate, std::uint64_t bits = 0) {
    Mapped mapped{vpid};
    ExtendedPageTables ept;
    if (with_ept)
        ept.use_in(mapped.guest);
    mapped.entry() |= bits;
    set(Field::guest_cr4, bits != 0 ? cr4_pge : 0);
    auto* const entry = &mapped.entry();
    auto code = [&] {
        for (unsigned i = 0; i < 4; ++i) {
            *const_cast<volatile std::uint64_t*>(entry) = mapped.page[i % 2] | page_bit::all | bits;
            invalidate(mapped);
            mapped.seen[i] = word_at(linear);
        }
    };
    mapped.guest.start(code);
    mapped.guest.run_to_end();
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(mapped.seen[i], value_of_page + i % 2, Text{"what L2 reads, ", i});
}

void toggle_pge(Mapped& /*mapped*/) {
    const auto cr4 = guest::control_register<4>();
    write_cr4(cr4 ^ cr4_pge);
    write_cr4(cr4);
}
void invlpg_linear(Mapped& /*mapped*/) {
    invlpg(linear);
}
void same_cr3(Mapped& mapped) {
    load_cr3(mapped.own.root());
}

} // namespace

#define L2_REMAPS(name, title, how, bits)                                                                    \
    VMX_TEST(tlb_l2_##name, "vmx.tlb.l2_" #name, title,                                                      \
             "Operations that Invalidate TLBs and Paging-Structure Caches") {                                \
        l2_remaps(0, false, how, bits);                                                                      \
    }                                                                                                        \
    VMX_TEST(tlb_l2_##name##_vpid, "vmx.tlb.l2_" #name "_vpid", title " with a VPID",                        \
             "Operations that Invalidate TLBs and Paging-Structure Caches", .needs = "vpid") {               \
        l2_remaps(4, false, how, bits);                                                                      \
    }                                                                                                        \
    VMX_TEST(tlb_l2_##name##_ept, "vmx.tlb.l2_" #name "_ept", title " under EPT with a VPID",                \
             "Operations that Invalidate TLBs and Paging-Structure Caches", .needs = "ept,vpid") {           \
        l2_remaps(4, true, how, bits);                                                                       \
    }
L2_REMAPS(invlpg, "INVLPG in L2 takes the translation", invlpg_linear, 0)
L2_REMAPS(invlpg_global, "INVLPG in L2 takes a global translation", invlpg_linear, page_bit::global)
L2_REMAPS(cr3_write, "A write of CR3 in L2 takes the translation", same_cr3, 0)
L2_REMAPS(pge_toggle, "A change of CR4.PGE in L2 takes global translations", toggle_pge, page_bit::global)

} // namespace nestbed::vmx
