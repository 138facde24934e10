// INS and OUTS, with and without REP: what L1 is told, and that they do their work where it lets them. The
// hypervisor below emulates these in software, where it must look at L1's map once more.
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

struct String {
    const char* name;
    Snippet code;
    Mode mode;
    unsigned bytes;
    bool in;
    std::uint64_t info; // without port, size and direction
};

// RSI and RDI at a buffer, RCX elements.
std::uint8_t* set_up(L2& guest, const String& test, std::uint64_t count) {
    place(guest, test.code, test.mode);
    auto* const buffer = point_at_buffer(guest, test.mode);
    guest.registers.rdi = guest.registers.rsi;
    guest.registers.rcx = count;
    guest.registers.rdx = exit_port;
    guest.intercept(Intercept::ioio_prot);
    return buffer;
}

template<const String& test>
void exits() {
    L2 guest;
    auto* const buffer = set_up(guest, test, 3);
    const auto before = state_of(guest);
    guest.iopm()[exit_port / 8] = 1U << exit_port % 8;
    if (!guest.run_to(ExitCode::ioio, test.name))
        return;
    expect_equal(guest.control().exit_info_1 & (ioio::port | ioio::size | ioio::in | ioio::string),
                 std::uint64_t{exit_port} << 16 | test.bytes << 4 | (test.in ? ioio::in : 0) | ioio::string,
                 "EXITINFO1: port, size, string, direction");
    expect_equal(guest.control().exit_info_1 & ioio::repeated, test.info & ioio::repeated, "EXITINFO1: REP");
    expect_equal(guest.control().exit_info_2, rip_of(test.code, test.code.after, test.mode),
                 "EXITINFO2: RIP after");
    expect_untouched(guest, before, test.name);
    expect_equal(buffer[0], 0U, "memory that INS would have written");
}

template<const String& test>
void address_size() {
    L2 guest;
    set_up(guest, test, 3);
    guest.iopm()[exit_port / 8] = 1U << exit_port % 8;
    if (guest.run_to(ExitCode::ioio, test.name))
        expect_equal(guest.control().exit_info_1 & ioio::address, test.info & ioio::address,
                     "EXITINFO1: address size");
}

// Only this element's ports are clear.
template<const String& test>
void executes() {
    L2 guest;
    constexpr unsigned count = 5;
    const bool repeated = (test.info & ioio::repeated) != 0;
    auto* const buffer = set_up(guest, test, count);
    for (std::uint64_t i = 0; i < iopm_bytes; ++i)
        guest.iopm()[i] = 0xff;
    for (unsigned i = 0; i < test.bytes; ++i)
        guest.iopm()[(exit_port + i) / 8] &= static_cast<std::uint8_t>(~(1U << (exit_port + i) % 8));
    auto expected = guest.registers;
    const auto rax = guest.save().rax;
    if (!run_past(guest, test.code, test.mode, test.name))
        return;
    const auto moved = (repeated ? count : 1) * test.bytes;
    (test.in ? expected.rdi : expected.rsi) += moved;
    if (repeated)
        expected.rcx = 0;
    expect_general_registers(guest, expected, test.name);
    expect_equal(guest.save().rax, rax, "RAX, which strings do not touch");
    if (test.in)
        for (unsigned i = 0; i < moved + 4; ++i)
            expect_equal(buffer[i], i < moved ? 0xffU : 0U, conform::Text{"byte ", i, " of what INS wrote"});
}

} // namespace

