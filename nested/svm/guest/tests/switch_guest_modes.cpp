// L2 that goes through all modes of the processor, from real mode to 64-bit mode and back, and what the VMCB
// says of it at each stage (APM volume 2, 15.6 and 14.6).
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect_equal;

// Selectors: 08h 64-bit code and 10h data of the runtime, 38h 32-bit code, 40h 16-bit code. ESI has the page
// directory pointers of PAE, EDI the level 4 table, EBP a stack.
L2_CODE(l2_modes, 16,
        "vmmcall\n"
        "movl %cr0, %eax; orl $1, %eax; movl %eax, %cr0\n"
        "vmmcall\n"
        "ljmpl $0x38, $l2_modes_32\n"
        ".code32\n"
        "l2_modes_32: movw $0x10, %ax; movw %ax, %ds; movw %ax, %es; movw %ax, %ss\n"
        "vmmcall\n"
        "movl %cr4, %eax; orl $0x20, %eax; movl %eax, %cr4; movl %esi, %cr3\n"
        "movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0\n"
        "vmmcall\n"
        "movl %cr0, %eax; andl $0x7fffffff, %eax; movl %eax, %cr0; movl %edi, %cr3\n"
        "movl $0xc0000080, %ecx; rdmsr; orl $0x100, %eax; wrmsr\n"
        "vmmcall\n"
        "movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0\n"
        "vmmcall\n"
        "ljmpl $0x08, $l2_modes_64\n"
        ".code64\n"
        "l2_modes_64: vmmcall\n"
        "movl %ebp, %esp; pushq $0x38; pushq $l2_modes_back; lretq\n"
        ".code32\n"
        "l2_modes_back: vmmcall\n"
        "movl %cr0, %eax; andl $0x7fffffff, %eax; movl %eax, %cr0\n"
        "vmmcall\n"
        "movl $0xc0000080, %ecx; rdmsr; andl $0xfffffeff, %eax; wrmsr\n"
        "movl %cr4, %eax; andl $0xffffffdf, %eax; movl %eax, %cr4\n"
        "ljmpl $0x40, $(l2_modes_16 - l2_modes)\n"
        ".code16\n"
        "l2_modes_16: movl %cr0, %eax; andl $0xfffffffe, %eax; movl %eax, %cr0\n"
        "vmmcall");

namespace {

constexpr std::uint64_t pe = 1U << 0;
constexpr std::uint64_t pg = 1U << 31;
constexpr std::uint64_t pae = 1U << 5;
constexpr std::uint64_t lme = msr::efer_bit::lme;
constexpr std::uint64_t lma = msr::efer_bit::lma;
constexpr std::uint16_t code_l = 0x200;
constexpr std::uint16_t code_d = 0x400;

struct Stage {
    std::uint64_t cr0;
    std::uint64_t cr4;
    std::uint64_t efer;
    std::uint16_t cs;
};

// What a processor should never have written: bits 8:5 of a page directory pointer are reserved in PAE mode
// (5.2.3), and VMRUN is refused where they are set. An emulated processor that keeps an accessed bit there is
// caught by guest_pae_pointers_not_written alone.
void clean_pointers(std::uint64_t cr3) {
    for (unsigned i = 0; i < 4; ++i)
        guest::pointer_to<std::uint64_t>(cr3)[i] &= ~std::uint64_t{0x1e0};
}
constexpr Stage stages[] = {
    {0, 0, 0, 0},
    {pe, 0, 0, 0},
    {pe, 0, 0, code_d},
    {pe | pg, pae, 0, code_d},
    {pe, pae, lme, code_d},
    {pe | pg, pae, lme | lma, code_d},
    {pe | pg, pae, lme | lma, code_l},
    {pe | pg, pae, lme | lma, code_d},
    {pe, pae, lme, code_d},
    {0, 0, 0, 0},
};

template<unsigned Last, bool Nested>
void run_modes() {
    L2 guest;
    auto& save = guest.save();
    const auto long_cr3 = save.cr3;
    set_pae_mode(save, 0, 0);
    const auto pae_cr3 = save.cr3;
    set_real_mode(save, address_of(l2_modes), 0);
    guest.registers.rsi = pae_cr3;
    guest.registers.rdi = long_cr3;
    guest.registers.rbp = fresh_stack();
    set_descriptor(guest, 0x38, descriptor(0, 0xfffff, 0xc9b));
    set_descriptor(guest, 0x40, descriptor(static_cast<std::uint32_t>(address_of(l2_modes)), 0xffff, 0x09b));
    save.gdtr = {0, 0, sizeof guest.context().gdt - 1, conform::physical(guest.context().gdt)};
    const NestedPageTables tables;
    if (Nested)
        tables.use_in(guest);
    for (unsigned stage = 0;; ++stage) {
        clean_pointers(pae_cr3);
        if (!guest.run_to(ExitCode::vmmcall, conform::Text{"L2 leaves by VMMCALL, stage ", stage}))
            return;
        if (stage == Last)
            break;
        guest.skip(3);
    }
    constexpr auto expected = stages[Last];
    expect_equal(save.cr0 & (pe | pg), expected.cr0, "PE and PG in VMCB.CR0");
    expect_equal(save.cr4 & pae, expected.cr4, "PAE in VMCB.CR4");
    expect_equal(save.efer & (lme | lma), expected.efer, "LME and LMA in VMCB.EFER");
    expect_equal(save.cs.attributes & (code_l | code_d), expected.cs, "L and D in VMCB.CS.attributes");
    expect_equal(save.cpl, 0U, "VMCB.CPL");
    if (Last == 3)
        expect_equal(save.cr3, pae_cr3, "VMCB.CR3");
    if (Last >= 4)
        expect_equal(save.cr3, long_cr3, "VMCB.CR3");
    // L1 is in 64-bit mode all along.
    expect_equal(guest::control_register<0>() & (pe | pg), pe | pg, "PE and PG in L1's CR0");
    expect_equal(guest::rdmsr(msr::efer) & (lme | lma), lme | lma, "LME and LMA in L1's EFER");
}

} // namespace

