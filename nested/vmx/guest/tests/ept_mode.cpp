// Each of L2's modes under EPT: translations, EPT violations and walks that meet one. In these modes an
// address has 32 bits.
#include <tuple>

#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/modes.hpp"
#include "nested/vmx/guest/window.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Text;

L2_CODE(l2_ept_copy_32, 32, "movl (%esi), %eax; movl %eax, (%edi); vmcall");
L2_CODE(l2_ept_copy_16, 16, "movl (%si), %eax; movl %eax, %es:(%di); vmcall");
L2_CODE(l2_ept_cr3_32, 32, "movl (%esi), %eax; movl %ebx, %cr3; movl (%esi), %edx; movl %ecx, %cr3; vmcall");
// Turns paging on with CR4 in EBX and CR3 in ECX, reads, turns it off again, reads once more.
L2_CODE(l2_ept_switch_32, 32,
        "movl %ebx, %cr4; movl %ecx, %cr3; movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0;"
        "movl (%esi), %edx; andl $0x7fffffff, %eax; movl %eax, %cr0; movl (%esi), %edi; vmcall");

namespace {

constexpr std::uint32_t first_value = 0x1111'2222;
constexpr std::uint32_t second_value = 0x3333'4444;

// Memory that nothing else uses, below 1 MiB.
constexpr std::uint64_t low_code = 0x4'0000;
constexpr std::uint64_t low_stack = 0x5'0000;
constexpr std::uint64_t low_from = 0x6'0000;
constexpr std::uint64_t low_to = 0x7'0000;

std::uint32_t word32_at(std::uint64_t address) {
    return static_cast<std::uint32_t>(word_at(address));
}
std::uint64_t page_with_32(std::uint32_t value) {
    return page_with(std::uint64_t{value} << 32 | value);
}
std::uint64_t stack() {
    return conform::physical(conform::allocate_pages(2)) + 4096;
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

// Copies a word from one page to another; EPT maps both pages elsewhere.
struct Copy {
    L2 guest;
    ExtendedPageTables ept;
    std::uint64_t from = low_from;
    std::uint64_t to = low_to;
    std::uint64_t from_behind = page_with_32(second_value);
    std::uint64_t to_behind = page_with_32(first_value);

    Copy() {
        for (const auto page : {from, to})
            for (std::uint64_t at = 0; at < 4096; at += 4)
                *guest::pointer_to<std::uint32_t>(page + at) = first_value;
        ept.entry(from, 1) = from_behind | ept_bit::leaf;
        ept.entry(to, 1) = to_behind | ept_bit::leaf;
        guest.registers.rsi = from + 0x10;
        guest.registers.rdi = to + 0x20;
    }
    void run() {
        ept.use_in(guest);
        if (!guest.run_to(ExitReason::vmcall, "L2 copies a word"))
            return;
        expect_equal(guest.registers.rax & 0xffff'ffff, second_value, "what L2 read");
        expect_equal(word32_at(to_behind + 0x20), second_value, "the page behind what L2 wrote to");
        expect_equal(word32_at(to + 0x20), first_value, "the page that has the same address for L1");
    }
    void run_with_violations() {
        ept.use_in(guest);
        auto& of_from = ept.entry(from, 1);
        auto& of_to = ept.entry(to, 1);
        const auto before = of_from;
        of_from = 0;
        of_to &= ~ept_bit::write;
        guest.run();
        expect_ept_violation(final_access(Touch::read), from + 0x10, from + 0x10,
                             "a read of a page not present");
        const auto rip = read(Field::guest_rip);
        of_from = before;
        ept.invalidate();
        guest.run();
        expect_ept_violation(final_access(Touch::write) | as_allowed(ept_bit::read | ept_bit::execute),
                             to + 0x20, to + 0x20, "a write of a read-only page");
        expect(read(Field::guest_rip) > rip, "RIP is at the second instruction");
        of_to |= ept_bit::write;
        ept.invalidate();
        run();
    }
};

void copy_low(const char* code) {
    for (unsigned i = 0; i < 64; ++i)
        guest::pointer_to<char>(low_code)[i] = code[i];
}
void use_segments(Copy& copy) {
    for (const auto& [selector, base, at] :
         {std::tuple{Field::guest_ds_selector, Field::guest_ds_base, copy.from},
          {Field::guest_es_selector, Field::guest_es_base, copy.to}}) {
        write(selector, at >> 4);
        write(base, at);
    }
    copy.guest.registers.rsi = 0x10;
    copy.guest.registers.rdi = 0x20;
}
void enter_real_mode(Copy& copy) {
    copy_low(l2_ept_copy_16);
    set_real_mode(copy.guest, low_code, low_stack);
    use_segments(copy);
}
void enter_virtual_8086(Copy& copy) {
    copy_low(l2_ept_copy_16);
    set_virtual_8086_mode(copy.guest, low_code, low_stack);
    use_segments(copy);
}
void enter_protected_mode(Copy& copy) {
    set_protected_mode(copy.guest, address_of(l2_ept_copy_32), stack());
}
void enter_legacy_paging(Copy& copy) {
    set_legacy_paging_mode(copy.guest, address_of(l2_ept_copy_32), stack());
}
void enter_pae(Copy& copy) {
    set_pae_mode(copy.guest, address_of(l2_ept_copy_32), stack());
}
void enter_compatibility(Copy& copy) {
    set_compatibility_mode(copy.guest, address_of(l2_ept_copy_32), stack());
}

template<void (*enter)(Copy&)>
void translates() {
    Copy copy;
    enter(copy);
    copy.run();
}
template<void (*enter)(Copy&)>
void violates() {
    Copy copy;
    enter(copy);
    copy.run_with_violations();
}

} // namespace

#define MODE(mode, name, features)                                                                           \
    VMX_CASE(mode_##mode##_translates, "vmx.ept.mode_" name "_translates",                                   \
             "L2's physical addresses are translated by EPT", "The Extended Page Table Mechanism",           \
             &translates<&enter_##mode>, .needs = features)                                                  \
    VMX_CASE(mode_##mode##_violates, "vmx.ept.mode_" name "_violates",                                       \
             "EPT violations of L2 in this mode, and its going on after them", "EPT Violations",             \
             &violates<&enter_##mode>, .needs = features)
MODE(real_mode, "real", "ept,unrestricted_guest")
MODE(protected_mode, "protected", "ept,unrestricted_guest")
MODE(virtual_8086, "virtual_8086", "ept")
MODE(legacy_paging, "legacy_paging", "ept")
MODE(pae, "pae", "ept")
MODE(compatibility, "compatibility", "ept")

namespace {

// L2's own tables in the two 32-bit formats: one page of 4 KiB at `linear`, in a table of its own.
constexpr std::uint64_t linear = 0x60'0000;
constexpr std::uint64_t gib = std::uint64_t{1} << 30;

std::uint64_t& pae_entry(std::uint64_t pointers, std::uint64_t address) {
    auto& directory = entry_at(entry_at(pointers, address >> 30) & page_bit::address, address >> 21 & 511);
    if ((directory & page_bit::large) != 0) {
        const auto base = directory & page_bit::address;
        const auto table = new_page();
        for (std::uint64_t i = 0; i < 512; ++i)
            entry_at(table, i) = (base + i * 4096) | page_bit::all;
        directory = table | page_bit::all;
    }
    return entry_at(directory & page_bit::address, address >> 12 & 511);
}
std::uint32_t& legacy_entry(std::uint64_t directory, std::uint64_t address) {
    auto& slot = entry32_at(directory, address >> 22);
    if ((slot & page_bit::large) != 0) {
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
    ExtendedPageTables ept;
    explicit Reader(void (*set_mode)(L2&, std::uint64_t, std::uint64_t)) {
        set_mode(guest, address_of(l2_ept_copy_32), stack());
        ept.use_in(guest);
        guest.registers.rdi = page_with_32(0);
    }
    void start(std::uint64_t address) {
        guest.registers.rsi = address;
        write(Field::guest_rip, address_of(l2_ept_copy_32));
        ept.invalidate();
    }
    std::uint32_t read_word(std::uint64_t address) {
        start(address);
        guest.run_to(ExitReason::vmcall, "L2 reads a word");
        return static_cast<std::uint32_t>(guest.registers.rax);
    }
    // An EPT violation on one of L2's tables, then the read goes through.
    void read_with_violation(std::uint64_t address, std::uint64_t entry, std::uint32_t value,
                             const Text& what) {
        auto& of_table = ept.entry(page_of(entry), 1);
        const auto before = of_table;
        of_table = 0;
        start(address);
        guest.run();
        expect_ept_violation(ept_violation::linear_valid | ept_violation::read, entry, address, what);
        of_table = before;
        ept.invalidate();
        if (guest.run_to(ExitReason::vmcall, what))
            expect_equal(guest.registers.rax & 0xffff'ffff, value, Text{what, ": what L2 read then"});
    }
};

} // namespace

VMX_TEST(mode_pae_walk, "vmx.ept.mode_pae_walk", "EPT violations at each level of a PAE walk",
         "EPT Violations", .needs = "ept") {
    Reader reader{&set_pae_mode};
    const auto pointers = read(Field::guest_cr3);
    // In the third quarter, so that L2's code does not need the directory.
    const auto address = 2 * gib + linear;
    auto& entry = pae_entry(pointers, address);
    entry = page_with_32(first_value) | page_bit::all;
    const auto directory = entry_at(pointers, 2) & page_bit::address;
    reader.read_with_violation(address, conform::physical(&entry), first_value, Text{"the page table"});
    reader.read_with_violation(address, conform::physical(&entry_at(directory, address >> 21 & 511)),
                               first_value, Text{"the page directory"});
}
VMX_TEST(mode_legacy_walk, "vmx.ept.mode_legacy_walk", "EPT violations at the page table of a two-level walk",
         "EPT Violations", .needs = "ept") {
    Reader reader{&set_legacy_paging_mode};
    const auto address = 2 * gib + linear;
    auto& entry = legacy_entry(read(Field::guest_cr3), address);
    entry = static_cast<std::uint32_t>(page_with_32(first_value)) | 7;
    reader.read_with_violation(address, conform::physical(&entry), first_value, Text{"the page table"});
}
VMX_TEST(mode_pae_quarters, "vmx.ept.mode_pae_quarters", "Each of the four PDPTEs translates its own GiB",
         "PAE Paging", .needs = "ept") {
    Reader reader{&set_pae_mode};
    for (std::uint32_t i = 0; i < 4; ++i)
        pae_entry(read(Field::guest_cr3), i * gib + linear) = page_with_32(first_value + i) | page_bit::all;
    for (std::uint32_t i = 0; i < 4; ++i)
        expect_equal(reader.read_word(i * gib + linear), first_value + i, Text{"the page in GiB ", i});
}

namespace {

// L2 reads, loads another CR3, reads again, and goes back.
void switch_cr3(bool pae) {
    Reader reader{pae ? &set_pae_mode : &set_legacy_paging_mode};
    std::uint64_t roots[2]{};
    const std::uint32_t values[2]{first_value, second_value};
    for (unsigned i = 0; i < 2; ++i) {
        (pae ? set_pae_mode : set_legacy_paging_mode)(reader.guest, address_of(l2_ept_cr3_32), stack());
        roots[i] = read(Field::guest_cr3);
        if (pae)
            pae_entry(roots[i], 3 * gib + linear) = page_with_32(values[i]) | page_bit::all;
        else
            legacy_entry(roots[i], 3 * gib + linear) =
                static_cast<std::uint32_t>(page_with_32(values[i])) | 7;
    }
    reader.guest.registers.rsi = 3 * gib + linear;
    for (unsigned round = 0; round < 4; ++round) {
        const auto mine = round % 2;
        write(Field::guest_rip, address_of(l2_ept_cr3_32));
        write(Field::guest_cr3, roots[mine]);
        if (pae)
            for (unsigned i = 0; i < 4; ++i)
                write(static_cast<Field>(static_cast<unsigned>(Field::guest_pdpte0) + 2 * i),
                      entry_at(roots[mine], i));
        reader.guest.registers.rbx = roots[1 - mine];
        reader.guest.registers.rcx = roots[mine];
        reader.guest.run_to(ExitReason::vmcall, "L2 switches CR3");
        expect_equal(reader.guest.registers.rax & 0xffff'ffff, values[mine], "read before the switch");
        expect_equal(reader.guest.registers.rdx & 0xffff'ffff, values[1 - mine], "read after it");
        expect_equal(read(Field::guest_cr3), roots[mine], "guest CR3");
    }
}

// An unrestricted L2 turns paging on and off: the read is translated by its tables, then not.
void switch_paging(bool pae) {
    if (!has_unrestricted_guest())
        return;
    Reader reader{pae ? &set_pae_mode : &set_legacy_paging_mode};
    const auto from = page_with_32(first_value);
    const auto elsewhere = page_with_32(second_value);
    const auto cr3 = read(Field::guest_cr3);
    const auto cr4 = read(Field::guest_cr4);
    if (pae)
        pae_entry(cr3, from) = elsewhere | page_bit::all;
    else
        legacy_entry(cr3, from) = static_cast<std::uint32_t>(elsewhere) | 7;
    set_protected_mode(reader.guest, address_of(l2_ept_switch_32), stack());
    // Stale ones must not be what L2's paging uses.
    for (unsigned i = 0; i < 4; ++i)
        write(static_cast<Field>(static_cast<unsigned>(Field::guest_pdpte0) + 2 * i), 0);
    reader.guest.registers.rsi = from;
    write(Field::cr4_guest_host_mask, 0);
    reader.guest.registers.rbx = cr4;
    reader.guest.registers.rcx = cr3;
    reader.guest.run_to(ExitReason::vmcall, "L2 turns paging on and off");
    expect_equal(reader.guest.registers.rdx & 0xffff'ffff, second_value, "read with paging on");
    expect_equal(reader.guest.registers.rdi & 0xffff'ffff, first_value, "read with paging off");
    expect_equal(read(Field::guest_cr3), cr3, "guest CR3");
    expect_equal(read(Field::guest_cr4), cr4, "guest CR4");
}

} // namespace

VMX_TEST(mode_pae_cr3, "vmx.ept.mode_pae_switches_cr3", "PAE L2 loads CR3: its PDPTEs are the new ones",
         "PAE Paging", .needs = "ept") {
    switch_cr3(true);
}
VMX_TEST(mode_legacy_cr3, "vmx.ept.mode_legacy_switches_cr3", "Two-level L2 loads CR3", "32-Bit Paging",
         .needs = "ept") {
    switch_cr3(false);
}
VMX_TEST(mode_pae_toggle, "vmx.ept.mode_pae_paging_on_and_off", "L2 turns PAE paging on and off",
         "Unrestricted Guests", .needs = "ept,unrestricted_guest") {
    switch_paging(true);
}
VMX_TEST(mode_legacy_toggle, "vmx.ept.mode_legacy_paging_on_and_off", "L2 turns two-level paging on and off",
         "Unrestricted Guests", .needs = "ept,unrestricted_guest") {
    switch_paging(false);
}

VMX_TEST(mode_long_cr3, "vmx.ept.mode_long_switches_cr3",
         "64-bit L2 loads CR3 without an exit and sees its other tables", "VMX Non-Root Operation",
         .needs = "ept") {
    L2 guest;
    ExtendedPageTables ept;
    LongModeTables own[2];
    ept.use_in(guest);
    clear(Field::primary_controls, primary::cr3_load_exiting | primary::cr3_store_exiting);
    const auto address = page_with_32(0);
    own[0].entry(address, 1) = page_with_32(first_value) | page_bit::all;
    own[1].entry(address, 1) = page_with_32(second_value) | page_bit::all;
    write(Field::guest_cr3, own[0].root());
    std::uint32_t seen[4]{};
    std::uint64_t cr3[4]{};
    auto code = [&] {
        for (unsigned i = 0; i < 4; ++i) {
            asm volatile("movq %0, %%cr3" : : "r"(own[i % 2].root()) : "memory");
            seen[i] = word32_at(address);
            cr3[i] = guest::control_register<3>();
        }
    };
    guest.start(code);
    guest.run_to_end();
    for (unsigned i = 0; i < 4; ++i) {
        expect_equal(seen[i], i % 2 == 0 ? first_value : second_value, Text{"read ", i});
        expect_equal(cr3[i], own[i % 2].root(), Text{"CR3 as L2 reads it, ", i});
    }
    expect_equal(read(Field::guest_cr3), own[1].root(), "guest CR3");
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
    std::uint64_t at = 0;
    if (pae) {
        set_pae_mode(guest, address_of(l2_ept_copy_32), stack());
        pae_entry(read(Field::guest_cr3), 3 * gib + linear) = window.address() | page_bit::all;
        at = 3 * gib + linear + window_data;
    } else {
        set_legacy_paging_mode(guest, address_of(l2_ept_copy_32), stack());
        // Bits 39:32 of a 4 MiB page's address are bits 20:13 of its entry.
        entry32_at(read(Field::guest_cr3), 3 * gib >> 22) =
            static_cast<std::uint32_t>(window.address() & 0xffc0'0000) |
            static_cast<std::uint32_t>(window.address() >> 32 & 0xff) << 13 | 0x87;
        at = 3 * gib + (window.address() & 0x3f'ffff) + window_data;
    }
    guest.registers.rsi = at;
    guest.registers.rdi = page_with_32(0);
    auto& entry = window.ept_entry(1);
    const auto before = entry;
    entry = 0;
    guest.run();
    expect_ept_violation(final_access(Touch::read), window.address() + window_data, at, "a page above 4 GiB");
    entry = before;
    window.ept.invalidate();
    guest.run_to(ExitReason::vmcall, "L2 reads a page above 4 GiB");
    expect_equal(guest.registers.rax & 0xffff'ffff, window_value & 0xffff'ffff, "what L2 read");
}

} // namespace

VMX_TEST(mode_pae_above_4g, "vmx.ept.mode_pae_above_4g", "PAE L2 reaches physical addresses above 4 GiB",
         "PAE Paging", .needs = "ept") {
    above_4g(true);
}
VMX_TEST(mode_legacy_above_4g, "vmx.ept.mode_legacy_above_4g",
         "Two-level L2 reaches physical addresses above 4 GiB by PSE-36", "32-Bit Paging", .needs = "ept") {
    above_4g(false);
}

} // namespace nestbed::vmx
