// VMCS shadowing: VMREAD and VMWRITE of L2 that go to the VMCS of the link pointer (SDM volume 3, "VMCS
// Shadowing Bitmap Addresses", "VMREAD", "VMWRITE", and "Virtual-Machine Control Data Structures" for shadow
// VMCSs).
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::not_applicable;
using conform::physical;
using conform::Text;

namespace {

bool offered() {
    if (allowed_secondary().may_set(secondary::vmcs_shadowing))
        return true;
    not_applicable("KVM does not offer VMCS shadowing");
    return false;
}

constexpr std::uint64_t encoding_of(Field field) {
    return static_cast<std::uint64_t>(field);
}

struct Shadowed {
    L2 guest;
    void* shadow = make_region();
    std::uint8_t* vmread_bitmap = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    std::uint8_t* vmwrite_bitmap = static_cast<std::uint8_t*>(conform::allocate_pages(1));

    Shadowed() {
        *static_cast<std::uint32_t*>(shadow) |= 1U << 31; // the shadow-VMCS indicator
        expect_equal(vmclear(physical(shadow)), Outcome::succeed, "VMCLEAR of the shadow VMCS");
        set(Field::secondary_controls, secondary::vmcs_shadowing);
        write(Field::vmread_bitmap, physical(vmread_bitmap));
        write(Field::vmwrite_bitmap, physical(vmwrite_bitmap));
        write(Field::vmcs_link_pointer, physical(shadow));
    }
    // L1's own accesses to the shadow VMCS.
    void load_shadow() { expect_equal(vmptrld(physical(shadow)), Outcome::succeed, "VMPTRLD of the shadow"); }
    void write_shadow(Field field, std::uint64_t value) {
        load_shadow();
        write(field, value);
        expect_equal(vmclear(physical(shadow)), Outcome::succeed, "VMCLEAR of the shadow");
        guest.load();
    }
    std::uint64_t read_shadow(Field field) {
        load_shadow();
        const auto value = read(field);
        expect_equal(vmclear(physical(shadow)), Outcome::succeed, "VMCLEAR of the shadow");
        guest.load();
        return value;
    }
    Outcome read_in_l2(std::uint64_t encoding, std::uint64_t& value) {
        auto outcome = Outcome::other_flags;
        auto code = [&] { outcome = vmread(encoding, value); };
        guest.start(code);
        guest.run_to_end("VMREAD stays in L2");
        return outcome;
    }
    Outcome write_in_l2(std::uint64_t encoding, std::uint64_t value) {
        auto outcome = Outcome::other_flags;
        auto code = [&] { outcome = vmwrite(encoding, value); };
        guest.start(code);
        guest.run_to_end("VMWRITE stays in L2");
        return outcome;
    }
};

void set_bit(std::uint8_t* bitmap, std::uint64_t encoding, bool on = true) {
    auto& byte = bitmap[encoding / 8];
    byte = static_cast<std::uint8_t>(on ? byte | 1U << encoding % 8 : byte & ~(1U << encoding % 8));
}

L2_SNIPPET(shadow_vmread, "vmread %rax, %rbx");
L2_SNIPPET(shadow_vmwrite, "vmwrite %rbx, %rax");
L2_SNIPPET(shadow_vmread_memory, "vmread %rax, (%rsi)");
L2_SNIPPET(shadow_vmwrite_memory, "vmwrite (%rsi), %rax");

// Fields of each width and kind, with a value that fits.
struct Row {
    Field field;
    std::uint64_t value;
    const char* name;
};
constexpr Row rows[]{
    {Field::guest_es_selector, 0x1234, "a 16-bit field"},
    {Field::host_tr_selector, 0x4328, "a 16-bit host field"},
    {Field::tsc_offset, 0x1122'3344'5566'7788, "a 64-bit field"},
    {Field::guest_ia32_debugctl, 0x8877'6655'4433'2211, "a 64-bit guest field"},
    {Field::exception_bitmap, 0x8765'4321, "a 32-bit field"},
    {Field::guest_es_limit, 0xfedc'ba98, "a 32-bit guest field"},
    {Field::cr0_read_shadow, 0x0123'4567'89ab'cdef, "a natural-width field"},
    {Field::guest_rip, 0xffff'8000'1234'5678, "a natural-width guest field"},
    {Field::host_rsp, 0xffff'9000'8765'4321, "a natural-width host field"},
};

} // namespace

VMX_TEST(optional_shadow_read, "vmx.optional.shadow_vmread",
         "VMREAD of a field whose bit is clear reads the shadow VMCS", "VMREAD") {
    if (!offered())
        return;
    Shadowed shadowed;
    for (const auto& row : rows) {
        shadowed.write_shadow(row.field, row.value);
        std::uint64_t seen = 0;
        expect_equal(shadowed.read_in_l2(encoding_of(row.field), seen), Outcome::succeed, row.name);
        expect_equal(seen, row.value, row.name);
    }
}
VMX_TEST(optional_shadow_write, "vmx.optional.shadow_vmwrite",
         "VMWRITE of a field whose bit is clear writes the shadow VMCS and no other", "VMWRITE") {
    if (!offered())
        return;
    Shadowed shadowed;
    for (const auto& row : rows) {
        const auto own = read(row.field);
        expect_equal(shadowed.write_in_l2(encoding_of(row.field), row.value), Outcome::succeed, row.name);
        if (row.field != Field::guest_rip)
            expect_equal(read(row.field), own, Text{"the same field of L2's VMCS: ", row.name});
        expect_equal(shadowed.read_shadow(row.field), row.value, row.name);
        std::uint64_t seen = 0;
        expect_equal(shadowed.read_in_l2(encoding_of(row.field), seen), Outcome::succeed, row.name);
        expect_equal(seen, row.value, row.name);
    }
}
VMX_TEST(optional_shadow_high, "vmx.optional.shadow_high_half",
         "The high half of a 64-bit field is its own access in the shadow VMCS", "VMREAD") {
    if (!offered())
        return;
    Shadowed shadowed;
    shadowed.write_shadow(Field::tsc_offset, 0x1122'3344'5566'7788);
    std::uint64_t seen = 0;
    expect_equal(shadowed.read_in_l2(high(Field::tsc_offset), seen), Outcome::succeed, "VMREAD");
    expect_equal(seen, 0x1122'3344U, "high half");
    expect_equal(shadowed.write_in_l2(high(Field::tsc_offset), 0xaabb'ccdd), Outcome::succeed, "VMWRITE");
    expect_equal(shadowed.read_shadow(Field::tsc_offset), 0xaabb'ccdd'5566'7788U, "all of the field");
}
VMX_TEST(optional_shadow_read_bit, "vmx.optional.shadow_vmread_bitmap",
         "VMREAD of a field leaves L2 by its own bit alone", "VMCS Shadowing Bitmap Addresses") {
    if (!offered())
        return;
    Shadowed shadowed;
    for (const auto& row : rows) {
        const auto encoding = encoding_of(row.field);
        set_bit(shadowed.vmread_bitmap, encoding);
        place(shadowed.guest, shadow_vmread);
        shadowed.guest.registers.rax = encoding;
        expect_operand(shadowed.guest, shadow_vmread, {ExitReason::vmread, 0, 0});
        set_bit(shadowed.vmread_bitmap, encoding, false);
        for (unsigned i = 0; i < 4096; ++i)
            shadowed.vmwrite_bitmap[i] = 0xff;
        place(shadowed.guest, shadow_vmread);
        shadowed.guest.registers.rax = encoding;
        expect_executes(shadowed.guest, shadow_vmread);
    }
}
VMX_TEST(optional_shadow_write_bit, "vmx.optional.shadow_vmwrite_bitmap",
         "VMWRITE of a field leaves L2 by its own bit alone", "VMCS Shadowing Bitmap Addresses") {
    if (!offered())
        return;
    Shadowed shadowed;
    for (const auto& row : rows) {
        const auto encoding = encoding_of(row.field);
        set_bit(shadowed.vmwrite_bitmap, encoding);
        place(shadowed.guest, shadow_vmwrite);
        shadowed.guest.registers.rax = encoding;
        expect_operand(shadowed.guest, shadow_vmwrite, {ExitReason::vmwrite, 0, 0});
        set_bit(shadowed.vmwrite_bitmap, encoding, false);
        for (unsigned i = 0; i < 4096; ++i)
            shadowed.vmread_bitmap[i] = 0xff;
        place(shadowed.guest, shadow_vmwrite);
        shadowed.guest.registers.rax = encoding;
        expect_executes(shadowed.guest, shadow_vmwrite);
    }
}
VMX_TEST(optional_shadow_neighbours, "vmx.optional.shadow_bitmap_neighbours",
         "VMREAD and VMWRITE stay in L2 where every bit but their own is set",
         "VMCS Shadowing Bitmap Addresses") {
    if (!offered())
        return;
    Shadowed shadowed;
    for (unsigned i = 0; i < 4096; ++i)
        shadowed.vmread_bitmap[i] = shadowed.vmwrite_bitmap[i] = 0xff;
    constexpr auto encoding = encoding_of(Field::guest_es_limit);
    set_bit(shadowed.vmread_bitmap, encoding, false);
    set_bit(shadowed.vmwrite_bitmap, encoding, false);
    std::uint64_t seen = 0;
    expect_equal(shadowed.write_in_l2(encoding, 0x5566), Outcome::succeed, "VMWRITE");
    expect_equal(shadowed.read_in_l2(encoding, seen), Outcome::succeed, "VMREAD");
    expect_equal(seen, 0x5566U, "what was written");
}
VMX_TEST(optional_shadow_wide, "vmx.optional.shadow_encoding_beyond",
         "VMREAD and VMWRITE of an encoding with a bit of 63:15 set leave L2, whatever the bitmaps hold",
         "Instructions That Cause VM Exits Conditionally") {
    if (!offered())
        return;
    Shadowed shadowed;
    for (const unsigned bit : {15U, 16U, 31U, 32U, 63U}) {
        const auto encoding = encoding_of(Field::guest_es_limit) | std::uint64_t{1} << bit;
        place(shadowed.guest, shadow_vmread);
        shadowed.guest.registers.rax = encoding;
        expect_operand(shadowed.guest, shadow_vmread, {ExitReason::vmread, 0, 0});
        place(shadowed.guest, shadow_vmwrite);
        shadowed.guest.registers.rax = encoding;
        expect_operand(shadowed.guest, shadow_vmwrite, {ExitReason::vmwrite, 0, 0});
    }
}
VMX_TEST(optional_shadow_no_link, "vmx.optional.shadow_no_link_pointer",
         "Without a link pointer VMREAD and VMWRITE that stay in L2 fail: VMfailInvalid", "VMREAD") {
    if (!offered())
        return;
    Shadowed shadowed;
    write(Field::vmcs_link_pointer, ~std::uint64_t{0});
    std::uint64_t seen = 0x7777;
    expect_equal(shadowed.read_in_l2(encoding_of(Field::guest_rip), seen), Outcome::fail_invalid, "VMREAD");
    expect_equal(seen, 0x7777U, "destination");
    expect_equal(shadowed.write_in_l2(encoding_of(Field::guest_rip), 1), Outcome::fail_invalid, "VMWRITE");
}
VMX_TEST(optional_shadow_unknown, "vmx.optional.shadow_unsupported_field",
         "VMREAD and VMWRITE of a field that is not there fail in L2 with a current VMCS: VMfailValid",
         "VMREAD") {
    if (!offered())
        return;
    Shadowed shadowed;
    std::uint64_t seen = 0x7777;
    // The last index of each width, and 64-bit fields' high bit elsewhere.
    for (const std::uint64_t encoding : {0x03feU, 0x23feU, 0x43feU, 0x63feU, 0x6801U, 0x0c01U}) {
        expect_equal(shadowed.read_in_l2(encoding, seen), Outcome::fail_valid,
                     Text{"VMREAD of ", conform::Hex{encoding}});
        expect_equal(seen, 0x7777U, "destination");
        expect_equal(shadowed.write_in_l2(encoding, 1), Outcome::fail_valid,
                     Text{"VMWRITE of ", conform::Hex{encoding}});
    }
}
VMX_TEST(optional_shadow_read_only, "vmx.optional.shadow_read_only_field",
         "VMWRITE of a read-only field of the shadow VMCS works as IA32_VMX_MISC says", "VMWRITE") {
    if (!offered())
        return;
    Shadowed shadowed;
    constexpr auto encoding = encoding_of(Field::exit_qualification);
    const bool may = (miscellaneous() >> 29 & 1) != 0;
    expect_equal(shadowed.write_in_l2(encoding, 0x4321), may ? Outcome::succeed : Outcome::fail_valid,
                 "VMWRITE");
    if (may)
        expect_equal(shadowed.read_shadow(Field::exit_qualification), 0x4321U, "the shadow VMCS");
}
VMX_TEST(optional_shadow_off, "vmx.optional.shadow_disabled",
         "Without VMCS shadowing VMREAD and VMWRITE leave L2, whatever the bitmaps hold",
         "Instructions That Cause VM Exits Conditionally") {
    if (!offered())
        return;
    Shadowed shadowed;
    clear(Field::secondary_controls, secondary::vmcs_shadowing);
    write(Field::vmcs_link_pointer, ~std::uint64_t{0});
    place(shadowed.guest, shadow_vmread);
    shadowed.guest.registers.rax = encoding_of(Field::guest_rip);
    expect_operand(shadowed.guest, shadow_vmread, {ExitReason::vmread, 0, 0});
    place(shadowed.guest, shadow_vmwrite);
    shadowed.guest.registers.rax = encoding_of(Field::guest_rip);
    expect_operand(shadowed.guest, shadow_vmwrite, {ExitReason::vmwrite, 0, 0});
}
VMX_TEST(optional_shadow_memory, "vmx.optional.shadow_memory_operand",
         "VMREAD to and VMWRITE from memory move 8 bytes, and a fault of theirs is L2's own", "VMREAD") {
    if (!offered())
        return;
    Shadowed shadowed;
    constexpr auto encoding = encoding_of(Field::guest_es_limit);
    auto* const room = static_cast<std::uint64_t*>(conform::allocate_pages(1));
    room[0] = 0xffff'ffff'0000'7788;
    room[1] = ~std::uint64_t{0};
    auto& guest = shadowed.guest;
    place(guest, shadow_vmwrite_memory);
    guest.registers.rax = encoding;
    guest.registers.rsi = physical(room);
    expect_executes(guest, shadow_vmwrite_memory);
    expect_equal(shadowed.read_shadow(Field::guest_es_limit), 0x7788U, "the 32 bits of the field");
    place(guest, shadow_vmread_memory);
    guest.registers.rax = encoding;
    guest.registers.rsi = physical(room + 1);
    expect_executes(guest, shadow_vmread_memory);
    expect_equal(room[1], 0x7788U, "all 64 bits of what VMREAD wrote");
    guest.intercept_exception(14);
    for (const auto* const code : {&shadow_vmread_memory, &shadow_vmwrite_memory}) {
        place(guest, *code);
        guest.registers.rax = encoding;
        guest.registers.rsi = std::uint64_t{1} << 46;
        expect_exception(guest, *code, 14, code == &shadow_vmread_memory ? 2 : 0);
    }
}
VMX_TEST(optional_shadow_ring_3, "vmx.optional.shadow_ring_3",
         "In ring 3 VMREAD leaves L2 by its bit, and without it is #GP", "VMREAD") {
    if (!offered())
        return;
    Shadowed shadowed;
    auto& guest = shadowed.guest;
    constexpr auto encoding = encoding_of(Field::guest_es_limit);
    guest.intercept_exception(13);
    place(guest, shadow_vmread);
    move_to_ring_3(guest);
    guest.registers.rax = encoding;
    expect_exception(guest, shadow_vmread, 13, 0);
    set_bit(shadowed.vmread_bitmap, encoding);
    expect_operand(guest, shadow_vmread, {ExitReason::vmread, 0, 0});
}
VMX_TEST(optional_shadow_launch, "vmx.optional.shadow_not_entered",
         "VM entry of a shadow VMCS fails: VMfailInvalid", "VMLAUNCH/VMRESUME") {
    if (!offered())
        return;
    Shadowed shadowed;
    shadowed.load_shadow();
    expect_equal(vmlaunch(), Outcome::fail_invalid, "VMLAUNCH");
    expect_equal(vmresume(), Outcome::fail_invalid, "VMRESUME");
    shadowed.guest.load();
    std::uint64_t seen = 0;
    auto code = [&] { seen = 1; };
    shadowed.guest.start(code);
    shadowed.guest.run_to_end("L2 runs afterwards");
    expect_equal(seen, 1U, "what L2 wrote");
}
VMX_TEST(optional_shadow_persists, "vmx.optional.shadow_persists",
         "What L2 wrote to the shadow VMCS is there over exits and entries, and in no other shadow VMCS",
         "VMCS Shadowing Bitmap Addresses") {
    if (!offered())
        return;
    Shadowed shadowed;
    auto* const second = make_region();
    *static_cast<std::uint32_t*>(second) |= 1U << 31;
    vmclear(physical(second));
    constexpr auto encoding = encoding_of(Field::guest_rsp);
    std::uint64_t seen = 0;
    expect_equal(shadowed.write_in_l2(encoding, 0x1111), Outcome::succeed, "VMWRITE to the first");
    write(Field::vmcs_link_pointer, physical(second));
    expect_equal(shadowed.write_in_l2(encoding, 0x2222), Outcome::succeed, "VMWRITE to the second");
    write(Field::vmcs_link_pointer, physical(shadowed.shadow));
    expect_equal(shadowed.read_in_l2(encoding, seen), Outcome::succeed, "VMREAD of the first");
    expect_equal(seen, 0x1111U, "the first");
    write(Field::vmcs_link_pointer, physical(second));
    expect_equal(shadowed.read_in_l2(encoding, seen), Outcome::succeed, "VMREAD of the second");
    expect_equal(seen, 0x2222U, "the second");
}

} // namespace nestbed::vmx
