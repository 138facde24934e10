// PDPTEs of an L2 with PAE paging: under EPT they are in the VMCS, without it in memory (SDM volume 3, "Guest
// Page-Directory-Pointer-Table Entries").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/modes.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

L2_CODE(l2_pdpte_read_32, 32, "movl (%esi), %eax; vmcall");
L2_CODE(l2_pdpte_cr3_32, 32, "movl %ebx, %cr3; movl (%esi), %eax; vmcall");
// Toggles CR4.PGE, one of the bits whose change loads PDPTEs anew.
L2_CODE(l2_pdpte_cr4_32, 32, "movl %cr4, %eax; xorl $0x80, %eax; movl %eax, %cr4; movl (%esi), %eax; vmcall");
L2_CODE(l2_pdpte_cr0_32, 32,
        "movl %cr0, %eax; xorl $0x40000000, %eax; movl %eax, %cr0;"
        "movl (%esi), %ecx; xorl $0x40000000, %eax; movl %eax, %cr0; movl %ecx, %eax; vmcall");

namespace {

constexpr std::uint64_t gib = std::uint64_t{1} << 30;
constexpr std::uint64_t linear = 3 * gib + 0x60'0000; // in the fourth quarter, where L2 has nothing else
constexpr std::uint64_t cr4_pge = 1U << 7;

Field pdpte(unsigned i) {
    return static_cast<Field>(static_cast<unsigned>(Field::guest_pdpte0) + 2 * i);
}
std::uint64_t* table_at(std::uint64_t address) {
    return guest::pointer_to<std::uint64_t>(address & page_bit::address);
}
// L2 in PAE mode, and PDPTEs for the fourth quarter that lead to pages with different words.
struct Pae {
    L2 guest;
    ExtendedPageTables ept;
    std::uint64_t cr3[2]{};
    std::uint64_t fourth[2]{};

