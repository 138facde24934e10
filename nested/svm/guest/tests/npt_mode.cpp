// Each of L2's paging modes on top of nested paging: translations, changes of CR3, and walks that fault.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/window.hpp"
#include "nested/svm/msr.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

L2_CODE(l2_mode_copy_32, 32, "movl (%esi), %eax; movl %eax, (%edi); vmmcall");
L2_CODE(l2_mode_copy_16, 16, "movl (%si), %eax; movl %eax, %es:(%di); vmmcall");
L2_CODE(l2_mode_cr3_32, 32,
        "movl (%esi), %eax; movl %ebx, %cr3; movl (%esi), %edx; movl %ecx, %cr3; vmmcall");
// Turns paging on with CR4 in EBX and CR3 in ECX, reads, turns it off again, reads once more.
L2_CODE(l2_mode_switch_32, 32,
        "movl %ebx, %cr4; movl %ecx, %cr3; movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0;"
        "movl (%esi), %edx; andl $0x7fffffff, %eax; movl %eax, %cr0; movl (%esi), %edi; vmmcall");

namespace {

constexpr std::uint32_t first_value = 0x1111'2222;
constexpr std::uint32_t second_value = 0x3333'4444;

std::uint64_t page_with(std::uint32_t value) {
    const auto page = conform::physical(conform::allocate_pages(1));
    for (std::uint64_t at = 0; at < 4096; at += 4)
        *guest::pointer_to<std::uint32_t>(page + at) = value;
    return page;
}
std::uint64_t stack() {
    return conform::physical(conform::allocate_pages(2)) + 4096;
}
std::uint64_t address_of(const char* code) {
    return reinterpret_cast<std::uint64_t>(code);
}
std::uint32_t word_at(std::uint64_t address) {
    return *guest::pointer_to<std::uint32_t>(address);
}
std::uint64_t& entry_at(std::uint64_t table, std::uint64_t index) {
    return guest::pointer_to<std::uint64_t>(table)[index];
}
std::uint32_t& entry32_at(std::uint64_t table, std::uint64_t index) {
    return guest::pointer_to<std::uint32_t>(table)[index];
}
std::uint64_t new_page() {
    return conform::physical(conform::allocate_pages(1));
}

// Copies a word from the page at ESI to the page at EDI; L1 maps both pages elsewhere at the nested level.
struct Copy {
    L2 guest;
    NestedPageTables nested;
    std::uint64_t from = page_with(first_value);
    std::uint64_t to = page_with(first_value);
    std::uint64_t from_behind = page_with(second_value);
    std::uint64_t to_behind = page_with(first_value);

