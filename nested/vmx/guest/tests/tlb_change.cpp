// Translations over changes of what L2 is: its CR3, EPT on and off, VMCSs that move, tables that L1 shares.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/modes.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

L2_CODE(l2_tlb_read_32, 32, "movl (%esi), %eax; vmcall");

namespace {

constexpr std::uint64_t linear = std::uint64_t{3} << 39;
constexpr std::uint64_t value_of_page = 0x7368'6172'0000'0000;
constexpr std::uint16_t vpid = 11;

void use_vpid() {
    set(Field::primary_controls, primary::activate_secondary_controls);
    set(Field::secondary_controls, secondary::enable_vpid);
    write(Field::virtual_processor_identifier, vpid);
}
// After what an L1 may not expect VM entry to invalidate.
void flush_vpid() {
    for (const unsigned type : {1U, 2U})
        if (has_invvpid(type)) {
            expect_equal(invvpid(type, {type == 1 ? vpid : 0U, 0}), Outcome::succeed, "INVVPID");
            return;
        }
}
void load_cr3(std::uint64_t value) {
    asm volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}

std::uint64_t read_at(L2& guest, std::uint64_t address, const Text& what) {
    std::uint64_t seen = 0;
    auto code = [&] { seen = word_at(address); };
    guest.start(code);
    guest.run_to_end(what.c_str());
    return seen;
}
void expect_page(L2& guest, unsigned which, const Text& what) {
    expect_equal(read_at(guest, linear, what), value_of_page + which, what);
}

// Two address spaces that differ at `linear`.
struct Spaces {
    LongModeTables tables[2];
    std::uint64_t page[2]{page_with(value_of_page), page_with(value_of_page + 1)};
    Spaces() {
        for (unsigned i = 0; i < 2; ++i)
            tables[i].entry(linear, 1) = page[i] | page_bit::all;
    }
};

} // namespace