#define MODE_CASE(stage, name)                                                                               \
    SVM_CASE(switch_guest_mode_##stage, "svm.switch.guest_mode_" name,                                       \
             "L2 has switched modes this far, and the VMCB says so", "15.6", (&run_modes<stage, false>))     \
    SVM_CASE(switch_guest_mode_npt_##stage, "svm.switch.guest_mode_" name "_npt",                            \
             "L2 has switched modes this far under nested paging, and the VMCB says so", "15.6",             \
             (&run_modes<stage, true>), .needs = "npt")
MODE_CASE(0, "real")
MODE_CASE(1, "real_to_protected_16")
MODE_CASE(2, "protected_16_to_32")
MODE_CASE(3, "protected_to_pae")
MODE_CASE(4, "pae_to_lme")
MODE_CASE(5, "lme_to_compatibility")
MODE_CASE(6, "compatibility_to_long")
MODE_CASE(7, "long_to_compatibility")
MODE_CASE(8, "compatibility_to_protected")
MODE_CASE(9, "protected_to_real")
#undef MODE_CASE

// One VMCB that L1 itself puts into one mode after the other.
L2_CODE(l2_modes_just_16, 16, "movl $0x16, %eax; vmmcall");
L2_CODE(l2_modes_just_32, 32, "movl $0x32, %eax; vmmcall");
L2_CODE(l2_modes_just_64, 64, "movabsq $0x6400000064, %rax; vmmcall");

