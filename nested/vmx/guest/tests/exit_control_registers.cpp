// MOV to and from CR0, CR3, CR4 and CR8, CLTS, LMSW and SMSW: guest/host masks and read shadows, each class
// of bit (SDM volume 3, "Guest/Host Masks and Read Shadows for CR0 and CR4").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/msr.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;
using conform::Text;

namespace {

constexpr std::uint64_t pe = 1, mp = 2, em = 4, ts = 8;
constexpr std::uint64_t cr4_vmxe = 1U << 13;

L2_SNIPPET(cr_write_0, "mov %rbx, %cr0");
L2_SNIPPET(cr_write_4, "mov %rbx, %cr4");
L2_SNIPPET(cr_read_0, "mov %cr0, %rbx");
L2_SNIPPET(cr_read_4, "mov %cr4, %rbx");
L2_SNIPPET(cr_smsw, "smsw %rbx");
L2_SNIPPET(cr_smsw_16, "smsw %bx");
L2_SNIPPET(cr_smsw_memory, "smsw (%rsi)");
L2_SNIPPET(cr_clts, "clts");
L2_SNIPPET(cr_lmsw, "lmsw %bx");
L2_SNIPPET(cr_lmsw_memory, "lmsw 2(%rsi)");

struct Register {
    const Snippet& write_code;
    const Snippet& read_code;
    Field guest, mask, shadow;
    std::uint64_t qualification; // of MOV to it from RBX
};
constexpr Register cr0{
    cr_write_0, cr_read_0, Field::guest_cr0, Field::cr0_guest_host_mask, Field::cr0_read_shadow, 0x300};
constexpr Register cr4{
    cr_write_4, cr_read_4, Field::guest_cr4, Field::cr4_guest_host_mask, Field::cr4_read_shadow, 0x304};

// A MOV that changes only this bit from what L2 sees leaves where the mask has it; the same value as in the
// shadow runs, whatever the register itself holds.
template<const Register& which, unsigned bit>
void owned_by_host() {
    constexpr auto value = std::uint64_t{1} << bit;
    if (&which == &cr4 && (guest::rdmsr(msr::vmx_cr4_fixed1) & value) == 0)
        return not_applicable("the processor has no such bit");
    L2 guest;
    const auto real = read(which.guest);
    const auto old_mask = read(which.mask);
    write(which.mask, old_mask | value);
    const auto seen = (read(which.shadow) & (old_mask | value)) | (real & ~(old_mask | value));
    for (const auto shadow : {seen & ~value, seen | value}) {
        write(which.shadow, shadow);
        place(guest, which.write_code);
        guest.registers.rbx = shadow ^ value;
        expect_exit(guest, which.write_code, ExitReason::control_register_access, which.qualification);
        expect_equal(read(which.guest), real, Text{"guest CR after the exit, shadow ", conform::Hex{shadow}});
        place(guest, which.write_code);
        guest.registers.rbx = shadow;
        expect_executes(guest, which.write_code);
        expect_equal(read(which.guest), real,
                     Text{"guest CR after a MOV of the shadow ", conform::Hex{shadow}});
        place(guest, which.read_code);
        expect_executes(guest, which.read_code);
        expect_equal(guest.registers.rbx, shadow, "what L2 reads");
    }
}

// Without a mask the MOV changes the register itself, and L2 reads it back, whatever the shadow says.
template<const Register& which, unsigned bit>
void owned_by_guest() {
    constexpr auto value = std::uint64_t{1} << bit;
    if (&which == &cr4 && (guest::rdmsr(msr::vmx_cr4_fixed1) & value) == 0)
        return not_applicable("the processor has no such bit");
    L2 guest;
    const auto host = &which == &cr0 ? guest::control_register<0>() : guest::control_register<4>();
    const auto real = read(which.guest);
    const auto mask = read(which.mask);
    for (const auto wanted : {real ^ value, real}) {
        write(which.shadow, (wanted & mask & read(which.shadow)) | (~wanted & ~mask & 0xffff));
        place(guest, which.write_code);
        // Of the bits that are L1's what L2 sees.
        const auto as_seen = (wanted & ~mask) | (read(which.shadow) & mask);
        guest.registers.rbx = as_seen;
        expect_executes(guest, which.write_code);
        expect_equal(read(which.guest), wanted, "guest CR as L2 wrote it");
        place(guest, which.read_code);
        expect_executes(guest, which.read_code);
        expect_equal(guest.registers.rbx, as_seen, "what L2 reads back");
    }
    expect_equal(&which == &cr0 ? guest::control_register<0>() : guest::control_register<4>(), host,
                 "L1's own");
}

} // namespace