VMX_TEST(tlb_l1_cr3, "vmx.tlb.l1_changes_cr3", "L1 gives L2 another CR3 at each entry, without VPIDs",
         "Caching Translation Information") {
    Spaces spaces;
    L2 guest;
    for (unsigned round = 0; round < 8; ++round) {
        write(Field::guest_cr3, spaces.tables[round % 2].root());
        expect_page(guest, round % 2, Text{"round ", round});
        expect_equal(read(Field::guest_cr3), spaces.tables[round % 2].root(), "guest CR3");
    }
}
VMX_TEST(tlb_l1_cr3_vpid, "vmx.tlb.l1_changes_cr3_vpid", "L1 gives L2 another CR3 and flushes its VPID",
         "INVVPID", .needs = "vpid,invvpid") {
    Spaces spaces;
    L2 guest;
    use_vpid();
    for (unsigned round = 0; round < 8; ++round) {
        write(Field::guest_cr3, spaces.tables[round % 2].root());
        flush_vpid();
        expect_page(guest, round % 2, Text{"round ", round});
    }
}
VMX_TEST(tlb_l1_cr3_ept, "vmx.tlb.l1_changes_cr3_ept", "L1 gives an L2 under EPT another CR3 at each entry",
         "Caching Translation Information", .needs = "ept") {
    Spaces spaces;
    L2 guest;
    const ExtendedPageTables ept;
    ept.use_in(guest);
    for (unsigned round = 0; round < 8; ++round) {
        write(Field::guest_cr3, spaces.tables[round % 2].root());
        expect_page(guest, round % 2, Text{"round ", round});
    }
}
VMX_TEST(tlb_cr3_load_exiting, "vmx.tlb.l1_emulates_cr3",
         "L1 that intercepts MOV to CR3 carries it out for L2 by the VMCS",
         "Caching Translation Information") {
    Spaces spaces;
    if (!allowed_primary().may_set(primary::cr3_load_exiting))
        return conform::not_applicable("KVM does not offer CR3-load exiting");
    L2 guest;
    set(Field::primary_controls, primary::cr3_load_exiting);
    write(Field::guest_cr3, spaces.tables[0].root());
    std::uint64_t seen[4]{};
    auto code = [&] {
        for (unsigned i = 0; i < 4; ++i) {
            load_cr3(spaces.tables[i % 2].root());
            seen[i] = word_at(linear);
        }
    };
    guest.start(code);
    for (unsigned i = 0; i < 4; ++i) {
        if (!guest.run_to(ExitReason::control_register_access, "MOV to CR3"))
            return;
        expect_equal(read(Field::guest_cr3), spaces.tables[i == 0 ? 0 : (i - 1) % 2].root(),
                     "guest CR3, not yet changed");
        write(Field::guest_cr3, spaces.tables[i % 2].root());
        guest.skip();
    }
    guest.run_to_end();
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(seen[i], value_of_page + i % 2, Text{"what L2 reads, ", i});
}
VMX_TEST(tlb_l2_cr3, "vmx.tlb.l2_two_cr3", "L2 loads one CR3 and another, and L1 finds the last",
         "Caching Translation Information") {
    Spaces spaces;
    L2 guest;
    clear(Field::primary_controls, primary::cr3_load_exiting | primary::cr3_store_exiting);
    std::uint64_t seen[4]{};
    auto code = [&] {
        for (unsigned i = 0; i < 4; ++i) {
            load_cr3(spaces.tables[i % 2].root());
            seen[i] = word_at(linear);
        }
    };
    guest.start(code);
    guest.run_to_end();
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(seen[i], value_of_page + i % 2, Text{"what L2 reads, ", i});
    expect_equal(read(Field::guest_cr3), spaces.tables[1].root(), "guest CR3");
}
VMX_TEST(tlb_host_cr3, "vmx.tlb.host_cr3_changes", "An exit loads the host's CR3 of then, with its mappings",
         "Loading Host Control Registers, Debug Registers, MSRs") {
    Spaces spaces;
    L2 guest;
    const auto before = read(Field::host_cr3);
    auto code = [] {};
    for (unsigned round = 0; round < 6; ++round) {
        write(Field::host_cr3, spaces.tables[round % 2].root());
        guest.start(code);
        guest.run_to_end();
        expect_equal(guest::control_register<3>(), spaces.tables[round % 2].root(), "L1's CR3");
        expect_equal(word_at(linear), value_of_page + round % 2, Text{"what L1 reads in round ", round});
    }
    load_cr3(before);
}
VMX_TEST(tlb_shared, "vmx.tlb.tables_shared_with_l1",
         "L1 changes the tables that it shares with L2, and INVLPG is enough for itself",
         "Caching Translation Information") {
    LongModeTables own;
    const std::uint64_t page[2]{page_with(value_of_page), page_with(value_of_page + 1)};
    const auto before = guest::control_register<3>();
    own.entry(linear, 1) = page[0] | page_bit::all;
    load_cr3(own.root());
    L2 guest;
    for (unsigned round = 0; round < 6; ++round) {
        own.entry(linear, 1) = page[round % 2] | page_bit::all;
        asm volatile("invlpg (%0)" : : "r"(linear) : "memory");
        expect_equal(word_at(linear), value_of_page + round % 2, Text{"what L1 reads in round ", round});
        expect_page(guest, round % 2, Text{"what L2 reads in round ", round});
    }
    load_cr3(before);
}
VMX_TEST(tlb_shared_by_l2, "vmx.tlb.tables_changed_by_l2",
         "L2 changes the tables that it shares with L1; the exit brings L1 the change, without VPIDs",
         "Caching Translation Information") {
    LongModeTables own;
    const std::uint64_t page[2]{page_with(value_of_page), page_with(value_of_page + 1)};
    const auto before = guest::control_register<3>();
    auto* const entry = &own.entry(linear, 1);
    *entry = page[0] | page_bit::all;
    load_cr3(own.root());
    L2 guest;
    for (unsigned round = 0; round < 6; ++round) {
        auto code = [&] { *const_cast<volatile std::uint64_t*>(entry) = page[round % 2] | page_bit::all; };
        guest.start(code);
        guest.run_to_end();
        // Without VPIDs an exit invalidates what VPID 0 has, L1's own mappings.
        expect_equal(word_at(linear), value_of_page + round % 2, Text{"what L1 reads in round ", round});
    }
    load_cr3(before);
}
VMX_TEST(tlb_flags, "vmx.tlb.accessed_and_dirty", "L2's entries get accessed and dirty flags without EPT",
         "Accessed and Dirty Flags") {
    Spaces spaces;
    L2 guest;
    auto& tables = spaces.tables[0];
    write(Field::guest_cr3, tables.root());
    constexpr auto both = page_bit::accessed | page_bit::dirty;
    for (unsigned round = 0; round < 3; ++round) {
        for (unsigned level = 1; level <= 4; ++level)
            tables.entry(linear, level) &= ~both;
        expect_page(guest, 0, Text{"a read"});
        for (unsigned level = 1; level <= 4; ++level)
            expect_equal(tables.entry(linear, level) & page_bit::accessed, page_bit::accessed,
                         Text{"the accessed flag at level ", level});
        expect_equal(tables.entry(linear, 1) & page_bit::dirty, 0, "the dirty flag after a read");
        auto code = [] { make_access(Touch::write, linear + 8); };
        guest.start(code);
        guest.run_to_end();
        expect_equal(tables.entry(linear, 1) & both, both, "the flags after a write");
    }
}