    Copy() {
        nested.use_in(guest);
        nested.entry(from, 1) = from_behind | 7;
        nested.entry(to, 1) = to_behind | 7;
        guest.registers.rsi = from + 0x10;
        guest.registers.rdi = to + 0x20;
    }
    void run() {
        if (!guest.run_to(ExitCode::vmmcall, "L2 copies a word"))
            return;
        expect_equal(guest.save().rax & 0xffff'ffff, second_value, "what L2 read");
        expect_equal(word_at(to_behind + 0x20), second_value, "the page behind what L2 wrote to");
        expect_equal(word_at(to + 0x20), first_value, "the page that has the same address for L1");
    }
    void run_with_faults() {
        auto& of_from = nested.entry(from, 1);
        auto& of_to = nested.entry(to, 1);
        of_from &= ~npt_bit::present;
        of_to &= ~npt_bit::write;
        guest.run();
        expect_npf(guest, final_fault(Access::read, 0), from + 0x10, "a read of a page not present");
        of_from |= npt_bit::present;
        flush_all(guest);
        guest.run();
        expect_npf(guest, final_fault(Access::write, npf::present), to + 0x20, "a write of a read-only page");
        of_to |= npt_bit::write;
        flush_all(guest);
        run();
    }
};

void enter_real_mode(Copy& copy) {
    auto& save = copy.guest.save();
    set_real_mode(save, address_of(l2_mode_copy_16), stack() - 4096);
    save.ds.base = copy.from;
    save.es.base = copy.to;
    copy.guest.registers.rsi = 0x10;
    copy.guest.registers.rdi = 0x20;
}
void enter_protected_mode(Copy& copy) {
    set_protected_mode(copy.guest.save(), address_of(l2_mode_copy_32), stack());
}
void enter_legacy_paging(Copy& copy) {
    set_legacy_paging_mode(copy.guest.save(), address_of(l2_mode_copy_32), stack());
}
void enter_pae(Copy& copy) {
    set_pae_mode(copy.guest.save(), address_of(l2_mode_copy_32), stack());
}
void enter_compatibility(Copy& copy) {
    set_compatibility_mode(copy.guest.save(), address_of(l2_mode_copy_32), stack());
}

template<void (*enter)(Copy&)>
void translates() {
    Copy copy;
    enter(copy);
    copy.run();
}
template<void (*enter)(Copy&)>
void faults() {
    Copy copy;
    enter(copy);
    copy.run_with_faults();
}

} // namespace

#define MODE(mode, name)                                                                                     \
    SVM_CASE(mode_##mode##_translates, "svm.npt.mode_" name "_translates",                                   \
             "L2's physical addresses are translated by the nested tables", "15.25.5",                       \
             &translates<&enter_##mode>, .needs = "npt")                                                     \
    SVM_CASE(mode_##mode##_faults, "svm.npt.mode_" name "_faults",                                           \
             "Nested faults of L2 in this mode, and its going on after them", "15.25.6",                     \
             &faults<&enter_##mode>, .needs = "npt")
MODE(real_mode, "real")
MODE(protected_mode, "protected")
MODE(legacy_paging, "legacy_paging")
MODE(pae, "pae")
MODE(compatibility, "compatibility")

namespace {

// L2's own tables in the two 32-bit formats: one page of 4 KiB at `linear`, in a table of its own.
constexpr std::uint64_t linear = 0x60'0000; // above what tests allocate, below the end of memory
constexpr std::uint64_t gib = std::uint64_t{1} << 30;

std::uint64_t& pae_entry(std::uint64_t pointers, std::uint64_t address) {
    auto& directory = entry_at(entry_at(pointers, address >> 30) & npt_bit::address, address >> 21 & 511);
    if ((directory & npt_bit::large) != 0) {
        const auto base = directory & npt_bit::address;
        const auto table = new_page();
        for (std::uint64_t i = 0; i < 512; ++i)
            entry_at(table, i) = (base + i * 4096) | 7;
        directory = table | 7;
    }
    return entry_at(directory & npt_bit::address, address >> 12 & 511);
}
std::uint32_t& legacy_entry(std::uint64_t directory, std::uint64_t address) {
    auto& slot = entry32_at(directory, address >> 22);
    if ((slot & npt_bit::large) != 0) {
        const auto base = slot & 0xffc0'0000;
        const auto table = new_page();
        for (std::uint32_t i = 0; i < 1024; ++i)
            entry32_at(table, i) = (base + i * 4096) | 7;
        slot = static_cast<std::uint32_t>(table) | 7;
    }
    return entry32_at(slot & ~0xfffU, address >> 12 & 1023);
}

// A blob that reads the word at ESI.
struct Reader {
    L2 guest;
    NestedPageTables nested;
    Reader() {
        nested.use_in(guest);
        guest.registers.rdi = page_with(0);
    }
    std::uint32_t read(std::uint64_t address) {
        guest.registers.rsi = address;
        guest.save().rip = address_of(l2_mode_copy_32);
        flush_all(guest);
        guest.run_to(ExitCode::vmmcall, "L2 reads a word");
        return static_cast<std::uint32_t>(guest.save().rax);
    }
    // A fault on one of L2's tables, then the read goes through.
    void read_with_fault(std::uint64_t address, std::uint64_t table, std::uint64_t entry, bool is_pointer,
                         std::uint32_t value, const Text& what) {
        auto& of_table = nested.entry(table, 1);
        const auto before = of_table;
        of_table = 0;
        guest.registers.rsi = address;
        guest.save().rip = address_of(l2_mode_copy_32);
        flush_all(guest);
        if (guest.run_to(ExitCode::npf, what)) {
            const auto& control = guest.control();
            // A page directory pointer of PAE has no accessed bit, so that its read need not be a write.
            const auto ignored = is_pointer ? npf::write : 0;
            expect_equal(control.exit_info_1 | ignored, walk_fault(0) | ignored, Text{what, ": EXITINFO1"});
            expect(control.exit_info_2 == entry || control.exit_info_2 == table,
                   Text{what, ": EXITINFO2 is the guest's entry, not ", conform::Hex{control.exit_info_2}});
        }
        of_table = before;
        flush_all(guest);
        if (guest.run_to(ExitCode::vmmcall, what))
            expect_equal(guest.save().rax & 0xffff'ffff, value, Text{what, ": what L2 read then"});
    }
};

} // namespace

SVM_TEST(mode_pae_walk, "svm.npt.mode_pae_walk", "Nested faults at each level of a PAE walk", "15.25.6",
         .needs = "npt") {
    Reader reader;
    set_pae_mode(reader.guest.save(), address_of(l2_mode_copy_32), stack());
    const auto pointers = reader.guest.save().cr3;
    // In the third quarter, so that L2's code does not need the directory.
    const auto address = 2 * gib + linear;
    auto& entry = pae_entry(pointers, address);
    entry = page_with(first_value) | 7;
    const auto table = conform::physical(&entry) & ~std::uint64_t{0xfff};
    const auto directory = entry_at(pointers, 2) & npt_bit::address;
    reader.read_with_fault(address, table, conform::physical(&entry), false, first_value,
                           Text{"the page table"});
    reader.read_with_fault(address, directory, conform::physical(&entry_at(directory, address >> 21 & 511)),
                           false, first_value, Text{"the page directory"});
}

SVM_TEST(mode_legacy_walk, "svm.npt.mode_legacy_walk", "Nested faults at each level of a two-level walk",
         "15.25.6", .needs = "npt") {
    Reader reader;
    set_legacy_paging_mode(reader.guest.save(), address_of(l2_mode_copy_32), stack());
    const auto directory = reader.guest.save().cr3;
    const auto address = 2 * gib + linear;
    auto& entry = legacy_entry(directory, address);
    entry = static_cast<std::uint32_t>(page_with(first_value)) | 7;
    const auto table = conform::physical(&entry) & ~std::uint64_t{0xfff};
    reader.read_with_fault(address, table, conform::physical(&entry), false, first_value,
                           Text{"the page table"});
    // What needs the directory first is L2's code, by its first entry.
    reader.read_with_fault(address, directory, directory, false, first_value, Text{"the page directory"});
}

SVM_TEST(mode_pae_quarters, "svm.npt.mode_pae_quarters",
         "Each of the four page directory pointers of PAE translates its own GiB", "15.25.5",
         .needs = "npt") {
    Reader reader;
    set_pae_mode(reader.guest.save(), address_of(l2_mode_copy_32), stack());
    for (std::uint32_t i = 0; i < 4; ++i)
        pae_entry(reader.guest.save().cr3, i * gib + linear) = page_with(first_value + i) | 7;
    for (std::uint32_t i = 0; i < 4; ++i)
        expect_equal(reader.read(i * gib + linear), first_value + i, Text{"the page in GiB ", i});
}

SVM_TEST(mode_pae_pointers_change, "svm.npt.mode_pae_pointers_changed_by_l1",
         "Page directory pointers that L1 changes between two runs are in use in the second", "15.25.5",
         .needs = "npt") {
    Reader reader;
    set_pae_mode(reader.guest.save(), address_of(l2_mode_copy_32), stack());
    const auto pointers = reader.guest.save().cr3;
    pae_entry(pointers, 2 * gib + linear) = page_with(first_value) | 7;
    pae_entry(pointers, 3 * gib + linear) = page_with(second_value) | 7;
    expect_equal(reader.read(2 * gib + linear), first_value, "GiB 2");
    expect_equal(reader.read(3 * gib + linear), second_value, "GiB 3");
    const auto swapped = entry_at(pointers, 2);
    entry_at(pointers, 2) = entry_at(pointers, 3);
    entry_at(pointers, 3) = swapped;
    expect_equal(reader.read(2 * gib + linear), second_value, "GiB 2 after the pointers were swapped");
    expect_equal(reader.read(3 * gib + linear), first_value, "GiB 3 after the pointers were swapped");
}

SVM_TEST(mode_pae_page_offset, "svm.npt.mode_pae_cr3_in_page",
         "CR3 of PAE has 32-byte steps: the pointers may begin within a page", "15.25.5", .needs = "npt") {
    Reader reader;
    set_pae_mode(reader.guest.save(), address_of(l2_mode_copy_32), stack());
    pae_entry(reader.guest.save().cr3, 3 * gib + linear) = page_with(first_value) | 7;
    const auto elsewhere = new_page() + 0xfe0;
    for (unsigned i = 0; i < 4; ++i)
        entry_at(elsewhere, i) = entry_at(reader.guest.save().cr3, i);
    reader.guest.save().cr3 = elsewhere;
    expect_equal(reader.read(3 * gib + linear), first_value, "through pointers at the end of a page");
}

namespace {

// L2 reads at `linear`, loads another CR3, reads again, and goes back.
void switch_cr3(bool pae) {
    Reader reader;
    auto& save = reader.guest.save();
    std::uint64_t roots[2]{};
    const std::uint32_t values[2]{first_value, second_value};
    for (unsigned i = 0; i < 2; ++i) {
        if (pae)
            set_pae_mode(save, address_of(l2_mode_cr3_32), stack());
        else
            set_legacy_paging_mode(save, address_of(l2_mode_cr3_32), stack());
        roots[i] = save.cr3;
        if (pae)
            pae_entry(roots[i], 3 * gib + linear) = page_with(values[i]) | 7;
        else
            legacy_entry(roots[i], 3 * gib + linear) = static_cast<std::uint32_t>(page_with(values[i])) | 7;
    }
    save.cr3 = roots[0];
    reader.guest.registers.rsi = 3 * gib + linear;
    reader.guest.registers.rbx = roots[1];
    reader.guest.registers.rcx = roots[1];
    for (unsigned round = 0; round < 4; ++round) {
        save.rip = address_of(l2_mode_cr3_32);
        save.cr3 = roots[round % 2];
        reader.guest.registers.rbx = roots[1 - round % 2];
        reader.guest.registers.rcx = roots[round % 2];
        reader.guest.run_to(ExitCode::vmmcall, "L2 switches CR3");
        expect_equal(save.rax & 0xffff'ffff, values[round % 2], "read before the switch");
        expect_equal(reader.guest.registers.rdx & 0xffff'ffff, values[1 - round % 2], "read after it");
        expect_equal(save.cr3, roots[round % 2], "CR3 in the VMCB");
    }
}

// L2 turns paging on and off: the read is translated by its tables, then not.
void switch_paging(bool pae) {
    Reader reader;
    auto& save = reader.guest.save();
    const auto linear_page = page_with(first_value);
    const auto elsewhere = page_with(second_value);
    if (pae)
        set_pae_mode(save, 0, 0);
    else
        set_legacy_paging_mode(save, 0, 0);
    const auto cr3 = save.cr3;
    const auto cr4 = save.cr4;
    if (pae)
        pae_entry(cr3, linear_page) = elsewhere | 7;
    else
        legacy_entry(cr3, linear_page) = static_cast<std::uint32_t>(elsewhere) | 7;
    set_protected_mode(save, address_of(l2_mode_switch_32), stack());
    reader.guest.registers.rsi = linear_page;
    reader.guest.registers.rbx = cr4;
    reader.guest.registers.rcx = cr3;
    reader.guest.run_to(ExitCode::vmmcall, "L2 turns paging on and off");
    expect_equal(reader.guest.registers.rdx & 0xffff'ffff, second_value, "read with paging on");
    expect_equal(reader.guest.registers.rdi & 0xffff'ffff, first_value, "read with paging off");
    expect_equal(save.cr3, cr3, "CR3 in the VMCB");
    expect_equal(save.cr4, cr4, "CR4 in the VMCB");
}

} // namespace

SVM_TEST(mode_pae_cr3, "svm.npt.mode_pae_switches_cr3", "PAE L2 loads CR3: its pointers are the new ones",
         "15.25.5", .needs = "npt") {
    switch_cr3(true);
}
SVM_TEST(mode_legacy_cr3, "svm.npt.mode_legacy_switches_cr3", "Two-level L2 loads CR3", "15.25.5",
         .needs = "npt") {
    switch_cr3(false);
}
SVM_TEST(mode_pae_toggle, "svm.npt.mode_pae_paging_on_and_off", "L2 turns PAE paging on and off", "15.25.5",
         .needs = "npt") {
    switch_paging(true);
}
SVM_TEST(mode_legacy_toggle, "svm.npt.mode_legacy_paging_on_and_off", "L2 turns two-level paging on and off",
         "15.25.5", .needs = "npt") {
    switch_paging(false);
}

SVM_TEST(mode_long_cr3, "svm.npt.mode_long_switches_cr3", "64-bit L2 loads CR3 and sees its other tables",
         "15.25.5", .needs = "npt") {
    L2 guest;
    NestedPageTables nested;
    NestedPageTables own[2];
    nested.use_in(guest);
    const auto address = page_with(0);
    own[0].entry(address, 1) = page_with(first_value) | 7;
    own[1].entry(address, 1) = page_with(second_value) | 7;
    guest.save().cr3 = own[0].root();
    std::uint32_t seen[4]{};
    auto code = [&] {
        for (unsigned i = 0; i < 4; ++i) {
            asm volatile("movq %0, %%cr3" : : "r"(own[i % 2].root()) : "memory");
            seen[i] = word_at(address);
        }
    };
    guest.start(code);
    guest.run_to_end();
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(seen[i], i % 2 == 0 ? first_value : second_value, Text{"read ", i});
    expect_equal(guest.save().cr3, own[1].root(), "CR3 in the VMCB");
}

namespace {

// Physical addresses of L2's above 4 GiB out of its 32-bit modes: the window's page.
void above_4g(bool pae) {
    if (!Window::possible())
        return;
    if (!pae && (guest::cpuid(1, 0).edx >> 17 & 1) == 0)
        return conform::not_applicable("the vCPU has no PSE-36 (CPUID Fn0000_0001 EDX bit 17)");
    Window window;
    auto& guest = window.guest;
    if (pae) {
        set_pae_mode(guest.save(), address_of(l2_mode_copy_32), stack());
        pae_entry(guest.save().cr3, 3 * gib + linear) = window.address() | 7;
        guest.registers.rsi = 3 * gib + linear + window_data;
    } else {
        set_legacy_paging_mode(guest.save(), address_of(l2_mode_copy_32), stack());
        // Bits 39:32 of a 4 MiB page's address are bits 20:13 of its entry (5.2.2).
        entry32_at(guest.save().cr3, 3 * gib >> 22) =
            static_cast<std::uint32_t>(window.address() & 0xffc0'0000) |
            static_cast<std::uint32_t>(window.address() >> 32 & 0xff) << 13 | 0x87;
        guest.registers.rsi = 3 * gib + (window.address() & 0x3f'ffff) + window_data;
    }
    guest.registers.rdi = page_with(0);
    auto& nested = window.nested_entry(1);
    nested &= ~npt_bit::present;
    guest.run();
    expect_npf(guest, final_fault(Access::read, 0), window.address() + window_data, "a page above 4 GiB");
    nested |= npt_bit::present;
    flush_all(guest);
    guest.run_to(ExitCode::vmmcall, "L2 reads a page above 4 GiB");
    expect_equal(guest.save().rax & 0xffff'ffff, window_value & 0xffff'ffff, "what L2 read");
}

} // namespace

SVM_TEST(mode_pae_above_4g, "svm.npt.mode_pae_above_4g", "PAE L2 reaches physical addresses above 4 GiB",
         "15.25.5", .needs = "npt") {
    above_4g(true);
}
SVM_TEST(mode_legacy_above_4g, "svm.npt.mode_legacy_above_4g",
         "Two-level L2 reaches physical addresses above 4 GiB by PSE-36", "15.25.5", .needs = "npt") {
    above_4g(false);
}

SVM_TEST(mode_cr3_unmapped, "svm.npt.mode_cr3_not_mapped",
         "L2's CR3 in a page that is not present faults at L2's first fetch", "15.25.6", .needs = "npt") {
    if (!Window::possible())
        return;
    Window window;
    window.start(Access::read, 0);
    const auto cr3 = window.address() + 0x10'0000'0000; // another 64 GiB up: nothing is mapped
    const auto before = window.guest.save().cr3;
    window.guest.save().cr3 = cr3;
    window.guest.run();
    expect_npf(window.guest, walk_fault(0), cr3, "the PML4");
    window.guest.save().cr3 = before;
    flush_all(window.guest);
    window.finish("with a CR3 that is mapped");
}

} // namespace nestbed::svm
