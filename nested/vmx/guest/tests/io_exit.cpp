// I/O instructions: the exit qualification of each form, the bitmaps at their borders, strings, and what L2
// gets where nobody intercepts (SDM volume 3, "I/O-Bitmap Addresses", "Basic VM-Exit Information").
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/placement.hpp"

namespace nestbed::vmx {

using conform::expect_equal;
using conform::not_applicable;
using conform::physical;
using conform::Text;

namespace {

constexpr std::uint16_t exit_port = nestbed::wire::exit_port;
constexpr std::uint64_t in = 8, string = 0x10, repeated = 0x20, immediate = 0x40;

void set_port(L2& guest, std::uint32_t port, bool on = true) {
    auto& byte = guest.io_bitmaps()[port / 8];
    byte = static_cast<std::uint8_t>(on ? byte | 1U << port % 8 : byte & ~(1U << port % 8));
}
void set_all_ports(L2& guest) {
    for (unsigned i = 0; i < 2 * 4096; ++i)
        guest.io_bitmaps()[i] = 0xff;
}

// Only the first port's bit is set.
void leaves(const Snippet& code, std::uint16_t port, std::uint64_t flags, unsigned bytes) {
    L2 guest;
    place(guest, code);
    guest.registers.rdx = port;
    set_port(guest, port);
    expect_exit(guest, code, ExitReason::io_instruction, std::uint64_t{port} << 16 | flags | (bytes - 1));
}

// Every bit is set but those of the ports.
void executes(const Snippet& code, std::uint16_t port, std::uint64_t flags, unsigned bytes) {
    L2 guest;
    place(guest, code);
    guest.registers.rdx = port;
    set_all_ports(guest);
    for (unsigned i = 0; i < bytes; ++i)
        set_port(guest, port + i, false);
    const auto before = guest.registers;
    if (!expect_executes(guest, code))
        return;
    constexpr std::uint64_t ones = ~std::uint64_t{0};
    // A port that nobody has reads all ones; IN of 32 bits clears the upper half as any such write does.
    const auto rax = (flags & in) == 0 ? before.rax
                     : bytes == 4      ? 0xffff'ffff
                                       : before.rax | ~(ones << 8 * bytes);
    expect_equal(guest.registers.rax, rax, "RAX");
    expect_equal(guest.registers.rdx, before.rdx, "RDX");
}

} // namespace

// NOLINTBEGIN
#define IO_FORM(name, text, port, flags, bytes)                                                              \
    L2_SNIPPET(io_##name##_code, text);                                                                      \
    VMX_TEST(io_##name##_leaves, "vmx.io." #name "_exits", text " leaves L2 by the bit of its first port",   \
             "Basic VM-Exit Information") {                                                                  \
        leaves(io_##name##_code, port, flags, bytes);                                                        \
    }                                                                                                        \
    VMX_TEST(io_##name##_executes, "vmx.io." #name "_executes",                                              \
             text " runs where only its own bits are clear", "I/O-Bitmap Addresses") {                       \
        executes(io_##name##_code, port, flags, bytes);                                                      \
    }
// NOLINTEND
IO_FORM(in_8, "inb %dx, %al", exit_port, in, 1)
IO_FORM(in_16, "inw %dx, %ax", exit_port, in, 2)
IO_FORM(in_32, "inl %dx, %eax", exit_port, in, 4)
IO_FORM(in_64, "rex.W inl %dx, %eax", exit_port, in, 4)
IO_FORM(out_8, "outb %al, %dx", exit_port, 0, 1)
IO_FORM(out_16, "outw %ax, %dx", exit_port, 0, 2)
IO_FORM(out_32, "outl %eax, %dx", exit_port, 0, 4)
IO_FORM(in_immediate_8, "inb $0xe4, %al", 0xe4, in | immediate, 1)
IO_FORM(in_immediate_16, "inw $0xe4, %ax", 0xe4, in | immediate, 2)
IO_FORM(in_immediate_32, "inl $0xe4, %eax", 0xe4, in | immediate, 4)
IO_FORM(out_immediate_8, "outb %al, $0xe4", 0xe4, immediate, 1)
IO_FORM(out_immediate_16, "outw %ax, $0xe4", 0xe4, immediate, 2)
IO_FORM(out_immediate_32, "outl %eax, $0xe4", 0xe4, immediate, 4)

// Strings: before the first element, with the linear address; of REP the whole count is still to be done.
namespace {
struct String {
    const Snippet& code;
    std::uint64_t qualification; // without the port
    unsigned bytes;
    bool fs;               // OUTS: with an FS prefix
    unsigned address_size; // 2: 64 bits
};
constexpr std::uint64_t fs_base = 0x100;

std::uint8_t* set_up(L2& guest, const String& test, std::uint64_t count, bool down = false) {
    place(guest, test.code);
    auto* const buffer = static_cast<std::uint8_t*>(conform::allocate_pages(2));
    write(Field::guest_fs_base, fs_base);
    guest.registers.rsi = guest.registers.rdi = physical(buffer) + (down ? 256 : 0);
    if (test.fs)
        guest.registers.rsi -= fs_base;
    guest.registers.rcx = count;
    guest.registers.rdx = exit_port;
    if (down)
        set(Field::guest_rflags, 1U << 10);
    return buffer;
}

template<const String& test>
void string_leaves() {
    for (const bool down : {false, true}) {
        L2 guest;
        const auto* const buffer = set_up(guest, test, 3, down);
        set_port(guest, exit_port);
        expect_exit(guest, test.code, ExitReason::io_instruction,
                    std::uint64_t{exit_port} << 16 | test.qualification | string | (test.bytes - 1));
        expect_equal(read(Field::guest_linear_address), physical(buffer) + (down ? 256 : 0),
                     "guest-linear address");
        expect_equal(buffer[0] + buffer[256], 0, "memory that INS would have written");
        if ((guest::rdmsr(0x480) >> 54 & 1) == 0)
            continue;
        const auto information = read(Field::exit_instruction_information);
        expect_equal(information >> 7 & 7, test.address_size, "instruction information: address size");
        if ((test.qualification & in) == 0)
            expect_equal(information >> 15 & 7, test.fs ? 4U : 3U, "instruction information: segment");
    }
}

template<const String& test>
void string_executes() {
    constexpr unsigned count = 5;
    for (const bool down : {false, true}) {
        L2 guest;
        const auto* const buffer = set_up(guest, test, count, down);
        set_all_ports(guest);
        for (unsigned i = 0; i < test.bytes; ++i)
            set_port(guest, exit_port + i, false);
        auto expected = guest.registers;
        if (!expect_executes(guest, test.code))
            return;
        const bool rep = (test.qualification & repeated) != 0;
        const bool input = (test.qualification & in) != 0;
        const std::uint64_t moved = (rep ? count : 1) * test.bytes;
        auto& pointer = input ? expected.rdi : expected.rsi;
        pointer = down ? pointer - moved : pointer + moved;
        if (rep)
            expected.rcx = 0;
        expect_equal(guest.registers.rsi, expected.rsi, "RSI");
        expect_equal(guest.registers.rdi, expected.rdi, "RDI");
        expect_equal(guest.registers.rcx, expected.rcx, "RCX");
        expect_equal(guest.registers.rax, expected.rax, "RAX, which strings do not touch");
        if (!input)
            continue;
        // Downwards the first element is the highest.
        const std::uint64_t first = down ? 256 + test.bytes - moved : 0;
        for (std::uint64_t i = 0; i < 320; ++i)
            expect_equal(buffer[i], i >= first && i < first + moved ? 0xffU : 0U,
                         Text{"byte ", i, " of what INS wrote"});
    }
}
} // namespace
// NOLINTBEGIN
#define IO_STRING(name, text, qualification, bytes, fs, address_size)                                        \
    L2_SNIPPET(io_##name##_code, text);                                                                      \
    static constexpr String io_##name##_string{io_##name##_code, qualification, bytes, fs, address_size};    \
    VMX_CASE(io_##name##_leaves, "vmx.io." #name "_exits",                                                   \
             text " leaves L2 before its first element, with its address", "Basic VM-Exit Information",      \
             &string_leaves<io_##name##_string>);                                                            \
    VMX_CASE(io_##name##_executes, "vmx.io." #name "_executes",                                              \
             text " does its work, up and down, where only its own bits are clear", "I/O-Bitmap Addresses",  \
             &string_executes<io_##name##_string>)
// NOLINTEND
IO_STRING(insb, "insb", in, 1, false, 2);
IO_STRING(insw, "insw", in, 2, false, 2);
IO_STRING(insl, "insl", in, 4, false, 2);
IO_STRING(outsb, "outsb", 0, 1, false, 2);
IO_STRING(outsw, "outsw", 0, 2, false, 2);
IO_STRING(outsl, "outsl", 0, 4, false, 2);
IO_STRING(rep_insb, "rep insb", in | repeated, 1, false, 2);
IO_STRING(rep_insw, "rep insw", in | repeated, 2, false, 2);
IO_STRING(rep_insl, "rep insl", in | repeated, 4, false, 2);
IO_STRING(rep_outsb, "rep outsb", repeated, 1, false, 2);
IO_STRING(rep_outsl, "rep outsl", repeated, 4, false, 2);
IO_STRING(outs_fs, "outsb %fs:(%rsi), %dx", 0, 1, true, 2);
IO_STRING(rep_insb_32, "addr32 rep insb", in | repeated, 1, false, 1);
IO_STRING(rep_outsw_32, "addr32 rep outsw", repeated, 2, false, 1);

VMX_TEST(io_rep_zero, "vmx.io.rep_count_zero", "REP INS of nothing at an open port runs and moves nothing",
         "I/O-Bitmap Addresses") {
    L2 guest;
    const auto* const buffer = set_up(guest, io_rep_insb_string, 0);
    const auto rdi = guest.registers.rdi;
    expect_executes(guest, io_rep_insb_code);
    expect_equal(guest.registers.rdi, rdi, "RDI");
    expect_equal(buffer[0], 0U, "memory");
}
VMX_TEST(io_ins_fault, "vmx.io.ins_page_fault",
         "INS to memory that is not there leaves by the intercept first; without it, it is a #PF of L2's",
         "Relative Priority of Faults and VM Exits") {
    L2 guest;
    set_up(guest, io_rep_insb_string, 2);
    guest.registers.rdi = std::uint64_t{1} << 46;
    guest.intercept_exception(14);
    set_port(guest, exit_port);
    expect_exit(guest, io_rep_insb_code, ExitReason::io_instruction,
                std::uint64_t{exit_port} << 16 | in | string | repeated);
    set_port(guest, exit_port, false);
    if (expect_exception(guest, io_rep_insb_code, 14, 2))
        expect_equal(read(Field::exit_qualification), guest.registers.rdi, "exit qualification");
}

// Privilege: IOPL and the TSS come before the exit.
VMX_TEST(io_ring_3, "vmx.io.ring_3_gp", "OUT in ring 3 without the right is #GP before the exit",
         "Relative Priority of Faults and VM Exits") {
    L2 guest;
    place(guest, io_out_8_code);
    move_to_ring_3(guest);
    guest.registers.rdx = exit_port;
    set_port(guest, exit_port);
    guest.intercept_exception(13);
    expect_exception(guest, io_out_8_code, 13, 0);
}
VMX_TEST(io_ring_3_iopl, "vmx.io.ring_3_iopl", "OUT in ring 3 with IOPL 3 leaves L2",
         "Relative Priority of Faults and VM Exits") {
    L2 guest;
    place(guest, io_out_8_code);
    move_to_ring_3(guest);
    set(Field::guest_rflags, 3U << 12);
    guest.registers.rdx = exit_port;
    set_port(guest, exit_port);
    expect_exit(guest, io_out_8_code, ExitReason::io_instruction, std::uint64_t{exit_port} << 16);
}

// Which control decides.
namespace {
void by_controls(bool bitmaps, bool unconditional, bool bit, bool leaves) {
    L2 guest;
    place(guest, io_out_8_code);
    guest.registers.rdx = exit_port;
    set_port(guest, exit_port, bit);
    (bitmaps ? vmx::set : vmx::clear)(Field::primary_controls, primary::use_io_bitmaps);
    (unconditional ? vmx::set : vmx::clear)(Field::primary_controls, primary::unconditional_io_exiting);
    if (leaves)
        expect_exit(guest, io_out_8_code, ExitReason::io_instruction, std::uint64_t{exit_port} << 16);
    else
        expect_executes(guest, io_out_8_code);
}
} // namespace
// NOLINTBEGIN
#define IO_CONTROLS(name, title, ...)                                                                        \
    VMX_TEST(io_controls_##name, "vmx.io.controls_" #name, title,                                            \
             "Instructions That Cause VM Exits Conditionally") {                                             \
        by_controls(__VA_ARGS__);                                                                            \
    }
// NOLINTEND
IO_CONTROLS(none, "Without both controls OUT runs, whatever the bitmaps hold", false, false, true, false)
IO_CONTROLS(unconditional, "With unconditional I/O exiting alone OUT leaves, whatever the bitmaps hold",
            false, true, false, true)
IO_CONTROLS(both_clear, "With both controls the bitmaps decide: a clear bit runs", true, true, false, false)
IO_CONTROLS(both_set, "With both controls the bitmaps decide: a set bit leaves", true, true, true, true)

// Borders of the bitmaps.
namespace {
void at_border(const Snippet& code, std::uint16_t port, unsigned bytes, std::uint32_t bit, bool leaves) {
    L2 guest;
    place(guest, code);
    guest.registers.rdx = port;
    if (bit < 0x10000)
        set_port(guest, bit);
    if (leaves)
        expect_exit(guest, code, ExitReason::io_instruction, std::uint64_t{port} << 16 | (bytes - 1));
    else
        expect_executes(guest, code);
}
constexpr std::uint32_t no_bit = 0x10000;
} // namespace
// NOLINTBEGIN
#define IO_BORDER(name, title, ...)                                                                          \
    VMX_TEST(io_border_##name, "vmx.io.border_" #name, title, "I/O-Bitmap Addresses") {                      \
        at_border(__VA_ARGS__);                                                                              \
    }
// NOLINTEND
IO_BORDER(first_of_a, "OUT of port 0 leaves by the first bit of bitmap A", io_out_8_code, 0, 1, 0, true)
IO_BORDER(last_of_a, "OUT of port 0x7fff leaves by the last bit of bitmap A", io_out_8_code, 0x7fff, 1,
          0x7fff, true)
IO_BORDER(last_of_a_not_b, "OUT of port 0x7fff does not leave by the first bit of bitmap B", io_out_8_code,
          0x7fff, 1, 0x8000, false)
IO_BORDER(first_of_b, "OUT of port 0x8000 leaves by the first bit of bitmap B", io_out_8_code, 0x8000, 1,
          0x8000, true)
IO_BORDER(first_of_b_not_a, "OUT of port 0x8000 does not leave by the first bit of bitmap A", io_out_8_code,
          0x8000, 1, 0, false)
IO_BORDER(a_to_b_a, "OUT of 2 bytes from 0x7fff leaves by the bit in bitmap A", io_out_16_code, 0x7fff, 2,
          0x7fff, true)
IO_BORDER(a_to_b_b, "OUT of 2 bytes from 0x7fff leaves by the bit in bitmap B", io_out_16_code, 0x7fff, 2,
          0x8000, true)
IO_BORDER(a_to_b_none, "OUT of 4 bytes from 0x7ffd runs with no bit set", io_out_32_code, 0x7ffd, 4, no_bit,
          false)
IO_BORDER(a_to_b_after, "OUT of 4 bytes from 0x7ffd does not leave by the bit of port 0x8001", io_out_32_code,
          0x7ffd, 4, 0x8001, false)
IO_BORDER(last, "OUT of port 0xffff leaves by the last bit of bitmap B", io_out_8_code, 0xffff, 1, 0xffff,
          true)
IO_BORDER(last_clear, "OUT of port 0xffff runs with no bit set: nothing wraps", io_out_8_code, 0xffff, 1,
          no_bit, false)
IO_BORDER(end, "OUT of 4 bytes up to port 0xffff runs with no bit set", io_out_32_code, 0xfffc, 4, no_bit,
          false)
IO_BORDER(wrap_16, "OUT of 2 bytes from port 0xffff wraps and leaves", io_out_16_code, 0xffff, 2, no_bit,
          true)
IO_BORDER(wrap_32, "OUT of 4 bytes from port 0xfffd wraps and leaves", io_out_32_code, 0xfffd, 4, no_bit,
          true)
IO_BORDER(second, "OUT of 2 bytes leaves by the bit of its second port", io_out_16_code, exit_port, 2,
          exit_port + 1, true)
IO_BORDER(third, "OUT of 4 bytes leaves by the bit of its third port", io_out_32_code, exit_port, 4,
          exit_port + 2, true)
IO_BORDER(behind_8, "OUT of 1 byte runs where the bit of the next port is set", io_out_8_code, exit_port, 1,
          exit_port + 1, false)
IO_BORDER(behind_16, "OUT of 2 bytes runs where the bit behind it is set", io_out_16_code, exit_port, 2,
          exit_port + 2, false)
IO_BORDER(behind_32, "OUT of 4 bytes runs where the bit behind it is set", io_out_32_code, exit_port, 4,
          exit_port + 4, false)
VMX_TEST(io_changed, "vmx.io.bitmap_changed", "A bit that L1 changes between two entries counts at once",
         "I/O-Bitmap Addresses") {
    L2 guest;
    for (unsigned round = 0; round < 6; ++round) {
        place(guest, io_out_8_code);
        guest.registers.rdx = exit_port;
        set_port(guest, exit_port, round % 2 != 0);
        guest.run_to(round % 2 != 0 ? ExitReason::io_instruction : ExitReason::vmcall, Text{"round ", round});
    }
}
VMX_TEST(io_moved, "vmx.io.bitmap_moved", "Another bitmap B takes effect at the next entry",
         "I/O-Bitmap Addresses") {
    L2 guest;
    auto* const other = static_cast<std::uint8_t*>(conform::allocate_pages(1));
    other[0x1000 / 8] = 1;
    for (unsigned round = 0; round < 4; ++round) {
        place(guest, io_out_8_code);
        guest.registers.rdx = 0x9000;
        write(Field::io_bitmap_b, round % 2 != 0 ? physical(other) : physical(guest.io_bitmaps()) + 4096);
        guest.run_to(round % 2 != 0 ? ExitReason::io_instruction : ExitReason::vmcall, Text{"round ", round});
    }
}
VMX_TEST(io_all_ports, "vmx.io.each_port", "Each of some 300 ports leaves by its own bit and by no other",
         "I/O-Bitmap Addresses") {
    L2 guest;
    for (std::uint32_t port = 0x8000 - 152; port < 0x8000 + 152; ++port)
        for (const bool own : {true, false}) {
            place(guest, io_out_8_code);
            guest.registers.rdx = port;
            for (unsigned i = 0; i < 64; ++i)
                guest.io_bitmaps()[4096 - 32 + i] = own ? 0 : 0xff;
            set_port(guest, port, own);
            if (!guest.run_to(own ? ExitReason::io_instruction : ExitReason::vmcall,
                              Text{"port ", conform::Hex{port}, own ? ", its bit set" : ", its bit clear"}))
                return;
        }
}

} // namespace nestbed::vmx
