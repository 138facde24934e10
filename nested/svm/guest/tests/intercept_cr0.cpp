// The selective CR0 write intercept: MOV to CR0 that changes a bit other than TS and MP, and LMSW.
#include "core/guest/runtime.hpp"
#include "nested/svm/guest/case.hpp"
#include "nested/svm/guest/modes.hpp"
#include "nested/svm/guest/snippet.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;

namespace {

constexpr std::uint32_t mp = 1U << 1;
constexpr std::uint32_t em = 1U << 2;
constexpr std::uint32_t ts = 1U << 3;
constexpr std::uint32_t ne = 1U << 5;
constexpr std::uint32_t wp = 1U << 16;
constexpr std::uint32_t am = 1U << 18;
constexpr std::uint32_t nw = 1U << 29;
constexpr std::uint32_t cd = 1U << 30;
constexpr std::uint32_t pg = 1U << 31;
constexpr std::uint32_t write_cr0_bit = 1U << 16;

L2_SNIPPET(mov_cr0, 64, "movq %r9, %cr0");
L2_SNIPPET(mov_cr0_32, 32, "movl %ebx, %cr0");
L2_SNIPPET(lmsw_ax, 64, "lmsw %ax");
L2_SNIPPET(clts_sel, 64, "clts");

// `base` is on top of CR0 as L1 has it: with CD set in L2, the hypervisor below may have to see L2's writes
// itself, and then judges this intercept in its own code.
template<std::uint32_t flips, std::uint32_t base>
void mov_exits() {
    L2 guest;
    place(guest, mov_cr0, Mode::long64);
    guest.save().cr0 |= base;
    guest.registers.r9 = guest.save().cr0 ^ flips;
    const auto before = state_of(guest);
    guest.intercept(Intercept::cr0_sel_write);
    if (!guest.run_to(ExitCode::cr0_sel_write, "MOV to CR0"))
        return;
    expect_untouched(guest, before, "MOV to CR0");
    expect_next_rip(guest, reinterpret_cast<std::uint64_t>(mov_cr0.after), "MOV to CR0");
}
template<std::uint32_t flips, std::uint32_t base>
void mov_stays() {
    L2 guest;
    place(guest, mov_cr0, Mode::long64);
    guest.save().cr0 |= base;
    const auto value = guest.save().cr0 ^ flips;
    guest.registers.r9 = value;
    guest.intercept(Intercept::cr0_sel_write);
    if (run_past(guest, mov_cr0, Mode::long64, "MOV to CR0"))
        expect_equal(guest.save().cr0, value, "CR0 after L2's write");
}
// The non-selective intercept has priority (table 15-7).
template<std::uint32_t flips, std::uint32_t base>
void both_exit_as_write() {
    L2 guest;
    place(guest, mov_cr0, Mode::long64);
    guest.save().cr0 |= base;
    guest.registers.r9 = guest.save().cr0 ^ flips;
    const auto before = state_of(guest);
    guest.intercept(Intercept::cr0_sel_write);
    guest.control().intercept_cr = write_cr0_bit;
    guest.run_to(ExitCode::write_cr0, "MOV to CR0 with both intercepts");
    expect_untouched(guest, before, "MOV to CR0");
}
// Nothing is intercepted: the write happens.
template<std::uint32_t flips, std::uint32_t base>
void mov_executes() {
    L2 guest;
    place(guest, mov_cr0, Mode::long64);
    guest.save().cr0 |= base;
    const auto value = guest.save().cr0 ^ flips;
    guest.registers.r9 = value;
    if (run_past(guest, mov_cr0, Mode::long64, "MOV to CR0"))
        expect_equal(guest.save().cr0, value, "CR0 after L2's write");
    expect_equal(guest::control_register<0>() & (ts | em | cd | am), 0U, "L1's own CR0: TS, EM, CD, AM");
}
// Illegal values raise #GP before any intercept (table 15-7).
template<bool selective, std::uint64_t flips>
void mov_gp() {
    L2 guest;
    place(guest, mov_cr0, Mode::long64);
    guest.registers.r9 = guest.save().cr0 ^ flips;
    const auto before = state_of(guest);
    if (selective)
        guest.intercept(Intercept::cr0_sel_write);
    else
        guest.control().intercept_cr = write_cr0_bit;
    if (run_to_exception(guest, mov_cr0, Mode::long64, 13, 0, "an illegal value for CR0"))
        expect_untouched(guest, before, "MOV to CR0");
}
// LMSW leaves whatever it writes (table 15-7).
template<std::uint32_t value, std::uint32_t base, bool non_selective_too>
void lmsw_exits() {
    L2 guest;
    place(guest, lmsw_ax, Mode::long64);
    guest.save().cr0 |= base;
    guest.save().rax = value;
    const auto before = state_of(guest);
    guest.intercept(Intercept::cr0_sel_write);
    if (non_selective_too)
        guest.control().intercept_cr = write_cr0_bit;
    guest.run_to(non_selective_too ? ExitCode::write_cr0 : ExitCode::cr0_sel_write, "LMSW");
    expect_untouched(guest, before, "LMSW");
}
template<std::uint32_t base>
void clts_stays() {
    L2 guest;
    place(guest, clts_sel, Mode::long64);
    const auto value = guest.save().cr0 | base;
    guest.save().cr0 = value | ts;
    guest.intercept(Intercept::cr0_sel_write);
    if (run_past(guest, clts_sel, Mode::long64, "CLTS"))
        expect_equal(guest.save().cr0, value, "CR0 after CLTS");
}

} // namespace

