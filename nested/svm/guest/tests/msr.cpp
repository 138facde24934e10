// The MSR permission map: two bits an MSR in three ranges, everything else always intercepted.
#include "nested/svm/msr.hpp"
#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/snippet.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::physical;
using conform::Text;

namespace {

L2_SNIPPET(rdmsr_64, 64, "rdmsr");
L2_SNIPPET(wrmsr_64, 64, "wrmsr");
L2_SNIPPET(rdmsr_32, 32, "rdmsr");
L2_SNIPPET(wrmsr_32, 32, "wrmsr");
L2_SNIPPET(rdmsr_16, 16, "rdmsr");
L2_SNIPPET(wrmsr_16, 16, "wrmsr");

const Snippet& code_of(bool write, Mode mode) {
    const auto bits = bits_of(mode);
    return write        ? bits == 64   ? wrmsr_64
                          : bits == 32 ? wrmsr_32
                                       : wrmsr_16
           : bits == 64 ? rdmsr_64
           : bits == 32 ? rdmsr_32
                        : rdmsr_16;
}

constexpr unsigned no_bit = ~0U;
// Table 15-8: where the two bits of an MSR are, the read's first.
constexpr unsigned read_bit_of(std::uint32_t index) {
    return index < 0x2000                                ? index * 2
           : index >= 0xc000'0000 && index < 0xc000'2000 ? (index & 0x1fff) * 2 + 0x800 * 8
           : index >= 0xc001'0000 && index < 0xc001'2000 ? (index & 0x1fff) * 2 + 0x1000 * 8
                                                         : no_bit;
}
void set_bit(L2& guest, std::uint32_t index, bool write, bool on = true) {
    const auto bit = read_bit_of(index) + (write ? 1 : 0);
    auto& byte = guest.msrpm()[bit / 8];
    byte = static_cast<std::uint8_t>(on ? byte | 1U << bit % 8 : byte & ~(1U << bit % 8));
}
void set_all(L2& guest) {
    for (std::uint64_t i = 0; i < msrpm_bytes; ++i)
        guest.msrpm()[i] = 0xff;
}

void aim(L2& guest, std::uint32_t index, bool write, Mode mode, std::uint64_t value = 0) {
    place(guest, code_of(write, mode), mode);
    guest.registers.rcx = index;
    if (write) {
        guest.save().rax = value & 0xffff'ffff;
        guest.registers.rdx = value >> 32;
    }
}

void expect_msr_exit(L2& guest, bool write, Mode mode, const Before& before, const char* what) {
    if (!guest.run_to(ExitCode::msr, what))
        return;
    expect_equal(guest.control().exit_info_1, write ? 1U : 0U, Text{"EXITINFO1, 1 for a write: ", what});
    expect_untouched(guest, before, what);
    const auto& code = code_of(write, mode);
    expect_next_rip(guest, rip_of(code, code.after, mode), what);
}

// The bit of this MSR and direction is the only one in the map. The MSR need not exist: the intercept acts
// before that is looked at (table 15-7).
template<std::uint32_t index, bool write, Mode mode>
void exits() {
    L2 guest;
    aim(guest, index, write, mode);
    const auto before = state_of(guest);
    guest.intercept(Intercept::msr_prot);
    set_bit(guest, index, write);
    expect_msr_exit(guest, write, mode, before, write ? "WRMSR" : "RDMSR");
}
// Every other bit is set; what the MSR itself makes of it is L2's own, a #GP where it does not exist.
template<std::uint32_t index, bool write>
void neighbours_stay() {
    L2 guest;
    aim(guest, index, write, Mode::long64);
    guest.intercept(Intercept::msr_prot);
    guest.intercept_exception(13);
    set_all(guest);
    set_bit(guest, index, write, false);
    const auto code = guest.run();
    expect(code == ExitCode::vmmcall || code == exception_exit(13),
           Text{"the access stays in L2 or raises #GP; EXITCODE ",
                conform::Hex{static_cast<std::uint64_t>(code)}});
    if (code == exception_exit(13))
        expect_equal(guest.control().exit_info_1, 0U, "error code of the #GP");
}
// 15.11: outside the ranges every access leaves, whatever the map says.
template<std::uint32_t index, bool write>
void outside_exits() {
    L2 guest;
    aim(guest, index, write, Mode::long64);
    const auto before = state_of(guest);
    guest.intercept(Intercept::msr_prot);
    expect_msr_exit(guest, write, Mode::long64, before, "an MSR outside the ranges");
}
template<bool write>
void gp_in_ring3() {
    L2 guest;
    aim(guest, msr::star, write, Mode::long64_ring3);
    const auto before = state_of(guest);
    guest.intercept(Intercept::msr_prot);
    set_all(guest);
    if (run_to_exception(guest, code_of(write, Mode::long64_ring3), Mode::long64_ring3, 13, 0,
                         "an MSR access in ring 3"))
        expect_untouched(guest, before, "an MSR access in ring 3");
}
// An MSR that nobody has is a #GP of L2's.
template<std::uint32_t index, bool write, bool prot>
void unknown_gp() {
    L2 guest;
    aim(guest, index, write, Mode::long64);
    const auto before = state_of(guest);
    guest.intercept(Intercept::msr_prot, prot);
    if (run_to_exception(guest, code_of(write, Mode::long64), Mode::long64, 13, 0,
                         "an MSR that does not exist"))
        expect_untouched(guest, before, "an MSR that does not exist");
}

} // namespace

