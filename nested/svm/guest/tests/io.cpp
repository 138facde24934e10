// The I/O permission map: which ports of an access are looked at, and what L1 is told.
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/snippet.hpp"
#include "nested/svm/ioio.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::physical;

namespace {

constexpr std::uint16_t exit_port = nestbed::wire::exit_port;

L2_SNIPPET(in8, 64, "inb %dx, %al");
L2_SNIPPET(in16, 64, "inw %dx, %ax");
L2_SNIPPET(in32, 64, "inl %dx, %eax");
L2_SNIPPET(out8, 64, "outb %al, %dx");
L2_SNIPPET(out16, 64, "outw %ax, %dx");
L2_SNIPPET(out32, 64, "outl %eax, %dx");
L2_SNIPPET(in8_imm, 64, "inb $0xe9, %al");
L2_SNIPPET(in32_imm, 64, "inl $0xe9, %eax");
L2_SNIPPET(out16_imm, 64, "outw %ax, $0xe9");
L2_SNIPPET(in8_32, 32, "inb %dx, %al");
L2_SNIPPET(in16_32, 32, "inw %dx, %ax");
L2_SNIPPET(out32_32, 32, "outl %eax, %dx");
L2_SNIPPET(in8_16, 16, "inb %dx, %al");
L2_SNIPPET(in32_16, 16, "inl %dx, %eax");
L2_SNIPPET(out16_16, 16, "outw %ax, %dx");

struct Access {
    Snippet code;
    unsigned bytes;
    bool in;
};
constexpr Access accesses_in[] = {{in8, 1, true}, {in16, 2, true}, {in32, 4, true}};
constexpr Access accesses_out[] = {{out8, 1, false}, {out16, 2, false}, {out32, 4, false}};
constexpr const Access& access_of(unsigned bytes, bool in) {
    return (in ? accesses_in : accesses_out)[bytes / 2];
}

void set_port(L2& guest, unsigned port, bool on = true) {
    auto& byte = guest.iopm()[port / 8];
    byte = static_cast<std::uint8_t>(on ? byte | 1U << port % 8 : byte & ~(1U << port % 8));
}
void set_all_ports(L2& guest) {
    for (std::uint64_t i = 0; i < iopm_bytes; ++i)
        guest.iopm()[i] = 0xff;
}

// Of EXITINFO1, for IN and OUT: port, size and direction. Address size and segment are for strings (15.10.2).
constexpr std::uint64_t simple_info = ioio::port | ioio::size | ioio::repeated | ioio::string | ioio::in;
constexpr std::uint64_t info_of(std::uint16_t port, unsigned bytes, bool in) {
    return std::uint64_t{port} << 16 | std::uint64_t{bytes} << 4 | (in ? ioio::in : 0);
}

void expect_io_exit(L2& guest, const Snippet& code, Mode mode, const Before& before, std::uint64_t info,
                    std::uint64_t mask = simple_info) {
    if (!guest.run_to(ExitCode::ioio, "an intercepted port"))
        return;
    expect_equal(guest.control().exit_info_1 & mask, info, "EXITINFO1");
    expect_equal(guest.control().exit_info_1 & 2, 0U, "EXITINFO1 bit 1, reserved");
    expect_equal(guest.control().exit_info_2, rip_of(code, code.after, mode), "EXITINFO2: RIP after");
    expect_untouched(guest, before, "an intercepted IN or OUT");
}

// 15.10.1: one bit a port; an access leaves where any of its ports has its bit set.
template<std::uint16_t port, unsigned bytes, bool in, unsigned bit>
void bit_exits() {
    L2 guest;
    const auto& access = access_of(bytes, in);
    place(guest, access.code, Mode::long64);
    guest.registers.rdx = port;
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    set_port(guest, bit);
    expect_io_exit(guest, access.code, Mode::long64, before, info_of(port, bytes, in));
}
// Every bit but those of the accessed ports is set.
template<std::uint16_t port, unsigned bytes, bool in>
void neighbours_stay() {
    L2 guest;
    const auto& access = access_of(bytes, in);
    place(guest, access.code, Mode::long64);
    guest.registers.rdx = port;
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    set_all_ports(guest);
    for (unsigned i = 0; i < bytes; ++i)
        set_port(guest, port + i, false);
    if (!run_past(guest, access.code, Mode::long64, "a port with its bits clear"))
        return;
    const auto mask = bytes == 1 ? 0xffU : bytes == 2 ? 0xffffU : 0xffff'ffffU;
    // Nobody lives at these ports. A 32-bit result clears the upper half.
    const auto kept = bytes == 4 ? 0 : before.save.rax & ~std::uint64_t{mask};
    expect_equal(guest.save().rax, in ? kept | mask : before.save.rax, "RAX after the access");
    expect_general_registers(guest, before.registers, "IN or OUT");
}

template<const Snippet& code, Mode mode, std::uint16_t port, unsigned bytes, bool in>
void exits() {
    L2 guest;
    place(guest, code, mode);
    guest.registers.rdx = port;
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    for (unsigned i = 0; i < bytes; ++i)
        set_port(guest, port + i);
    expect_io_exit(guest, code, mode, before, info_of(port, bytes, in));
}
template<const Snippet& code, Mode mode>
void stays() {
    L2 guest;
    place(guest, code, mode);
    guest.registers.rdx = exit_port;
    guest.intercept(Intercept::ioio_prot);
    run_past(guest, code, mode, "a port with its bits clear");
}

} // namespace