namespace {
// EPT maps the page behind `linear` elsewhere.
void ept_switch(bool with_vpid) {
    Spaces spaces;
    L2 guest;
    ExtendedPageTables ept;
    ept.entry(spaces.page[0], 1) = spaces.page[1] | ept_bit::leaf;
    write(Field::guest_cr3, spaces.tables[0].root());
    if (with_vpid)
        use_vpid();
    for (unsigned round = 0; round < 8; ++round) {
        if (round % 2 == 0)
            stop_using_ept();
        else
            ept.use_in(guest);
        // Mappings with EPT and without are of different kinds: neither is used for the other.
        expect_page(guest, round % 2, Text{"round ", round});
    }
}
} // namespace
VMX_TEST(tlb_ept_switch, "vmx.tlb.ept_on_and_off", "EPT on and off between runs of one VMCS, without VPIDs",
         "Information That May Be Cached", .needs = "ept") {
    ept_switch(false);
}
VMX_TEST(tlb_ept_switch_vpid, "vmx.tlb.ept_on_and_off_vpid", "EPT on and off between runs of one VPID",
         "Information That May Be Cached", .needs = "ept,vpid") {
    ept_switch(true);
}
VMX_TEST(tlb_ept_pointers, "vmx.tlb.ept_pointers_one_vpid",
         "One VPID under two EPTs in turn, nothing is invalidated", "Information That May Be Cached",
         .needs = "ept,vpid") {
    Spaces spaces;
    L2 guest;
    ExtendedPageTables ept[2];
    ept[1].entry(spaces.page[0], 1) = spaces.page[1] | ept_bit::leaf;
    write(Field::guest_cr3, spaces.tables[0].root());
    use_vpid();
    for (unsigned round = 0; round < 8; ++round) {
        ept[round % 2].use_in(guest);
        expect_page(guest, round % 2, Text{"round ", round});
    }
}
VMX_TEST(tlb_invept_combined, "vmx.tlb.invept_takes_combined",
         "INVEPT takes the mappings from linear addresses too, of every VPID", "INVEPT",
         .needs = "ept,vpid,invept") {
    Spaces spaces;
    L2 guest;
    ExtendedPageTables ept;
    ept.use_in(guest);
    write(Field::guest_cr3, spaces.tables[0].root());
    use_vpid();
    for (unsigned round = 0; round < 8; ++round) {
        ept.entry(spaces.page[0], 1) = spaces.page[round % 2] | ept_bit::leaf;
        ept.invalidate();
        for (const std::uint16_t number : {vpid, std::uint16_t{12}}) {
            write(Field::virtual_processor_identifier, number);
            expect_page(guest, round % 2, Text{"VPID ", std::uint32_t{number}, " in round ", round});
        }
    }
}
VMX_TEST(tlb_table_page, "vmx.tlb.ept_and_own_table_one_page",
         "One page is L2's page table in one run and a table of EPT in the next",
         "Information That May Be Cached", .needs = "ept") {
    L2 guest;
    LongModeTables own;
    ExtendedPageTables ept;
    const auto address = page_with(value_of_page);
    const auto other = page_with(value_of_page + 1);
    write(Field::guest_cr3, own.root());
    // In both formats this is a page that may be read, written and executed.
    const auto table = page_with(0);
    auto* const entries = guest::pointer_to<std::uint64_t>(table);
    constexpr std::uint64_t large_page = 0x1f'ffff;
    for (std::uint64_t i = 0; i < 512; ++i)
        entries[i] = ((address & ~large_page) + i * 4096) | ept_bit::leaf;
    entries[address >> 12 & 511] = other | ept_bit::leaf;
    const auto own_before = own.entry(address, 2);
    ept.entry(address, 2) = table | ept_bit::all;
    for (unsigned round = 0; round < 6; ++round) {
        own.entry(address, 2) = round % 2 == 0 ? table | page_bit::all : own_before;
        if (round % 2 == 0)
            stop_using_ept();
        else
            ept.use_in(guest);
        const Text what{round % 2 == 0 ? "as L2's table, round " : "as a table of EPT, round ", round};
        expect_equal(read_at(guest, address, what), value_of_page + 1, what);
        stop_using_ept();
        own.entry(address, 2) = own_before;
        const Text plain{"as neither, round ", round};
        expect_equal(read_at(guest, address, plain), value_of_page, plain);
    }
}