// NOLINTBEGIN
#define MSR_CASES(index, name)                                                                               \
    SVM_CASE(msr_##index##_read_exits, "svm.msr.read_" #index "_exits",                                      \
             "RDMSR of " name " leaves by its own bit alone", "15.11",                                       \
             (&exits<index, false, Mode::long64>));                                                          \
    SVM_CASE(msr_##index##_write_exits, "svm.msr.write_" #index "_exits",                                    \
             "WRMSR of " name " leaves by its own bit alone", "15.11", (&exits<index, true, Mode::long64>)); \
    SVM_CASE(msr_##index##_read_stays, "svm.msr.read_" #index "_stays",                                      \
             "RDMSR of " name " stays in L2 where every other bit is set", "15.11",                          \
             (&neighbours_stay<index, false>));                                                              \
    SVM_CASE(msr_##index##_write_stays, "svm.msr.write_" #index "_stays",                                    \
             "WRMSR of " name " stays in L2 where every other bit is set", "15.11",                          \
             (&neighbours_stay<index, true>))
#define MSR_EXITS(index, name)                                                                               \
    SVM_CASE(msr_##index##_read_exits, "svm.msr.read_" #index "_exits",                                      \
             "RDMSR of " name " leaves by its own bit alone", "15.11",                                       \
             (&exits<index, false, Mode::long64>));                                                          \
    SVM_CASE(msr_##index##_write_exits, "svm.msr.write_" #index "_exits",                                    \
             "WRMSR of " name " leaves by its own bit alone", "15.11", (&exits<index, true, Mode::long64>))
#define MSR_OUTSIDE(index)                                                                                   \
    SVM_CASE(msr_##index##_read_outside, "svm.msr.read_" #index "_outside_exits",                            \
             "RDMSR of " #index ", in none of the ranges, leaves with an empty map", "15.11",                \
             (&outside_exits<index, false>));                                                                \
    SVM_CASE(msr_##index##_write_outside, "svm.msr.write_" #index "_outside_exits",                          \
             "WRMSR of " #index ", in none of the ranges, leaves with an empty map", "15.11",                \
             (&outside_exits<index, true>))
#define MSR_MODE(suffix, write, mode, where)                                                                 \
    SVM_CASE(msr_##suffix, "svm.msr." #suffix, "an MSR access in " where " leaves by its own bit alone",     \
             "15.11", (&exits<msr::efer, write, Mode::mode>))
// NOLINTEND