    explicit Pae(const char* code, bool with_ept = true) {
        for (unsigned i = 0; i < 2; ++i) {
            set_pae_mode(guest, address_of(code), conform::physical(conform::allocate_pages(2)) + 4096);
            cr3[i] = read(Field::guest_cr3);
            fourth[i] = table_at(cr3[i])[3];
            const auto table = conform::physical(conform::allocate_pages(1));
            table_at(fourth[i])[linear >> 21 & 511] = table | page_bit::all;
            table_at(table)[linear >> 12 & 511] = page_with(100 + i) | page_bit::all;
        }
        if (with_ept)
            ept.use_in(guest);
        begin(0);
        write(Field::guest_rip, address_of(code));
        guest.registers.rsi = linear;
        guest.registers.rbx = cr3[1];
    }
    // CR3 and the fields of one of the two.
    void begin(unsigned which) {
        write(Field::guest_cr3, cr3[which]);
        for (unsigned i = 0; i < 4; ++i)
            write(pdpte(i), table_at(cr3[which])[i]);
    }
    void expect_page(unsigned which, const Text& what) {
        if (guest.run_to(ExitReason::vmcall, what))
            expect_equal(guest.registers.rax & 0xffff'ffff, 100 + which, Text{what, ": what L2 read"});
    }
    void expect_fields(unsigned which) {
        for (unsigned i = 0; i < 4; ++i)
            expect_equal(read(pdpte(i)), table_at(cr3[which])[i], Text{"guest PDPTE", i, " after the exit"});
    }
    void refused(const Text& what) {
        const auto entry = guest.try_run();
        if (!expect_equal(entry.outcome, Outcome::succeed, Text{what, ": VM entry gets to guest state"}))
            return;
        expect_equal(entry.reason,
                     1U << 31 | static_cast<std::uint32_t>(ExitReason::entry_failure_guest_state),
                     Text{what, ": exit reason"});
        expect_equal(read(Field::exit_qualification), 2U, Text{what, ": exit qualification, PDPTEs"});
    }
};

// Bits of a PDPTE that is present that are reserved.
bool is_reserved(unsigned bit) {
    return bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= physical_address_bits();
}

} // namespace

VMX_TEST(pdpte_fields, "vmx.ept.pdpte_loaded_from_fields",
         "VM entry under EPT loads PDPTEs from the VMCS, not from memory",
         "Loading Page-Directory-Pointer-Table Entries", .needs = "ept") {
    Pae pae{l2_pdpte_read_32};
    write(pdpte(3), pae.fourth[1]);
    pae.expect_page(1, Text{"a field that differs from memory"});
    expect_equal(read(pdpte(3)), pae.fourth[1], "guest PDPTE3 after the exit");
    expect_equal(table_at(pae.cr3[0])[3], pae.fourth[0], "the PDPTE in memory");
}
VMX_TEST(pdpte_cr3_unused, "vmx.ept.pdpte_memory_not_read",
         "VM entry under EPT does not read what CR3 points at: it may be reserved or not mapped",
         "Loading Page-Directory-Pointer-Table Entries", .needs = "ept") {
    Pae pae{l2_pdpte_read_32};
    const auto garbage = page_with(~std::uint64_t{0});
    write(Field::guest_cr3, garbage);
    pae.expect_page(0, Text{"CR3 at words that are no PDPTEs"});
    write(Field::guest_rip, address_of(l2_pdpte_read_32));
    pae.ept.entry(garbage, 1) = 0;
    pae.ept.invalidate();
    pae.expect_page(0, Text{"CR3 at a page that EPT does not map"});
    expect_equal(read(Field::guest_cr3), garbage, "guest CR3");
}
VMX_TEST(pdpte_saved, "vmx.ept.pdpte_saved_after_cr3",
         "MOV to CR3 in L2 loads PDPTEs, and the exit saves them", "Saving Non-Register State",
         .needs = "ept") {
    Pae pae{l2_pdpte_cr3_32};
    pae.expect_page(1, Text{"after MOV to CR3"});
    expect_equal(read(Field::guest_cr3), pae.cr3[1], "guest CR3");
    pae.expect_fields(1);
    write(Field::guest_rip, address_of(l2_pdpte_read_32));
    pae.expect_page(1, Text{"at the next entry"});
}
VMX_TEST(pdpte_saved_cr4, "vmx.ept.pdpte_loaded_by_cr4",
         "MOV to CR4 that changes PGE loads PDPTEs from memory", "PAE Paging", .needs = "ept") {
    Pae pae{l2_pdpte_cr4_32};
    write(Field::cr4_guest_host_mask, 0);
    table_at(pae.cr3[0])[3] = pae.fourth[1]; // memory differs from the fields
    pae.expect_page(1, Text{"after MOV to CR4"});
    expect_equal(read(pdpte(3)), pae.fourth[1], "guest PDPTE3 after the exit");
    expect_equal(read(Field::guest_cr4) & cr4_pge, cr4_pge, "guest CR4.PGE");
}
VMX_TEST(pdpte_saved_cr0, "vmx.ept.pdpte_loaded_by_cr0",
         "MOV to CR0 that changes CD loads PDPTEs from memory", "PAE Paging", .needs = "ept") {
    Pae pae{l2_pdpte_cr0_32};
    table_at(pae.cr3[0])[3] = pae.fourth[1];
    pae.expect_page(1, Text{"after MOV to CR0"});
    expect_equal(read(pdpte(3)), pae.fourth[1], "guest PDPTE3 after the exit");
}
VMX_TEST(pdpte_kept, "vmx.ept.pdpte_kept_over_exits",
         "PDPTEs that L1 does not touch are those of L2 at the next entry", "Saving Non-Register State",
         .needs = "ept") {
    Pae pae{l2_pdpte_cr3_32};
    pae.expect_page(1, Text{"after MOV to CR3"});
    for (unsigned i = 0; i < 4; ++i)
        table_at(pae.cr3[1])[i] = 0; // memory is not looked at any more
    for (unsigned round = 0; round < 3; ++round) {
        write(Field::guest_rip, address_of(l2_pdpte_read_32));
        pae.expect_page(1, Text{"round ", round});
    }
}
VMX_TEST(pdpte_two_guests, "vmx.ept.pdpte_two_guests", "Two PAE L2 in turns, each with its own PDPTEs",
         "Loading Page-Directory-Pointer-Table Entries", .needs = "ept") {
    Pae first{l2_pdpte_read_32};
    Pae second{l2_pdpte_read_32};
    second.begin(1);
    for (unsigned round = 0; round < 4; ++round) {
        first.guest.load();
        write(Field::guest_rip, address_of(l2_pdpte_read_32));
        first.expect_page(0, Text{"the first in round ", round});
        first.expect_fields(0);
        second.guest.load();
        write(Field::guest_rip, address_of(l2_pdpte_read_32));
        second.expect_page(1, Text{"the second in round ", round});
        second.expect_fields(1);
    }
}

VMX_TEST(pdpte_reserved, "vmx.ept.pdpte_reserved",
         "A reserved bit of a present guest PDPTE fails VM entry with qualification 2",
         "Checks on Guest Page-Directory-Pointer-Table Entries", .needs = "ept") {
    Pae pae{l2_pdpte_read_32};
    for (unsigned i = 0; i < 4; ++i)
        for (unsigned bit = 0; bit < 64; ++bit) {
            // All bits of the first, a few of the others.
            if (!is_reserved(bit) || (i > 0 && bit != 1 && bit != 8 && bit != 63))
                continue;
            const auto before = read(pdpte(i));
            write(pdpte(i), before | std::uint64_t{1} << bit);
            pae.refused(Text{"PDPTE", i, " bit ", bit});
            write(pdpte(i), before);
        }
    pae.expect_page(0, Text{"with all bits as they were"});
}
VMX_TEST(pdpte_not_present, "vmx.ept.pdpte_not_present",
         "Nothing of a guest PDPTE that is not present is checked; using it is L2's #PF",
         "Checks on Guest Page-Directory-Pointer-Table Entries", .needs = "ept") {
    Pae pae{l2_pdpte_read_32};
    pae.guest.intercept_exception(14);
    write(pdpte(3), ~std::uint64_t{1});
    if (!pae.guest.run_to(ExitReason::exception_or_nmi, "a read in the fourth quarter"))
        return;
    expect_equal(read(Field::exit_interruption_information),
                 event_with_error_code(EventType::hardware_exception, 14),
                 "VM-exit interruption information");
    expect_equal(read(Field::exit_qualification), linear, "the #PF's address");
    write(pdpte(3), pae.fourth[0]);
    pae.expect_page(0, Text{"with the PDPTE present"});
}
VMX_TEST(pdpte_other_modes, "vmx.ept.pdpte_other_modes",
         "PDPTE fields are not checked for a guest without PAE paging",
         "Checks on Guest Page-Directory-Pointer-Table Entries", .needs = "ept") {
    L2 guest;
    const ExtendedPageTables ept;
    ept.use_in(guest);
    for (unsigned i = 0; i < 4; ++i)
        write(pdpte(i), ~std::uint64_t{0});
    auto code = [] {};
    guest.start(code);
    guest.run_to_end("a 64-bit guest");
    set_legacy_paging_mode(guest, address_of(l2_pdpte_read_32),
                           conform::physical(conform::allocate_pages(2)) + 4096);
    guest.registers.rsi = page_with(7);
    guest.run_to(ExitReason::vmcall, "a guest with two-level paging");
    expect_equal(guest.registers.rax & 0xffff'ffff, 7U, "what it read");
}

VMX_TEST(pdpte_no_ept, "vmx.ept.pdpte_without_ept",
         "Without EPT VM entry loads PDPTEs from memory, not from the VMCS",
         "Loading Page-Directory-Pointer-Table Entries", .needs = "ept") {
    Pae pae{l2_pdpte_read_32, false};
    for (unsigned i = 0; i < 4; ++i)
        write(pdpte(i), ~std::uint64_t{0});
    pae.expect_page(0, Text{"PDPTEs in memory"});
    table_at(pae.cr3[0])[3] = pae.fourth[1];
    write(Field::guest_rip, address_of(l2_pdpte_read_32));
    pae.expect_page(1, Text{"another one in memory"});
}
VMX_TEST(pdpte_no_ept_reserved, "vmx.ept.pdpte_without_ept_reserved",
         "Without EPT a reserved bit of a PDPTE in memory fails VM entry with qualification 2",
         "Checks on Guest Page-Directory-Pointer-Table Entries", .needs = "ept") {
    Pae pae{l2_pdpte_read_32, false};
    for (const unsigned bit : {1U, 2U, 5U, 6U, 7U, 8U, 51U, 62U, 63U}) {
        if (!is_reserved(bit))
            continue;
        auto& entry = table_at(pae.cr3[0])[2];
        entry |= std::uint64_t{1} << bit;
        pae.refused(Text{"bit ", bit});
        entry &= ~(std::uint64_t{1} << bit);
    }
    pae.expect_page(0, Text{"with all bits as they were"});
}

VMX_TEST(pdpte_mov_reserved, "vmx.ept.pdpte_mov_cr3_reserved",
         "MOV to CR3 in L2 is #GP(0) where a PDPTE has a reserved bit, and changes nothing", "PAE Paging",
         .needs = "ept") {
    Pae pae{l2_pdpte_cr3_32};
    pae.guest.intercept_exception(13);
    auto& entry = table_at(pae.cr3[1])[1];
    entry |= 1U << 1;
    if (!pae.guest.run_to(ExitReason::exception_or_nmi, "MOV to CR3"))
        return;
    expect_equal(read(Field::exit_interruption_information),
                 event_with_error_code(EventType::hardware_exception, 13),
                 "VM-exit interruption information");
    expect_equal(read(Field::exit_interruption_error_code), 0U, "the #GP's error code");
    expect_equal(read(Field::guest_rip), address_of(l2_pdpte_cr3_32), "guest RIP");
    expect_equal(read(Field::guest_cr3), pae.cr3[0], "guest CR3");
    pae.expect_fields(0);
    entry &= ~std::uint64_t{2};
    pae.expect_page(1, Text{"with the bit clear"});
}
VMX_TEST(pdpte_mov_violation, "vmx.ept.pdpte_mov_cr3_violation",
         "MOV to CR3 whose PDPTEs EPT does not map: an EPT violation without a linear address",
         "Basic VM-Exit Information", .needs = "ept") {
    Pae pae{l2_pdpte_cr3_32};
    auto& entry = pae.ept.entry(pae.cr3[1], 1);
    const auto before = entry;
    entry = 0;
    pae.ept.invalidate();
    if (!pae.guest.run_to(ExitReason::ept_violation, "MOV to CR3"))
        return;
    // Bit 8 is reserved where bit 7 is 0.
    expect_equal(read(Field::exit_qualification) & ept_violation::defined, ept_violation::read,
                 "exit qualification");
    expect_equal(page_of(read(Field::guest_physical_address)), pae.cr3[1],
                 "page of the guest-physical address");
    expect_equal(read(Field::guest_rip), address_of(l2_pdpte_cr3_32), "guest RIP");
    expect_equal(read(Field::guest_cr3), pae.cr3[0], "guest CR3");
    pae.expect_fields(0);
    entry = before;
    pae.ept.invalidate();
    pae.expect_page(1, Text{"with the page mapped"});
    pae.expect_fields(1);
}
VMX_TEST(pdpte_translated, "vmx.ept.pdpte_mov_cr3_translated",
         "MOV to CR3 reads PDPTEs at the address that EPT translates CR3 to", "EPT Translation Mechanism",
         .needs = "ept") {
    Pae pae{l2_pdpte_cr3_32};
    pae.ept.entry(pae.cr3[1], 1) = pae.cr3[0] | ept_bit::leaf;
    pae.ept.invalidate();
    pae.expect_page(0, Text{"PDPTEs of the page behind"});
    expect_equal(read(Field::guest_cr3), pae.cr3[1], "guest CR3");
}
VMX_TEST(pdpte_in_page, "vmx.ept.pdpte_cr3_in_page", "CR3 of PAE paging has 32-byte steps", "PAE Paging",
         .needs = "ept") {
    Pae pae{l2_pdpte_cr3_32};
    const auto elsewhere = conform::physical(conform::allocate_pages(1)) + 0xfe0;
    for (unsigned i = 0; i < 4; ++i)
        *guest::pointer_to<std::uint64_t>(elsewhere + 8 * i) = table_at(pae.cr3[1])[i];
    pae.guest.registers.rbx = elsewhere;
    pae.expect_page(1, Text{"PDPTEs at the end of a page"});
    expect_equal(read(Field::guest_cr3), elsewhere, "guest CR3");
    pae.expect_fields(1);
}

} // namespace nestbed::vmx