VMX_TEST(tlb_vmcs_moves, "vmx.tlb.vmclear_between",
         "L2 keeps its translations right over VMCLEAR and VMPTRLD", "VMCLEAR", .needs = "ept") {
    Spaces spaces;
    ExtendedPageTables ept[2];
    ept[1].entry(spaces.page[0], 1) = spaces.page[1] | ept_bit::leaf;
    L2 first;
    write(Field::guest_cr3, spaces.tables[0].root());
    ept[0].use_in(first);
    L2 second;
    write(Field::guest_cr3, spaces.tables[0].root());
    ept[1].use_in(second);
    for (unsigned round = 0; round < 6; ++round) {
        auto& guest = round % 2 == 0 ? first : second;
        if (round % 3 == 0)
            guest.clear();
        else
            guest.load();
        expect_page(guest, round % 2, Text{"round ", round});
    }
}
VMX_TEST(tlb_three_kinds, "vmx.tlb.three_kinds_in_turns",
         "A 64-bit L2 under EPT, one without, and a PAE one, in turns", "Caching Translation Information",
         .needs = "ept") {
    Spaces spaces;
    ExtendedPageTables ept;
    ept.entry(spaces.page[0], 1) = spaces.page[1] | ept_bit::leaf;
    L2 under_ept;
    write(Field::guest_cr3, spaces.tables[0].root());
    ept.use_in(under_ept);
    L2 without;
    write(Field::guest_cr3, spaces.tables[0].root());
    L2 pae;
    const auto code = reinterpret_cast<std::uint64_t>(l2_tlb_read_32);
    set_pae_mode(pae, code, conform::physical(conform::allocate_pages(2)) + 4096);
    pae.registers.rsi = spaces.page[0];
    for (unsigned round = 0; round < 4; ++round) {
        under_ept.load();
        expect_page(under_ept, 1, Text{"under EPT, round ", round});
        without.load();
        expect_page(without, 0, Text{"without EPT, round ", round});
        pae.load();
        write(Field::guest_rip, code);
        pae.run_to(ExitReason::vmcall, "PAE");
        expect_equal(pae.registers.rax & 0xffff'ffff, value_of_page & 0xffff'ffff,
                     Text{"PAE, round ", round});
    }
}
VMX_TEST(tlb_pcid, "vmx.tlb.pcid", "L2's PCIDs keep translations apart, and CR3 without bit 63 takes its own",
         "Process-Context Identifiers (PCIDs)") {
    constexpr std::uint64_t cr4_pcide = 1U << 17;
    if ((guest::cpuid(1, 0).ecx >> 17 & 1) == 0)
        return conform::not_applicable("the vCPU has no PCID");
    Spaces spaces;
    L2 guest;
    clear(Field::primary_controls, primary::cr3_load_exiting | primary::cr3_store_exiting);
    write(Field::guest_cr3, spaces.tables[0].root());
    set(Field::guest_cr4, cr4_pcide);
    constexpr std::uint64_t keep = std::uint64_t{1} << 63;
    std::uint64_t seen[6]{};
    auto code = [&] {
        for (unsigned i = 0; i < 6; ++i) {
            // The first two of each PCID without bit 63.
            load_cr3(spaces.tables[i % 2].root() | (i % 2 + 1) | (i >= 2 ? keep : 0));
            seen[i] = word_at(linear);
        }
    };
    guest.start(code);
    guest.run_to_end();
    for (unsigned i = 0; i < 6; ++i)
        expect_equal(seen[i], value_of_page + i % 2, Text{"what L2 reads, ", i});
    expect_equal(read(Field::guest_cr3), spaces.tables[1].root() | 2, "guest CR3, bit 63 is not part of it");
}

} // namespace nestbed::vmx