// The ends and the middle of each range.
MSR_CASES(0x00000000, "the first MSR of range 1");
MSR_CASES(0x00000003, "an MSR at the end of a byte of range 1");
MSR_CASES(0x00001000, "the middle MSR of range 1");
MSR_CASES(0x00001ffc, "an MSR at the start of the last byte of range 1");
MSR_CASES(0x00001fff, "the last MSR of range 1");
MSR_CASES(0xc0000000, "the first MSR of range 2");
MSR_CASES(0xc0001001, "the middle MSR of range 2");
MSR_CASES(0xc0001fff, "the last MSR of range 2");
MSR_CASES(0xc0010000, "the first MSR of range 3");
MSR_CASES(0xc0011002, "a middle MSR of range 3");
MSR_CASES(0xc0011fff, "the last MSR of range 3");
// Those that hypervisors treat one by one.
MSR_CASES(0x00000010, "TSC");
MSR_EXITS(0x0000001b, "APIC_BASE");
MSR_EXITS(0x00000048, "SPEC_CTRL");
MSR_EXITS(0x00000049, "PRED_CMD");
MSR_EXITS(0x0000010b, "FLUSH_CMD");
MSR_CASES(0x00000174, "SYSENTER_CS");
MSR_CASES(0x00000175, "SYSENTER_ESP");
MSR_CASES(0x00000176, "SYSENTER_EIP");
MSR_EXITS(0x0000017a, "MCG_STATUS");
MSR_EXITS(0x000001d9, "DEBUGCTL");
MSR_EXITS(0x000001db, "LASTBRANCHFROMIP");
MSR_EXITS(0x000001dc, "LASTBRANCHTOIP");
MSR_EXITS(0x000001de, "LASTINTTOIP");
MSR_EXITS(0x00000277, "PAT");
MSR_EXITS(0x00000802, "the x2APIC ID");
MSR_EXITS(0x00000808, "the x2APIC TPR");
MSR_EXITS(0x0000080b, "the x2APIC EOI");
MSR_EXITS(0x00000830, "the x2APIC ICR");
MSR_EXITS(0x0000083f, "the x2APIC self IPI");
MSR_EXITS(0xc0000080, "EFER");
MSR_CASES(0xc0000081, "STAR");
MSR_CASES(0xc0000082, "LSTAR");
MSR_CASES(0xc0000083, "CSTAR");
MSR_CASES(0xc0000084, "SFMASK");
MSR_CASES(0xc0000100, "FS base");
MSR_CASES(0xc0000101, "GS base");
MSR_CASES(0xc0000102, "KernelGSbase");
MSR_EXITS(0xc0000103, "TSC_AUX");
MSR_EXITS(0xc0000104, "TSC_RATIO");
MSR_EXITS(0xc0010015, "HWCR");
MSR_EXITS(0xc0010114, "VM_CR");
MSR_EXITS(0xc0010117, "VM_HSAVE_PA");
MSR_EXITS(0xc001011f, "VIRT_SPEC_CTRL");
// Beside the ranges, between them and far from them.
MSR_OUTSIDE(0x00002000);
MSR_OUTSIDE(0x00008000);
MSR_OUTSIDE(0x40000000);
MSR_OUTSIDE(0x4b564d00);
MSR_OUTSIDE(0xbfffffff);
MSR_OUTSIDE(0xc0002000);
MSR_OUTSIDE(0xc000ffff);
MSR_OUTSIDE(0xc0012000);
MSR_OUTSIDE(0xc0020080);
MSR_OUTSIDE(0x80000080);
MSR_OUTSIDE(0xffffffff);

MSR_MODE(read_protected_exits, false, protected32, "protected mode");
MSR_MODE(write_protected_exits, true, protected32, "protected mode");
MSR_MODE(read_compatibility_exits, false, compatibility, "compatibility mode");
MSR_MODE(read_real_exits, false, real16, "real mode");
MSR_MODE(write_real_exits, true, real16, "real mode");
SVM_CASE(msr_read_ring3, "svm.msr.read_ring3_gp", "RDMSR in ring 3 raises #GP before the intercept",
         "15.9, table 15-7", (&gp_in_ring3<false>));
SVM_CASE(msr_write_ring3, "svm.msr.write_ring3_gp", "WRMSR in ring 3 raises #GP before the intercept",
         "15.9, table 15-7", (&gp_in_ring3<true>));
SVM_CASE(msr_unknown_read, "svm.msr.unknown_read_gp", "RDMSR of an MSR that does not exist is a #GP of L2's",
         "15.11", (&unknown_gp<0x1ff0, false, true>));