// NOLINTBEGIN
#define CR_HOST(reg, name, bit)                                                                              \
    VMX_CASE(exit_##reg##_##name##_masked, "vmx.exit." #reg "_" #name "_masked",                             \
             "MOV that changes " #name " from its read shadow leaves where it is masked; no other does",     \
             "Guest/Host Masks and Read Shadows for CR0 and CR4", (&owned_by_host<reg, bit>))
#define CR_GUEST(reg, name, bit)                                                                             \
    VMX_CASE(exit_##reg##_##name##_unmasked, "vmx.exit." #reg "_" #name "_unmasked",                         \
             "MOV of " #name " that is not masked changes it for L2, and for L2 only",                       \
             "Guest/Host Masks and Read Shadows for CR0 and CR4", (&owned_by_guest<reg, bit>))
// NOLINTEND
CR_HOST(cr0, pe, 0);
CR_HOST(cr0, mp, 1);
CR_HOST(cr0, em, 2);
CR_HOST(cr0, ts, 3);
CR_HOST(cr0, ne, 5);
CR_HOST(cr0, wp, 16);
CR_HOST(cr0, am, 18);
CR_HOST(cr0, nw, 29);
CR_HOST(cr0, cd, 30);
CR_HOST(cr0, pg, 31);
CR_GUEST(cr0, mp, 1);
CR_GUEST(cr0, em, 2);
CR_GUEST(cr0, ts, 3);
CR_GUEST(cr0, wp, 16);
CR_GUEST(cr0, am, 18);
CR_GUEST(cr0, cd, 30);
CR_HOST(cr4, tsd, 2);
CR_HOST(cr4, de, 3);
CR_HOST(cr4, pae, 5);
CR_HOST(cr4, mce, 6);
CR_HOST(cr4, pge, 7);
CR_HOST(cr4, osfxsr, 9);
CR_HOST(cr4, umip, 11);
CR_HOST(cr4, vmxe, 13);
CR_HOST(cr4, fsgsbase, 16);
CR_HOST(cr4, pcide, 17);
CR_HOST(cr4, osxsave, 18);
CR_HOST(cr4, smep, 20);
CR_HOST(cr4, smap, 21);
CR_GUEST(cr4, vme, 0);
CR_GUEST(cr4, pvi, 1);
CR_GUEST(cr4, tsd, 2);
CR_GUEST(cr4, de, 3);
CR_GUEST(cr4, pse, 4);
CR_GUEST(cr4, mce, 6);
CR_GUEST(cr4, pge, 7);
CR_GUEST(cr4, pce, 8);
CR_GUEST(cr4, osfxsr, 9);
CR_GUEST(cr4, osxmmexcpt, 10);
CR_GUEST(cr4, umip, 11);