// NOLINTBEGIN
#define CR0_CASE(suffix, function, flips, title)                                                             \
    SVM_CASE(cr0_sel_##suffix, "svm.intercept.cr0_sel_" #suffix, title, "15.9, table 15-7",                  \
             (&function<(flips), 0>));                                                                       \
    SVM_CASE(cr0_sel_##suffix##_cd, "svm.intercept.cr0_sel_" #suffix "_cd", title ", CR0.CD being set",      \
             "15.9, table 15-7", (&function<(flips), cd>))
// NOLINTEND

CR0_CASE(ts_stays, mov_stays, ts, "a MOV to CR0 that changes TS alone is not selected");
CR0_CASE(mp_stays, mov_stays, mp, "a MOV to CR0 that changes MP alone is not selected");
CR0_CASE(ts_mp_stays, mov_stays, ts | mp, "a MOV to CR0 that changes TS and MP is not selected");
CR0_CASE(same_stays, mov_stays, 0, "a MOV to CR0 that changes nothing is not selected");
CR0_CASE(em_exits, mov_exits, em, "a MOV to CR0 that changes EM is selected");
CR0_CASE(ne_exits, mov_exits, ne, "a MOV to CR0 that changes NE is selected");
CR0_CASE(wp_exits, mov_exits, wp, "a MOV to CR0 that changes WP is selected");
CR0_CASE(am_exits, mov_exits, am, "a MOV to CR0 that changes AM is selected");
CR0_CASE(cd_exits, mov_exits, cd, "a MOV to CR0 that changes CD is selected");
CR0_CASE(ts_wp_exits, mov_exits, ts | wp, "a MOV to CR0 that changes TS and WP is selected");
CR0_CASE(both_ts, both_exit_as_write, ts,
         "with both CR0 write intercepts the general one has priority, TS changed");
CR0_CASE(both_wp, both_exit_as_write, wp,
         "with both CR0 write intercepts the general one has priority, WP changed");
CR0_CASE(both_same, both_exit_as_write, 0,
         "with both CR0 write intercepts the general one has priority, same value");
CR0_CASE(none_ts, mov_executes, ts, "a MOV to CR0 that nobody intercepts changes TS");
CR0_CASE(none_wp, mov_executes, wp, "a MOV to CR0 that nobody intercepts changes WP");
CR0_CASE(none_cd, mov_executes, cd, "a MOV to CR0 that nobody intercepts changes CD");
CR0_CASE(none_am_em, mov_executes, am | em, "a MOV to CR0 that nobody intercepts changes AM and EM");
CR0_CASE(none_ne, mov_executes, ne, "a MOV to CR0 that nobody intercepts changes NE");
SVM_CASE(cr0_sel_cd_nw_exits, "svm.intercept.cr0_sel_cd_nw_exits",
         "a MOV to CR0 that sets CD and NW is selected", "15.9, table 15-7", (&mov_exits<cd | nw, 0>));
SVM_CASE(cr0_sel_nw_gp, "svm.intercept.cr0_sel_nw_gp",
         "NW without CD raises #GP before the selective CR0 write intercept", "15.9, table 15-7",
         (&mov_gp<true, nw>));
SVM_CASE(cr0_write_nw_gp, "svm.intercept.cr0_write_nw_gp",
         "NW without CD raises #GP before the CR0 write intercept", "15.9, table 15-7", (&mov_gp<false, nw>));
SVM_CASE(cr0_sel_upper_gp, "svm.intercept.cr0_sel_upper_gp",
         "bit 32 of CR0 raises #GP before the selective CR0 write intercept", "15.9, table 15-7",
         (&mov_gp<true, std::uint64_t{1} << 32>));
SVM_CASE(cr0_write_upper_gp, "svm.intercept.cr0_write_upper_gp",
         "bit 63 of CR0 raises #GP before the CR0 write intercept", "15.9, table 15-7",
         (&mov_gp<false, std::uint64_t{1} << 63>));
SVM_CASE(cr0_sel_pe_gp, "svm.intercept.cr0_sel_pe_gp",
         "PG without PE raises #GP before the selective CR0 write intercept", "15.9, table 15-7",
         (&mov_gp<true, std::uint64_t{1}>));