// NOLINTBEGIN
#define BIT_EXITS(port, bytes, direction, bit)                                                               \
    SVM_CASE(io_##direction##bytes##_##port##_bit_##bit,                                                     \
             "svm.io." #direction "_" #port "_" #bytes "_bytes_bit_" #bit,                                   \
             "an access of " #bytes " bytes at port " #port " leaves where the bit of port " #bit " is set", \
             "15.10.1", (&bit_exits<port, bytes, sizeof(#direction) == 3, bit>))
#define NEIGHBOURS(port, bytes, direction)                                                                   \
    SVM_CASE(io_##direction##bytes##_##port##_stays,                                                         \
             "svm.io." #direction "_" #port "_" #bytes "_bytes_stays",                                       \
             "an access of " #bytes " bytes at port " #port " stays where every other port's bit is set",    \
             "15.10.1", (&neighbours_stay<port, bytes, sizeof(#direction) == 3>))
#define IO_EXITS(id, snippet, mode, port, bytes, is_in, title)                                               \
    SVM_CASE(io_##id, "svm.io." #id, title, "15.10.2", (&exits<snippet, Mode::mode, port, bytes, is_in>))
// NOLINTEND

NEIGHBOURS(0, 1, in);
NEIGHBOURS(0, 2, in);
NEIGHBOURS(0, 4, in);
NEIGHBOURS(0, 1, out);
NEIGHBOURS(0, 4, out);
NEIGHBOURS(7, 1, in);
NEIGHBOURS(7, 2, in);
NEIGHBOURS(7, 4, out);
NEIGHBOURS(0x5e4, 1, in);
NEIGHBOURS(0x5e4, 2, in);
NEIGHBOURS(0x5e4, 4, in);
NEIGHBOURS(0x5e4, 1, out);
NEIGHBOURS(0x5e4, 2, out);
NEIGHBOURS(0x5e4, 4, out);
NEIGHBOURS(0x7fff, 2, in);
NEIGHBOURS(0x7fff, 4, in);
NEIGHBOURS(0x7ffd, 4, out);
NEIGHBOURS(0xffff, 1, in);
NEIGHBOURS(0xffff, 1, out);
NEIGHBOURS(0xfffc, 4, in);
NEIGHBOURS(0xfffe, 2, out);

BIT_EXITS(0, 1, in, 0);
BIT_EXITS(0, 2, in, 1);
BIT_EXITS(0, 4, in, 0);
BIT_EXITS(0, 4, in, 1);
BIT_EXITS(0, 4, in, 2);
BIT_EXITS(0, 4, in, 3);
BIT_EXITS(0, 1, out, 0);
BIT_EXITS(0, 4, out, 3);
// Across a byte of the map.
BIT_EXITS(7, 1, in, 7);
BIT_EXITS(7, 2, in, 7);
BIT_EXITS(7, 2, in, 8);
BIT_EXITS(6, 4, in, 6);
BIT_EXITS(6, 4, in, 7);
BIT_EXITS(6, 4, in, 8);
BIT_EXITS(6, 4, in, 9);
BIT_EXITS(5, 4, out, 8);
BIT_EXITS(7, 4, out, 10);
BIT_EXITS(5, 2, out, 6);
// Across a page of the map: a page has the bits of 8000h ports.
BIT_EXITS(0x7fff, 1, in, 0x7fff);
BIT_EXITS(0x7fff, 2, in, 0x8000);
BIT_EXITS(0x7fff, 4, in, 0x8002);
BIT_EXITS(0x7ffd, 4, out, 0x8000);
BIT_EXITS(0x8000, 1, out, 0x8000);
// At the end the map goes on into its third page.
BIT_EXITS(0xffff, 1, in, 0xffff);
BIT_EXITS(0xffff, 1, out, 0xffff);
BIT_EXITS(0xfffe, 2, in, 0xffff);
BIT_EXITS(0xfffc, 4, in, 0xfffc);
BIT_EXITS(0xfffc, 4, out, 0xffff);
BIT_EXITS(0xffff, 2, in, 0xffff);
BIT_EXITS(0xffff, 2, in, 0x10000);
BIT_EXITS(0xffff, 4, in, 0x10000);
BIT_EXITS(0xffff, 4, in, 0x10002);
BIT_EXITS(0xfffd, 4, out, 0x10000);
BIT_EXITS(0xffff, 4, out, 0x10001);

IO_EXITS(in_immediate_1, in8_imm, long64, 0xe9, 1, true, "IN with an immediate port");
IO_EXITS(in_immediate_4, in32_imm, long64, 0xe9, 4, true, "IN of 4 bytes with an immediate port");
IO_EXITS(out_immediate_2, out16_imm, long64, 0xe9, 2, false, "OUT of 2 bytes with an immediate port");
IO_EXITS(in_protected_1, in8_32, protected32, 0x123, 1, true, "IN from protected mode");
IO_EXITS(in_protected_2, in16_32, protected32, 0x123, 2, true, "IN of 2 bytes from protected mode");
IO_EXITS(out_protected_4, out32_32, protected32, 0x123, 4, false, "OUT of 4 bytes from protected mode");
IO_EXITS(in_compatibility_2, in16_32, compatibility, 0x123, 2, true, "IN of 2 bytes from compatibility mode");
IO_EXITS(out_pae_4, out32_32, pae32, 0x123, 4, false, "OUT of 4 bytes with PAE paging");
IO_EXITS(in_real_1, in8_16, real16, 0x123, 1, true, "IN from real mode");
IO_EXITS(in_real_4, in32_16, real16, 0x123, 4, true, "IN of 4 bytes from real mode");
IO_EXITS(out_real_2, out16_16, real16, 0xfffe, 2, false, "OUT of 2 bytes from real mode");
SVM_CASE(io_in_real_stays, "svm.io.in_real_stays", "IN from real mode that is not intercepted", "15.10.1",
         (&stays<in8_16, Mode::real16>));
SVM_CASE(io_out_protected_stays, "svm.io.out_protected_stays",
         "OUT from protected mode that is not intercepted", "15.10.1", (&stays<out32_32, Mode::protected32>));
SVM_CASE(io_in_compatibility_stays, "svm.io.in_compatibility_stays",
         "IN from compatibility mode that is not intercepted", "15.10.1",
         (&stays<in16_32, Mode::compatibility>));

SVM_TEST(io_upper_rdx, "svm.io.upper_rdx_ignored", "the port is DX: the bits above are ignored", "15.10.2") {
    L2 guest;
    place(guest, in8, Mode::long64);
    guest.registers.rdx = 0xabcd'ef12'3456'0123;
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    set_port(guest, 0x123);
    expect_io_exit(guest, in8, Mode::long64, before, info_of(0x123, 1, true));
}
SVM_TEST(io_prot_clear, "svm.io.prot_clear", "without IOIO_PROT the map is not looked at", "15.10.1") {
    L2 guest;
    place(guest, in32, Mode::long64);
    guest.registers.rdx = exit_port;
    set_all_ports(guest);
    run_past(guest, in32, Mode::long64, "IN without IOIO_PROT");
    expect_equal(guest.save().rax, 0xffff'ffffU, "RAX after the access");
}
SVM_TEST(io_map_changed, "svm.io.map_changed", "a bit that L1 changes between two VMRUNs counts at once",
         "15.10.1") {
    L2 guest;
    for (unsigned round = 0; round < 6; ++round) {
        place(guest, in8, Mode::long64);
        guest.registers.rdx = exit_port;
        guest.intercept(Intercept::ioio_prot);
        const bool set = round % 2 != 0;
        set_port(guest, exit_port, set);
        guest.run_to(set ? ExitCode::ioio : ExitCode::vmmcall, conform::Text{"round ", round});
    }
}
SVM_TEST(io_prot_changed, "svm.io.prot_changed",
         "IOIO_PROT that L1 changes between two VMRUNs counts at once", "15.10.1") {
    L2 guest;
    set_all_ports(guest);
    for (unsigned round = 0; round < 4; ++round) {
        place(guest, out8, Mode::long64);
        guest.registers.rdx = exit_port;
        const bool set = round % 2 != 0;
        guest.intercept(Intercept::ioio_prot, set);
        guest.run_to(set ? ExitCode::ioio : ExitCode::vmmcall, conform::Text{"round ", round});
    }
}
SVM_TEST(io_map_moved, "svm.io.map_moved", "another map takes effect at the next VMRUN", "15.10.1") {
    L2 guest;
    auto* const other = static_cast<std::uint8_t*>(conform::allocate_pages(iopm_bytes / 4096));
    other[exit_port / 8] = 1U << exit_port % 8;
    guest.intercept(Intercept::ioio_prot);
    for (unsigned round = 0; round < 4; ++round) {
        place(guest, in8, Mode::long64);
        guest.registers.rdx = exit_port;
        const bool set = round % 2 != 0;
        guest.control().iopm_base_pa = set ? physical(other) : physical(guest.iopm());
        guest.run_to(set ? ExitCode::ioio : ExitCode::vmmcall, conform::Text{"round ", round});
    }
}
SVM_TEST(io_low_bits, "svm.io.base_low_bits_ignored", "the low 12 bits of IOPM_BASE_PA are ignored",
         "15.10.1") {
    L2 guest;
    place(guest, in8, Mode::long64);
    guest.registers.rdx = exit_port;
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    set_port(guest, exit_port);
    guest.control().iopm_base_pa |= 0xfff;
    expect_io_exit(guest, in8, Mode::long64, before, info_of(exit_port, 1, true));
}
SVM_TEST(io_two_guests, "svm.io.two_guests", "two L2 guests with maps of their own do not share them",
         "15.10.1") {
    L2 open;
    L2 closed;
    open.intercept(Intercept::ioio_prot);
    closed.intercept(Intercept::ioio_prot);
    closed.control().asid = 2;
    set_all_ports(closed);
    for (unsigned round = 0; round < 4; ++round) {
        auto& guest = round % 2 == 0 ? open : closed;
        place(guest, in8, Mode::long64);
        guest.registers.rdx = exit_port;
        guest.run_to(round % 2 == 0 ? ExitCode::vmmcall : ExitCode::ioio, conform::Text{"round ", round});
    }
}

// IOPL and the bitmap in the task's segment come before the map (15.10.2).
namespace {
constexpr std::uint64_t iopl3 = 3U << 12;
// A task whose bitmap L2 has for itself; `open` lets ring 3 use exit_port.
void use_task_bitmap(L2& guest, bool open) {
    auto* const task = static_cast<std::uint8_t*>(conform::allocate_pages(4));
    *reinterpret_cast<std::uint64_t*>(task + 4) = guest.save().rsp - 2048; // RSP0
    *reinterpret_cast<std::uint16_t*>(task + 0x66) = 0x68;
    for (unsigned i = 0; i < 0x2001; ++i)
        task[0x68 + i] = 0xff;
    if (open)
        task[0x68 + exit_port / 8] = 0;
    guest.save().tr.base = physical(task);
    guest.save().tr.limit = 0x68 + 0x2000;
}
} // namespace
SVM_TEST(io_ring3_gp, "svm.io.ring3_gp", "IN in ring 3 without the right raises #GP before the intercept",
         "15.10.2") {
    L2 guest;
    place(guest, in8, Mode::long64_ring3);
    guest.registers.rdx = exit_port;
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    set_all_ports(guest);
    if (run_to_exception(guest, in8, Mode::long64_ring3, 13, 0, "IN in ring 3"))
        expect_untouched(guest, before, "IN in ring 3");
}
SVM_TEST(io_ring3_bitmap_gp, "svm.io.ring3_bitmap_gp",
         "a port that the task's own bitmap forbids raises #GP before the intercept", "15.10.2") {
    L2 guest;
    place(guest, in8, Mode::long64_ring3);
    guest.registers.rdx = exit_port;
    use_task_bitmap(guest, false);
    guest.intercept(Intercept::ioio_prot);
    set_all_ports(guest);
    run_to_exception(guest, in8, Mode::long64_ring3, 13, 0, "IN in ring 3");
}
SVM_TEST(io_ring3_bitmap_exits, "svm.io.ring3_bitmap_exits",
         "a port that the task's own bitmap allows leaves by L1's intercept", "15.10.2") {
    L2 guest;
    place(guest, in8, Mode::long64_ring3);
    guest.registers.rdx = exit_port;
    use_task_bitmap(guest, true);
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    set_port(guest, exit_port);
    expect_io_exit(guest, in8, Mode::long64_ring3, before, info_of(exit_port, 1, true));
}
SVM_TEST(io_ring3_bitmap_stays, "svm.io.ring3_bitmap_stays",
         "a port that both the task's bitmap and L1's map allow is reached from ring 3", "15.10.2") {
    L2 guest;
    place(guest, in8, Mode::long64_ring3);
    guest.registers.rdx = exit_port;
    use_task_bitmap(guest, true);
    guest.intercept(Intercept::ioio_prot);
    run_past(guest, in8, Mode::long64_ring3, "IN in ring 3");
    expect_equal(guest.save().rax & 0xff, 0xffU, "AL after the access");
}
SVM_TEST(io_ring3_iopl_exits, "svm.io.ring3_iopl_exits", "with IOPL 3 OUT in ring 3 leaves by L1's intercept",
         "15.10.2") {
    L2 guest;
    place(guest, out32, Mode::long64_ring3);
    guest.registers.rdx = exit_port;
    guest.save().rflags |= iopl3;
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    set_port(guest, exit_port + 3);
    expect_io_exit(guest, out32, Mode::long64_ring3, before, info_of(exit_port, 4, false));
}
SVM_TEST(io_ring3_iopl_stays, "svm.io.ring3_iopl_stays", "with IOPL 3 IN in ring 3 reaches the port",
         "15.10.2") {
    L2 guest;
    place(guest, in32, Mode::long64_ring3);
    guest.registers.rdx = exit_port;
    guest.save().rflags |= iopl3;
    guest.intercept(Intercept::ioio_prot);
    run_past(guest, in32, Mode::long64_ring3, "IN in ring 3");
    expect_equal(guest.save().rax, 0xffff'ffffU, "RAX after the access");
}

} // namespace nestbed::svm