// Every part of what L2 reads, at once.
namespace {
template<const Register& which>
void reads_combine() {
    L2 guest;
    const auto real = read(which.guest);
    for (const std::uint64_t mask : {std::uint64_t{0}, std::uint64_t{0xaaaa'aaaa}, std::uint64_t{0x5555'5555},
                                     std::uint64_t{0xffff'ffff}, ~std::uint64_t{0}})
        for (const auto shadow : {std::uint64_t{0}, ~real, std::uint64_t{0x1234'5678'9abc'def0}}) {
            write(which.mask, mask);
            write(which.shadow, shadow);
            place(guest, which.read_code);
            expect_executes(guest, which.read_code);
            expect_equal(guest.registers.rbx, (real & ~mask) | (shadow & mask),
                         Text{"what L2 reads, mask ", conform::Hex{mask}, " shadow ", conform::Hex{shadow}});
        }
}
} // namespace
VMX_CASE(exit_cr0_read, "vmx.exit.cr0_read",
         "MOV from CR0 takes masked bits from the read shadow, others from CR0",
         "Guest/Host Masks and Read Shadows for CR0 and CR4", &reads_combine<cr0>);
VMX_CASE(exit_cr4_read, "vmx.exit.cr4_read",
         "MOV from CR4 takes masked bits from the read shadow, others from CR4",
         "Guest/Host Masks and Read Shadows for CR0 and CR4", &reads_combine<cr4>);
VMX_TEST(exit_smsw, "vmx.exit.smsw", "SMSW reads CR0 as MOV does, in each of its forms",
         "Changes to Instruction Behavior in VMX Non-Root Operation") {
    L2 guest;
    const auto real = read(Field::guest_cr0);
    auto* const room = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    for (const std::uint64_t mask : {0x0000'0000U, 0x8005'000eU, 0xffff'ffffU}) {
        constexpr std::uint64_t shadow = 0x6000'a4f6;
        const auto seen = (real & ~mask) | (shadow & mask);
        write(Field::cr0_guest_host_mask, mask);
        write(Field::cr0_read_shadow, shadow);
        place(guest, cr_smsw);
        expect_executes(guest, cr_smsw);
        expect_equal(guest.registers.rbx & 0xffff, seen & 0xffff, "SMSW of 64 bits");
        place(guest, cr_smsw_16);
        const auto before = guest.registers.rbx;
        expect_executes(guest, cr_smsw_16);
        expect_equal(guest.registers.rbx, (before & ~std::uint64_t{0xffff}) | (seen & 0xffff),
                     "SMSW of 16 bits");
        place(guest, cr_smsw_memory);
        *room = ~std::uint64_t{0};
        guest.registers.rsi = conform::physical(room);
        expect_executes(guest, cr_smsw_memory);
        expect_equal(*room, ~std::uint64_t{0xffff} | (seen & 0xffff), "SMSW to memory");
    }
}

// CLTS by mask and shadow (SDM, "Instructions That Cause VM Exits Conditionally").
namespace {
template<bool masked, bool shadowed>
void clts() {
    L2 guest;
    place(guest, cr_clts);
    set(Field::guest_cr0, ts);
    write(Field::cr0_guest_host_mask, masked ? ts : 0);
    write(Field::cr0_read_shadow, (read(Field::guest_cr0) & ~ts) | (shadowed ? ts : 0));
    if (masked && shadowed)
        expect_exit(guest, cr_clts, ExitReason::control_register_access, 0x20);
    else
        expect_executes(guest, cr_clts);
    expect_equal(read(Field::guest_cr0) & ts, masked ? ts : 0, "CR0.TS");
    place(guest, cr_read_0);
    expect_executes(guest, cr_read_0);
    expect_equal(guest.registers.rbx & ts, masked && shadowed ? ts : 0, "CR0.TS that L2 reads");
}
} // namespace
VMX_CASE(exit_clts_masked_set, "vmx.exit.clts_masked_set",
         "CLTS leaves where TS is masked, set in the shadow",
         "Instructions That Cause VM Exits Conditionally", (&clts<true, true>));
VMX_CASE(exit_clts_masked_clear, "vmx.exit.clts_masked_clear",
         "CLTS runs and changes nothing where TS is masked, clear in the shadow",
         "Changes to Instruction Behavior in VMX Non-Root Operation", (&clts<true, false>));
VMX_CASE(exit_clts_unmasked_set, "vmx.exit.clts_unmasked_set",
         "CLTS runs and clears CR0.TS where TS is not masked, set in the shadow",
         "Instructions That Cause VM Exits Conditionally", (&clts<false, true>));
VMX_CASE(exit_clts_unmasked_clear, "vmx.exit.clts_unmasked_clear",
         "CLTS runs and clears CR0.TS where TS is not masked, clear in the shadow",
         "Instructions That Cause VM Exits Conditionally", (&clts<false, false>));

// LMSW: bits 3:1, and PE where it would be set.
namespace {
struct Lmsw {
    std::uint64_t mask, shadow, source;
    bool leaves;
    std::uint64_t changed; // of CR0, where it runs
};
template<const Lmsw& row>
void lmsw() {
    L2 guest;
    place(guest, cr_lmsw);
    const auto real = read(Field::guest_cr0);
    write(Field::cr0_guest_host_mask, row.mask);
    write(Field::cr0_read_shadow, (real & ~std::uint64_t{0xf}) | row.shadow);
    guest.registers.rbx = (guest.registers.rbx & ~std::uint64_t{0xffff}) | row.source;
    if (row.leaves) {
        expect_exit(guest, cr_lmsw, ExitReason::control_register_access, row.source << 16 | 0x30);
        expect_equal(read(Field::guest_cr0), real, "CR0");
        return;
    }
    expect_executes(guest, cr_lmsw);
    const auto expected = (real & ~row.changed) | (row.source & row.changed);
    expect_equal(read(Field::guest_cr0), expected, "CR0");
}
} // namespace
// NOLINTBEGIN
#define LMSW(name, title, ...)                                                                               \
    static constexpr Lmsw lmsw_##name{__VA_ARGS__};                                                          \
    VMX_CASE(exit_lmsw_##name, "vmx.exit.lmsw_" #name, title,                                                \
             "Instructions That Cause VM Exits Conditionally", &lmsw<lmsw_##name>)
// NOLINTEND
LMSW(ts, "LMSW that sets a masked TS leaves", ts, pe, pe | ts, true, 0);
LMSW(ts_clear, "LMSW that clears a masked TS leaves", ts, pe | ts, pe, true, 0);
LMSW(em, "LMSW that sets a masked EM leaves", em, pe, pe | em, true, 0);
LMSW(mp, "LMSW that clears a masked MP leaves", mp, pe | mp, pe, true, 0);
LMSW(pe_set, "LMSW that sets a masked PE leaves", pe, 0, pe, true, 0);
LMSW(pe_clear, "LMSW cannot clear PE, and does not leave for it", pe, pe, 0, false, mp | em | ts);
LMSW(pe_same, "LMSW of a masked PE that is set already runs", pe, pe, pe, false, mp | em | ts);
LMSW(high, "LMSW with other bits of its source set does not leave for them", ~std::uint64_t{0xf}, pe,
     0xfff0 | pe, false, mp | em | ts);
LMSW(unmasked, "LMSW changes MP, EM and TS where they are not masked", 0, 0, pe | mp | em | ts, false,
     mp | em | ts);
LMSW(masked_same, "LMSW of the read shadow runs and leaves masked bits alone", mp | em | ts, pe | em | ts,
     pe | em | ts, false, 0);
LMSW(other, "LMSW that changes TS runs where only EM is masked", em, pe, pe | ts, false, mp | ts);
LMSW(source, "An LMSW that leaves has all 16 bits of its source in the qualification", ts, pe, 0xa5c8 | pe,
     true, 0);
VMX_TEST(exit_lmsw_memory, "vmx.exit.lmsw_memory",
         "LMSW from memory has bit 6 of the qualification, its source and its linear address",
         "Basic VM-Exit Information") {
    L2 guest;
    place(guest, cr_lmsw_memory);
    auto* const room = static_cast<std::uint16_t*>(conform::allocate_pages(1));
    room[1] = 0x1239;
    guest.registers.rsi = conform::physical(room);
    write(Field::cr0_guest_host_mask, ts);
    write(Field::cr0_read_shadow, read(Field::guest_cr0) & ~ts);
    expect_exit(guest, cr_lmsw_memory, ExitReason::control_register_access, 0x1239'0070);
    expect_equal(read(Field::guest_linear_address), conform::physical(room) + 2, "guest-linear address");
}
VMX_TEST(exit_lmsw_memory_fault, "vmx.exit.lmsw_memory_fault",
         "A fault of LMSW's operand comes before the exit, which depends on it",
         "Relative Priority of Faults and VM Exits") {
    L2 guest;
    place(guest, cr_lmsw_memory);
    guest.registers.rsi = std::uint64_t{1} << 46;
    write(Field::cr0_guest_host_mask, 0xf);
    write(Field::cr0_read_shadow, 0);
    guest.intercept_exception(14);
    expect_exception(guest, cr_lmsw_memory, 14, 0);
    expect_equal(read(Field::exit_qualification), guest.registers.rsi + 2, "exit qualification");
}

// Values that no L2 may load, and where the exit comes first.
VMX_TEST(exit_cr0_reserved, "vmx.exit.cr0_reserved_gp",
         "MOV to CR0 of NW without CD is L2's own #GP where nothing is masked, an exit where a bit is",
         "Relative Priority of Faults and VM Exits") {
    constexpr std::uint64_t nw = 1U << 29;
    L2 guest;
    guest.intercept_exception(13);
    place(guest, cr_write_0);
    guest.registers.rbx = read(Field::guest_cr0) | nw;
    expect_exception(guest, cr_write_0, 13, 0);
    place(guest, cr_write_0);
    guest.registers.rbx = read(Field::guest_cr0) | nw;
    write(Field::cr0_guest_host_mask, nw);
    write(Field::cr0_read_shadow, 0);
    expect_exit(guest, cr_write_0, ExitReason::control_register_access, 0x300);
}
VMX_TEST(exit_cr0_fixed, "vmx.exit.cr0_fixed_gp",
         "MOV to CR0 that clears NE, fixed in VMX operation, is #GP in L2",
         "Changes to Instruction Behavior in VMX Non-Root Operation") {
    constexpr std::uint64_t ne = 1U << 5;
    if ((guest::rdmsr(msr::vmx_cr0_fixed0) & ne) == 0)
        return not_applicable("CR0.NE is not fixed");
    L2 guest;
    guest.intercept_exception(13);
    place(guest, cr_write_0);
    guest.registers.rbx = read(Field::guest_cr0) & ~ne;
    expect_exception(guest, cr_write_0, 13, 0);
}
VMX_TEST(exit_cr4_fixed, "vmx.exit.cr4_fixed_gp",
         "MOV to CR4 that clears a VMXE that is not masked is #GP in L2",
         "Changes to Instruction Behavior in VMX Non-Root Operation") {
    L2 guest;
    guest.intercept_exception(13);
    place(guest, cr_write_4);
    write(Field::cr4_guest_host_mask, 0);
    guest.registers.rbx = read(Field::guest_cr4) & ~cr4_vmxe;
    expect_exception(guest, cr_write_4, 13, 0);
    place(guest, cr_write_4);
    guest.registers.rbx = read(Field::guest_cr4);
    expect_executes(guest, cr_write_4);
}
VMX_TEST(exit_cr4_reserved, "vmx.exit.cr4_reserved_gp",
         "MOV to CR4 of a bit that VMX does not allow is #GP in L2, an exit where it is masked",
         "Changes to Instruction Behavior in VMX Non-Root Operation") {
    const auto may = guest::rdmsr(msr::vmx_cr4_fixed1);
    for (unsigned bit = 14; bit < 64; ++bit) {
        const auto value = std::uint64_t{1} << bit;
        if ((may & value) != 0)
            continue;
        L2 guest;
        guest.intercept_exception(13);
        place(guest, cr_write_4);
        const auto seen = (read(Field::guest_cr4) & ~cr4_vmxe) | value;
        guest.registers.rbx = seen;
        expect_exception(guest, cr_write_4, 13, 0);
        place(guest, cr_write_4);
        guest.registers.rbx = seen;
        set(Field::cr4_guest_host_mask, value);
        expect_exit(guest, cr_write_4, ExitReason::control_register_access, 0x304);
        if (bit > 31 && bit < 62)
            bit += 9;
    }
}

// The number of the general register is in bits 11:8.
// NOLINTBEGIN
#define CR_GPR(n, gpr, number)                                                                               \
    namespace {                                                                                              \
    L2_SNIPPET(cr##n##_from_##gpr, "mov %" #gpr ", %cr" #n);                                                 \
    L2_SNIPPET(cr##n##_to_##gpr, "mov %cr" #n ", %" #gpr);                                                   \
    }                                                                                                        \
    VMX_TEST(exit_cr##n##_##gpr, "vmx.exit.cr" #n "_" #gpr,                                                  \
             "MOV between CR" #n " and " #gpr " says so in the qualification",                               \
             "Basic VM-Exit Information") {                                                                  \
        L2 guest;                                                                                            \
        set(Field::primary_controls, primary::cr##n##_load_exiting | primary::cr##n##_store_exiting);        \
        place(guest, cr##n##_from_##gpr);                                                                    \
        expect_exit(guest, cr##n##_from_##gpr, ExitReason::control_register_access, (number) << 8 | (n));    \
        place(guest, cr##n##_to_##gpr);                                                                      \
        expect_exit(guest, cr##n##_to_##gpr, ExitReason::control_register_access,                            \
                    (number) << 8 | 0x10 | (n));                                                             \
    }
// NOLINTEND
CR_GPR(3, rax, 0)
CR_GPR(3, rsp, 4)
CR_GPR(3, rbp, 5)
CR_GPR(3, r8, 8)
CR_GPR(3, r15, 15)
CR_GPR(8, rcx, 1)
CR_GPR(8, rsi, 6)
CR_GPR(8, rdi, 7)
CR_GPR(8, r9, 9)
CR_GPR(8, r12, 12)

// CR3 without exits: L2's own, and L1's is what it was.
namespace {
L2_SNIPPET(cr_write_3, "mov %rbx, %cr3");
L2_SNIPPET(cr_read_3, "mov %cr3, %rbx");
} // namespace
VMX_TEST(exit_cr3_own, "vmx.exit.cr3_not_intercepted",
         "MOV to CR3 that does not leave is in guest CR3 at the next exit, and L1 keeps its own",
         "Instructions That Cause VM Exits Conditionally") {
    L2 guest;
    clear(Field::primary_controls, primary::cr3_load_exiting | primary::cr3_store_exiting);
    auto* const copy = conform::allocate_pages(1);
    const auto own = guest::control_register<3>();
    conform::copy_page(copy, guest::pointer_to<void>(own & ~std::uint64_t{0xfff}));
    place(guest, cr_write_3);
    guest.registers.rbx = conform::physical(copy);
    expect_executes(guest, cr_write_3);
    expect_equal(read(Field::guest_cr3), conform::physical(copy), "guest CR3");
    place(guest, cr_read_3);
    expect_executes(guest, cr_read_3);
    expect_equal(guest.registers.rbx, conform::physical(copy), "CR3 that L2 reads");
    expect_equal(guest::control_register<3>(), own, "L1's CR3");
}
namespace {
void cr3_targets(unsigned count, unsigned place_of_value, bool leaves) {
    if ((miscellaneous() >> 16 & 0x1ff) < 4)
        return not_applicable("fewer than four CR3-target values");
    L2 guest;
    place(guest, cr_write_3);
    guest.registers.rbx = read(Field::guest_cr3);
    set(Field::primary_controls, primary::cr3_load_exiting);
    write(Field::cr3_target_count, count);
    for (unsigned i = 0; i < 4; ++i)
        write(static_cast<Field>(static_cast<std::uint32_t>(Field::cr3_target_value_0) + 2 * i),
              i == place_of_value ? guest.registers.rbx : 0x1000);
    if (leaves)
        expect_exit(guest, cr_write_3, ExitReason::control_register_access, 0x303);
    else
        expect_executes(guest, cr_write_3);
}
} // namespace
VMX_TEST(exit_cr3_target_last, "vmx.exit.cr3_target_last", "The last of four CR3-target values counts",
         "CR3-Target Controls") {
    cr3_targets(4, 3, false);
}
VMX_TEST(exit_cr3_target_beyond, "vmx.exit.cr3_target_beyond",
         "A CR3-target value beyond the CR3-target count does not count", "CR3-Target Controls") {
    cr3_targets(2, 2, true);
}

} // namespace nestbed::vmx