// NOLINTBEGIN
#define STRING(id, bits, mode, text, bytes, is_in, info)                                                     \
    L2_SNIPPET(id##_code, bits, text);                                                                       \
    static constexpr String id##_string{#id, id##_code, Mode::mode, bytes, is_in, info};                     \
    SVM_CASE(io_##id##_exits, "svm.io." #id "_exits",                                                        \
             #id " at an intercepted port leaves L2 before its first element", "15.10.2",                    \
             (&exits<id##_string>));                                                                         \
    SVM_CASE(io_##id##_executes, "svm.io." #id "_executes",                                                  \
             #id " at a port that is not intercepted does its work", "15.10.2", (&executes<id##_string>))
#define ADDRESS_SIZE(id)                                                                                     \
    SVM_CASE(io_##id##_address_size, "svm.io." #id "_address_size",                                          \
             "EXITINFO1 says the address size of " #id, "15.10.2", (&address_size<id##_string>))
// NOLINTEND
STRING(insb, 64, long64, "insb", 1, true, ioio::address64);
STRING(insw, 64, long64, "insw", 2, true, ioio::address64);
STRING(insl, 64, long64, "insl", 4, true, ioio::address64);
STRING(outsb, 64, long64, "outsb", 1, false, ioio::address64);
STRING(outsw, 64, long64, "outsw", 2, false, ioio::address64);
STRING(outsl, 64, long64, "outsl", 4, false, ioio::address64);
STRING(rep_insb, 64, long64, "rep insb", 1, true, ioio::address64 | ioio::repeated);
STRING(rep_insw, 64, long64, "rep insw", 2, true, ioio::address64 | ioio::repeated);
STRING(rep_insl, 64, long64, "rep insl", 4, true, ioio::address64 | ioio::repeated);
STRING(rep_outsb, 64, long64, "rep outsb", 1, false, ioio::address64 | ioio::repeated);
STRING(rep_outsl, 64, long64, "rep outsl", 4, false, ioio::address64 | ioio::repeated);
STRING(addr32_rep_insb, 64, long64, "addr32 rep insb", 1, true, ioio::address32 | ioio::repeated);
STRING(protected_rep_insw, 32, protected32, "rep insw", 2, true, ioio::address32 | ioio::repeated);
STRING(protected_outsb, 32, protected32, "outsb", 1, false, ioio::address32);
STRING(real_rep_insb, 16, real16, "rep insb", 1, true, ioio::address16 | ioio::repeated);
STRING(real_outsw, 16, real16, "outsw", 2, false, ioio::address16);

ADDRESS_SIZE(insb);
ADDRESS_SIZE(outsl);
ADDRESS_SIZE(rep_insb);
ADDRESS_SIZE(addr32_rep_insb);
ADDRESS_SIZE(protected_rep_insw);
ADDRESS_SIZE(protected_outsb);
ADDRESS_SIZE(real_rep_insb);
ADDRESS_SIZE(real_outsw);

// The segment of OUTS, whose default is DS (figure 15-2).
namespace {
template<const Snippet& code, unsigned segment>
void outs_segment() {
    L2 guest;
    place(guest, code, Mode::long64);
    point_at_buffer(guest, Mode::long64);
    guest.registers.rdx = exit_port;
    guest.intercept(Intercept::ioio_prot);
    guest.iopm()[exit_port / 8] = 1U << exit_port % 8;
    guest.run_to(ExitCode::ioio, "OUTS");
    // Saved by processors with decode assists only; the others leave zero.
    const auto seen = guest.control().exit_info_1 >> ioio::segment_shift & 7;
    expect(seen == segment || seen == 0, "EXITINFO1: the effective segment of OUTS");
}
L2_SNIPPET(outs_fs, 64, "outsb %fs:(%rsi), %dx");
L2_SNIPPET(outs_ds, 64, "outsb");
} // namespace
SVM_CASE(io_outs_fs, "svm.io.outs_segment_fs", "OUTS with an FS prefix says so", "15.10.2",
         (&outs_segment<outs_fs, 4>));
SVM_CASE(io_outs_ds, "svm.io.outs_segment_ds", "OUTS without prefix is of DS", "15.10.2",
         (&outs_segment<outs_ds, 3>));

L2_SNIPPET(rep_insb_zero, 64, "rep insb");
SVM_TEST(io_rep_zero, "svm.io.rep_count_zero_executes", "REP INS with RCX 0 at an open port moves nothing",
         "15.10.2") {
    L2 guest;
    place(guest, rep_insb_zero, Mode::long64);
    auto* const buffer = point_at_buffer(guest, Mode::long64);
    guest.registers.rdi = guest.registers.rsi;
    guest.registers.rcx = 0;
    guest.registers.rdx = exit_port;
    const auto expected = guest.registers;
    run_past(guest, rep_insb_zero, Mode::long64, "REP INS of nothing");
    expect_general_registers(guest, expected, "REP INS of nothing");
    expect_equal(buffer[0], 0U, "memory");
}
L2_SNIPPET(rep_outsb_down, 64, "std; rep outsb; cld");
SVM_TEST(io_rep_down, "svm.io.rep_outs_downwards", "REP OUTS with DF set goes downwards", "15.10.2") {
    L2 guest;
    place(guest, rep_outsb_down, Mode::long64);
    auto* const buffer = point_at_buffer(guest, Mode::long64);
    guest.registers.rsi = physical(buffer) + 100;
    guest.registers.rcx = 7;
    guest.registers.rdx = exit_port;
    run_past(guest, rep_outsb_down, Mode::long64, "REP OUTS");
    expect_equal(guest.registers.rsi, physical(buffer) + 93, "RSI");
    expect_equal(guest.registers.rcx, 0U, "RCX");
}
SVM_TEST(io_rep_page, "svm.io.rep_ins_across_pages", "REP INS of 5000 bytes across a page fills them all",
         "15.10.2") {
    L2 guest;
    place(guest, rep_insb_zero, Mode::long64);
    auto* const buffer = static_cast<std::uint8_t*>(conform::allocate_pages(3));
    guest.registers.rdi = physical(buffer) + 100;
    guest.registers.rcx = 5000;
    guest.registers.rdx = exit_port;
    run_past(guest, rep_insb_zero, Mode::long64, "REP INS");
    unsigned filled = 0;
    for (unsigned i = 0; i < 3 * 4096; ++i)
        filled += buffer[i] == 0xff && i >= 100 && i < 5100 ? 1 : 0;
    expect_equal(filled, 5000U, "bytes that INS wrote");
    expect_equal(buffer[99] + buffer[5100], 0, "the bytes before and after");
    expect_equal(guest.registers.rcx, 0U, "RCX");
}
// The intercept acts before faults of the memory operand (15.10.2).
SVM_TEST(io_ins_before_fault, "svm.io.ins_before_page_fault",
         "INS to memory that is not there leaves by the intercept first", "15.10.2") {
    L2 guest;
    place(guest, rep_insb_zero, Mode::long64);
    guest.registers.rdi = 0x0000'7000'0000'0000;
    guest.registers.rcx = 2;
    guest.registers.rdx = exit_port;
    const auto before = state_of(guest);
    guest.intercept(Intercept::ioio_prot);
    guest.intercept_exception(14);
    guest.iopm()[exit_port / 8] = 1U << exit_port % 8;
    guest.run_to(ExitCode::ioio, "INS to nowhere");
    expect_untouched(guest, before, "INS to nowhere");
}
SVM_TEST(io_ins_fault, "svm.io.ins_page_fault",
         "INS at an open port to memory that is not there is a #PF that L1 can intercept", "15.10.2") {
    L2 guest;
    place(guest, rep_insb_zero, Mode::long64);
    guest.registers.rdi = 0x0000'7000'0000'0000;
    guest.registers.rcx = 2;
    guest.registers.rdx = exit_port;
    guest.save().cr2 = 0x1234;
    const auto before = state_of(guest);
    if (run_to_exception(guest, rep_insb_zero, Mode::long64, 14, 2, "INS to nowhere")) {
        expect_equal(guest.control().exit_info_2, 0x0000'7000'0000'0000U, "EXITINFO2: the address");
        expect_untouched(guest, before, "INS to nowhere");
    }
}
SVM_TEST(io_ins_ring3, "svm.io.ins_ring3_gp",
         "INS in ring 3 without the right raises #GP before the intercept", "15.10.2") {
    L2 guest;
    place(guest, rep_insb_zero, Mode::long64_ring3);
    point_at_buffer(guest, Mode::long64_ring3);
    guest.registers.rdi = guest.registers.rsi;
    guest.registers.rcx = 2;
    guest.registers.rdx = exit_port;
    guest.intercept(Intercept::ioio_prot);
    guest.iopm()[exit_port / 8] = 1U << exit_port % 8;
    run_to_exception(guest, rep_insb_zero, Mode::long64_ring3, 13, 0, "INS in ring 3");
}

} // namespace nestbed::svm