SVM_CASE(msr_unknown_write, "svm.msr.unknown_write_gp",
         "WRMSR of an MSR that does not exist is a #GP of L2's", "15.11",
         (&unknown_gp<0xc001'1ff0, true, true>));
SVM_CASE(msr_unknown_no_prot_read, "svm.msr.unknown_read_gp_without_prot",
         "RDMSR of an MSR outside the ranges that does not exist is a #GP of L2's without MSR_PROT", "15.11",
         (&unknown_gp<0xc000'2000, false, false>));
SVM_CASE(msr_unknown_no_prot_write, "svm.msr.unknown_write_gp_without_prot",
         "WRMSR of an MSR outside the ranges that does not exist is a #GP of L2's without MSR_PROT", "15.11",
         (&unknown_gp<0x0000'2000, true, false>));

SVM_TEST(msr_prot_clear, "svm.msr.prot_clear", "without MSR_PROT the map is not looked at", "15.11") {
    L2 guest;
    aim(guest, msr::lstar, true, Mode::long64, 0x1234'5678);
    set_all(guest);
    run_past(guest, wrmsr_64, Mode::long64, "WRMSR without MSR_PROT");
    expect_equal(guest.save().lstar, 0x1234'5678U, "LSTAR that L2 wrote");
}
SVM_TEST(msr_upper_rcx, "svm.msr.upper_rcx_ignored", "the MSR is ECX: the bits above are ignored", "15.11") {
    L2 guest;
    aim(guest, msr::lstar, false, Mode::long64);
    guest.registers.rcx |= std::uint64_t{0x1234} << 32;
    const auto before = state_of(guest);
    guest.intercept(Intercept::msr_prot);
    set_bit(guest, msr::lstar, false);
    expect_msr_exit(guest, false, Mode::long64, before, "RDMSR");
}
SVM_TEST(msr_map_changed, "svm.msr.map_changed", "a bit that L1 changes between two VMRUNs counts at once",
         "15.11") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    for (unsigned round = 0; round < 6; ++round) {
        aim(guest, msr::star, false, Mode::long64);
        const bool set = round % 2 != 0;
        set_bit(guest, msr::star, false, set);
        guest.run_to(set ? ExitCode::msr : ExitCode::vmmcall, Text{"round ", round});
    }
}
SVM_TEST(msr_prot_changed, "svm.msr.prot_changed",
         "MSR_PROT that L1 changes between two VMRUNs counts at once", "15.11") {
    L2 guest;
    set_all(guest);
    for (unsigned round = 0; round < 6; ++round) {
        aim(guest, msr::kernel_gs_base, false, Mode::long64);
        const bool set = round % 2 != 0;
        guest.intercept(Intercept::msr_prot, set);
        guest.run_to(set ? ExitCode::msr : ExitCode::vmmcall, Text{"round ", round});
    }
}
SVM_TEST(msr_map_moved, "svm.msr.map_moved", "another map takes effect at the next VMRUN", "15.11") {
    L2 guest;
    auto* const other = static_cast<std::uint8_t*>(conform::allocate_pages(msrpm_bytes / 4096));
    for (std::uint64_t i = 0; i < msrpm_bytes; ++i)
        other[i] = 0xff;
    guest.intercept(Intercept::msr_prot);
    for (unsigned round = 0; round < 4; ++round) {
        aim(guest, msr::fs_base, false, Mode::long64);
        const bool set = round % 2 != 0;
        guest.control().msrpm_base_pa = set ? physical(other) : physical(guest.msrpm());
        guest.run_to(set ? ExitCode::msr : ExitCode::vmmcall, Text{"round ", round});
    }
}
SVM_TEST(msr_low_bits, "svm.msr.base_low_bits_ignored", "the low 12 bits of MSRPM_BASE_PA are ignored",
         "15.11") {
    L2 guest;
    aim(guest, msr::star, false, Mode::long64);
    const auto before = state_of(guest);
    guest.intercept(Intercept::msr_prot);
    set_bit(guest, msr::star, false);
    guest.control().msrpm_base_pa |= 0xfff;
    expect_msr_exit(guest, false, Mode::long64, before, "RDMSR");
}
SVM_TEST(msr_two_guests, "svm.msr.two_guests", "two L2 guests with maps of their own do not share them",
         "15.11") {
    L2 open;
    L2 closed;
    open.intercept(Intercept::msr_prot);
    closed.intercept(Intercept::msr_prot);
    closed.control().asid = 2;
    set_all(closed);
    for (unsigned round = 0; round < 6; ++round) {
        auto& guest = round % 2 == 0 ? open : closed;
        aim(guest, msr::gs_base, false, Mode::long64);
        guest.run_to(round % 2 == 0 ? ExitCode::vmmcall : ExitCode::msr, Text{"round ", round});
    }
}
SVM_TEST(msr_map_survives_l1, "svm.msr.l1_not_intercepted", "L2's map says nothing about L1's own accesses",
         "15.11") {
    L2 guest;
    aim(guest, msr::star, false, Mode::long64);
    guest.intercept(Intercept::msr_prot);
    set_all(guest);
    guest.run_to(ExitCode::msr, "RDMSR");
    guest::wrmsr(msr::star, 0x0023'0008'0000'0000);
    expect_equal(guest::rdmsr(msr::star), 0x0023'0008'0000'0000U, "STAR of L1");
}

} // namespace nestbed::svm