namespace {
void all_modes_by_l1(bool nested) {
    L2 guest;
    auto& save = guest.save();
    const auto long_mode = save;
    const NestedPageTables tables;
    if (nested)
        tables.use_in(guest);
    const auto stack = fresh_stack();
    for (int round = 0; round < 2; ++round) {
        set_real_mode(save, address_of(l2_modes_just_16), stack - 8192);
        guest.run_to(ExitCode::vmmcall, "L2 leaves real mode by VMMCALL");
        expect_equal(save.rax, 0x16U, "VMCB.RAX in real mode");
        set_pae_mode(save, address_of(l2_modes_just_32), stack);
        guest.run_to(ExitCode::vmmcall, "L2 leaves PAE mode by VMMCALL");
        expect_equal(save.rax, 0x32U, "VMCB.RAX in PAE mode");
        save = long_mode;
        start_blob(guest, l2_modes_just_64);
        guest.run_to(ExitCode::vmmcall, "L2 leaves 64-bit mode by VMMCALL");
        expect_equal(save.rax, 0x64'0000'0064U, "VMCB.RAX in 64-bit mode");
        set_legacy_paging_mode(save, address_of(l2_modes_just_32), stack);
        guest.run_to(ExitCode::vmmcall, "L2 leaves legacy paging by VMMCALL");
        expect_equal(save.rax, 0x32U, "VMCB.RAX with legacy paging");
        save = long_mode;
    }
}
} // namespace
SVM_TEST(switch_guest_modes_by_l1, "svm.switch.guest_modes_by_l1",
         "One VMCB runs in real, PAE, 64-bit and legacy paging mode in turn", "15.5.1") {
    all_modes_by_l1(false);
}
SVM_TEST(switch_guest_modes_by_l1_npt, "svm.switch.guest_modes_by_l1_npt",
         "One VMCB runs in real, PAE, 64-bit and legacy paging mode in turn under nested paging", "15.5.1",
         .needs = "npt") {
    all_modes_by_l1(true);
}

// Two guests with PAE paging whose page directory pointers differ: each sees its own page.
L2_CODE(l2_modes_read, 32, "movl 0x40000000, %ebx; vmmcall");
namespace {
void two_pae_guests(bool nested) {
    L2 guests[2];
    std::uint32_t* pages[2];
    const NestedPageTables tables;
    for (unsigned i = 0; i < 2; ++i) {
        set_pae_mode(guests[i].save(), address_of(l2_modes_read), fresh_stack());
        // The second GiB of each is its own 2 MiB of memory, which holds its page.
        auto* const pointers = guest::pointer_to<std::uint64_t>(guests[i].save().cr3);
        auto* const directory = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        auto* const table = static_cast<std::uint64_t*>(conform::allocate_pages(1));
        pages[i] = static_cast<std::uint32_t*>(conform::allocate_pages(1));
        *pages[i] = 0x9ae0'0000 + i;
        table[0] = conform::physical(pages[i]) | 7;
        directory[0] = conform::physical(table) | 7;
        pointers[1] = conform::physical(directory) | 1;
        if (nested)
            tables.use_in(guests[i]);
    }
    for (int round = 0; round < 3; ++round)
        for (unsigned i = 0; i < 2; ++i) {
            clean_pointers(guests[i].save().cr3);
            guests[i].save().rip = address_of(l2_modes_read);
            guests[i].control().tlb_control = tlb_control::flush_all;
            guests[i].run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
            expect_equal(guests[i].registers.rbx, 0x9ae0'0000U + i, "what the guest reads at 1 GiB");
        }
}
void pointers_not_written(bool nested) {
    L2 guest;
    const NestedPageTables tables;
    if (nested)
        tables.use_in(guest);
    set_pae_mode(guest.save(), address_of(l2_modes_just_32), fresh_stack());
    const auto* const pointers = guest::pointer_to<std::uint64_t>(guest.save().cr3);
    const std::uint64_t before[4] = {pointers[0], pointers[1], pointers[2], pointers[3]};
    guest.run_to(ExitCode::vmmcall, "L2 leaves by VMMCALL");
    for (unsigned i = 0; i < 4; ++i)
        expect_equal(pointers[i], before[i], conform::Text{"page directory pointer ", i});
}
} // namespace
SVM_TEST(switch_guest_pae_pointers, "svm.switch.guest_pae_pointers_not_written",
         "L2's page directory pointers have no accessed bit that the processor would set", "15.25.5") {
    pointers_not_written(false);
}
SVM_TEST(switch_guest_pae_pointers_npt, "svm.switch.guest_pae_pointers_not_written_npt",
         "L2's page directory pointers have no accessed bit under nested paging either", "15.25.5",
         .needs = "npt") {
    pointers_not_written(true);
}
SVM_TEST(switch_guest_two_pae, "svm.switch.guest_two_pae",
         "Two PAE guests in turn have page directories each", "15.5.1") {
    two_pae_guests(false);
}
SVM_TEST(switch_guest_two_pae_npt, "svm.switch.guest_two_pae_npt",
         "Two PAE guests in turn under nested paging have page directories each", "15.5.1", .needs = "npt") {
    two_pae_guests(true);
}

} // namespace nestbed::svm