SVM_CASE(cr0_sel_lmsw_ts, "svm.intercept.cr0_sel_lmsw_ts", "LMSW that changes TS alone leaves all the same",
         "15.9, table 15-7", (&lmsw_exits<mp | ts | 1, 0, false>));
SVM_CASE(cr0_sel_lmsw_same, "svm.intercept.cr0_sel_lmsw_same",
         "LMSW that changes nothing leaves all the same", "15.9, table 15-7",
         (&lmsw_exits<mp | 1, 0, false>));
SVM_CASE(cr0_sel_lmsw_em, "svm.intercept.cr0_sel_lmsw_em", "LMSW that changes EM leaves", "15.9, table 15-7",
         (&lmsw_exits<mp | em | 1, 0, false>));
SVM_CASE(cr0_sel_lmsw_ts_cd, "svm.intercept.cr0_sel_lmsw_ts_cd",
         "LMSW that changes TS alone leaves all the same, CR0.CD being set", "15.9, table 15-7",
         (&lmsw_exits<mp | ts | 1, cd, false>));
SVM_CASE(cr0_sel_lmsw_same_cd, "svm.intercept.cr0_sel_lmsw_same_cd",
         "LMSW that changes nothing leaves all the same, CR0.CD being set", "15.9, table 15-7",
         (&lmsw_exits<mp | 1, cd, false>));
SVM_CASE(cr0_sel_lmsw_em_cd, "svm.intercept.cr0_sel_lmsw_em_cd",
         "LMSW that changes EM leaves, CR0.CD being set", "15.9, table 15-7",
         (&lmsw_exits<mp | em | 1, cd, false>));
SVM_CASE(cr0_sel_lmsw_both, "svm.intercept.cr0_sel_lmsw_both",
         "LMSW with both CR0 write intercepts leaves by the general one", "15.9, table 15-7",
         (&lmsw_exits<mp | em | 1, 0, true>));
SVM_CASE(cr0_sel_clts_stays, "svm.intercept.cr0_sel_clts_stays",
         "CLTS, which changes TS alone, is not selected", "15.9, table 15-7", (&clts_stays<0>));
SVM_CASE(cr0_sel_clts_stays_cd, "svm.intercept.cr0_sel_clts_stays_cd",
         "CLTS, which changes TS alone, is not selected, CR0.CD being set", "15.9, table 15-7",
         (&clts_stays<cd>));

// Paging on and off, which the hypervisor below may have to follow.
SVM_TEST(cr0_sel_pg_off, "svm.intercept.cr0_sel_pg_off_exits",
         "a MOV to CR0 that turns paging off is selected", "15.9, table 15-7") {
    L2 guest;
    place(guest, mov_cr0_32, Mode::pae32);
    guest.registers.rbx = guest.save().cr0 & ~std::uint64_t{pg};
    const auto before = state_of(guest);
    guest.intercept(Intercept::cr0_sel_write);
    guest.run_to(ExitCode::cr0_sel_write, "MOV to CR0 that clears PG");
    expect_untouched(guest, before, "MOV to CR0");
}
SVM_TEST(cr0_pg_off, "svm.intercept.write_cr0_pg_off_executes", "L2 turns PAE paging off and goes on",
         "15.8.1") {
    L2 guest;
    place(guest, mov_cr0_32, Mode::pae32);
    const auto value = guest.save().cr0 & ~std::uint64_t{pg};
    guest.registers.rbx = value;
    run_past(guest, mov_cr0_32, Mode::pae32, "MOV to CR0 that clears PG");
    expect_equal(guest.save().cr0, value, "CR0 after L2's write");
}
SVM_TEST(cr0_pg_on, "svm.intercept.write_cr0_pg_on_executes", "L2 turns PAE paging on and goes on",
         "15.8.1") {
    L2 guest;
    place(guest, mov_cr0_32, Mode::pae32);
    const auto value = guest.save().cr0;
    guest.save().cr0 &= ~std::uint64_t{pg};
    guest.registers.rbx = value;
    run_past(guest, mov_cr0_32, Mode::pae32, "MOV to CR0 that sets PG");
    expect_equal(guest.save().cr0, value, "CR0 after L2's write");
}
SVM_TEST(cr0_sel_pg_on, "svm.intercept.cr0_sel_pg_on_exits", "a MOV to CR0 that turns paging on is selected",
         "15.9, table 15-7") {
    L2 guest;
    place(guest, mov_cr0_32, Mode::pae32);
    guest.registers.rbx = guest.save().cr0;
    guest.save().cr0 &= ~std::uint64_t{pg};
    const auto before = state_of(guest);
    guest.intercept(Intercept::cr0_sel_write);
    guest.run_to(ExitCode::cr0_sel_write, "MOV to CR0 that sets PG");
    expect_untouched(guest, before, "MOV to CR0");
}

} // namespace nestbed::svm
