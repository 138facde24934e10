// The time stamp counter of L2: TSC_OFFSET (APM volume 2, appendix B.1, offset 050h) and, where offered, the
// ratio (15.30.5). L2's reading lies between two of L1's, plus the offset: that is exact, however slow the
// machine is.
#include "core/guest/guard.hpp"
#include "nested/guest/barrier.hpp"
#include "nested/svm/guest/tests/switch.hpp"

namespace nestbed::svm {

using conform::expect;
using conform::expect_equal;
using conform::Text;

namespace {

struct Rdtscp {
    std::uint64_t tsc;
    std::uint32_t aux;
};
Rdtscp rdtscp() {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    std::uint32_t aux = 0;
    asm volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux) : : "memory");
    return {std::uint64_t{high} << 32 | low, aux};
}
bool has_rdtscp() {
    if (cpuid_bit(0x8000'0001, 'd', 27))
        return true;
    conform::not_applicable("the vCPU has no RDTSCP (CPUID Fn8000_0001 EDX bit 27)");
    return false;
}

std::uint64_t by_rdtsc() {
    return guest::rdtsc();
}
std::uint64_t by_rdtscp() {
    return rdtscp().tsc;
}
std::uint64_t by_rdmsr() {
    return guest::rdmsr(msr::tsc);
}

// Also right where L1's counter wraps within.
bool between(std::uint64_t seen, std::uint64_t low, std::uint64_t high) {
    return seen - low <= high - low;
}
void expect_between(std::uint64_t seen, std::uint64_t before, std::uint64_t after, std::uint64_t offset,
                    const char* what) {
    if (between(seen, before + offset, after + offset))
        expect(true, what);
    else
        expect_equal(seen, before + offset, Text{what, " (at least; at most ", after - before, " more)"});
}

template<std::uint64_t Offset, std::uint64_t (*Read)()>
void offset_seen() {
    if (Read == &by_rdtscp && !has_rdtscp())
        return;
    L2 guest;
    std::uint64_t seen[2] = {};
    auto code = [&] {
        seen[0] = Read();
        seen[1] = Read();
    };
    guest.start(code);
    guest.control().tsc_offset = Offset;
    const auto before = guest::rdtsc();
    guest.run_to_end();
    const auto after = guest::rdtsc();
    expect_between(seen[0], before, after, Offset, "L2's first reading, L1's plus the offset");
    expect_between(seen[1], seen[0] - Offset, after, Offset, "L2's second reading, not before the first");
    // 2^44 ticks are an hour at 4 GHz.
    expect(after - before < std::uint64_t{1} << 44, "L1's counter goes on from where it was");
    expect_equal(guest.control().tsc_offset, Offset, "VMCB.TSC_OFFSET after the exit");
}

} // namespace

#define OFFSET_CASE(name, offset)                                                                            \
    SVM_CASE(tsc_offset_rdtsc_##name, "svm.tsc.rdtsc_offset_" #name, "RDTSC in L2 has TSC_OFFSET added",     \
             "15.5.1", (&offset_seen<offset, &by_rdtsc>))                                                    \
    SVM_CASE(tsc_offset_rdtscp_##name, "svm.tsc.rdtscp_offset_" #name, "RDTSCP in L2 has TSC_OFFSET added",  \
             "15.5.1", (&offset_seen<offset, &by_rdtscp>))                                                   \
    SVM_CASE(tsc_offset_rdmsr_##name, "svm.tsc.rdmsr_offset_" #name,                                         \
             "RDMSR of the TSC in L2 has TSC_OFFSET added", "15.5.1", (&offset_seen<offset, &by_rdmsr>))
OFFSET_CASE(zero, 0)
OFFSET_CASE(one_hour, std::uint64_t{1} << 44)
OFFSET_CASE(minus_hour, -(std::uint64_t{1} << 44))
OFFSET_CASE(bit_31, 0x8000'0000U)
OFFSET_CASE(bit_32, 0x1'0000'0000U)
OFFSET_CASE(bit_63, std::uint64_t{1} << 63)
OFFSET_CASE(pattern, 0x5a5a'1234'8765'a5a5)
#undef OFFSET_CASE

SVM_TEST(tsc_ring_3, "svm.tsc.rdtsc_offset_ring_3", "RDTSC in L2's ring 3 has TSC_OFFSET added", "15.5.1") {
    constexpr std::uint64_t offset = std::uint64_t{5} << 50;
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { conform::in_ring_3([&] { seen = guest::rdtsc(); }); };
    guest.start(code);
    guest.control().tsc_offset = offset;
    const auto before = guest::rdtsc();
    guest.run_to_end();
    expect_between(seen, before, guest::rdtsc(), offset, "L2's reading, L1's plus the offset");
}
SVM_TEST(tsc_npt, "svm.tsc.rdtsc_offset_npt", "RDTSC in L2 under nested paging has TSC_OFFSET added",
         "15.5.1", .needs = "npt") {
    constexpr std::uint64_t offset = std::uint64_t{5} << 50;
    L2 guest;
    const NestedPageTables tables;
    tables.use_in(guest);
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdtsc(); };
    guest.start(code);
    guest.control().tsc_offset = offset;
    const auto before = guest::rdtsc();
    guest.run_to_end();
    expect_between(seen, before, guest::rdtsc(), offset, "L2's reading, L1's plus the offset");
}
SVM_TEST(tsc_changed, "svm.tsc.offset_changed_between_runs", "Each VMRUN takes the TSC_OFFSET of then",
         "15.5.1") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdtsc(); };
    for (std::uint64_t i = 0; i < 5; ++i) {
        const auto offset = (i * 7 % 5) << 52;
        guest.control().tsc_offset = offset;
        guest.start(code);
        const auto before = guest::rdtsc();
        guest.run_to_end();
        expect_between(seen, before, guest::rdtsc(), offset,
                       Text{"run ", i, ": L1's plus the offset"}.c_str());
    }
}
SVM_TEST(tsc_two, "svm.tsc.offset_of_two_guests", "Two guests in turn have the TSC_OFFSET of their own",
         "15.5.1") {
    L2 guests[2];
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdtsc(); };
    guests[0].control().tsc_offset = std::uint64_t{3} << 50;
    guests[1].control().tsc_offset = -(std::uint64_t{3} << 50);
    for (unsigned i = 0; i < 6; ++i) {
        auto& guest = guests[i % 2];
        guest.start(code);
        const auto before = guest::rdtsc();
        guest.run_to_end();
        expect_between(seen, before, guest::rdtsc(), guest.control().tsc_offset,
                       "L1's plus the guest's offset");
    }
}
SVM_TEST(tsc_after_refused, "svm.tsc.offset_after_refused_vmrun",
         "A VMRUN that is refused leaves L1 without that VMCB's TSC_OFFSET", "15.5.1") {
    L2 guest;
    guest.control().tsc_offset = std::uint64_t{1} << 60;
    guest.control().asid = 0;
    const auto before = guest::rdtsc();
    expect_equal(vmrun_refused(guest), ExitCode::invalid, "EXITCODE with ASID 0");
    stgi();
    const auto after = guest::rdtsc();
    const auto read = guest::rdmsr(msr::tsc);
    expect(after - before < std::uint64_t{1} << 44, "RDTSC of L1 goes on from where it was");
    expect(read - after < std::uint64_t{1} << 44, "RDMSR of L1 agrees with it");
}
namespace {
// After any kind of exit L1 has its own counter again, by every way to read it.
void l1_after(std::uint64_t (*read)(), ExitCode exit) {
    L2 guest;
    guest.intercept(Intercept::hlt);
    guest.intercept_exception(6);
    auto halt = [] { asm volatile("hlt"); };
    auto undefined = [] { asm volatile("ud2"); };
    if (exit == ExitCode::hlt)
        guest.start(halt);
    else
        guest.start(undefined);
    guest.control().tsc_offset = std::uint64_t{1} << 60;
    const auto before = read();
    guest.run_to(exit, "L2 leaves");
    expect(read() - before < std::uint64_t{1} << 44, "L1's counter goes on from where it was");
}
} // namespace
SVM_TEST(tsc_l1_rdmsr, "svm.tsc.l1_rdmsr_after_exit", "RDMSR of L1 after an exit has no TSC_OFFSET in it",
         "15.6") {
    l1_after(&by_rdmsr, ExitCode::hlt);
}
SVM_TEST(tsc_l1_rdtscp, "svm.tsc.l1_rdtscp_after_exit", "RDTSCP of L1 after an exit has no TSC_OFFSET in it",
         "15.6") {
    if (has_rdtscp())
        l1_after(&by_rdtscp, ExitCode::hlt);
}
SVM_TEST(tsc_l1_exception, "svm.tsc.l1_rdtsc_after_exception_exit",
         "RDTSC of L1 after an exception's exit has no TSC_OFFSET in it", "15.6") {
    l1_after(&by_rdtsc, exception_exit(6));
}
SVM_TEST(tsc_many, "svm.tsc.monotonic", "Over 200 entries neither L1's nor L2's counter goes back",
         "15.5.1") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        for (;;) {
            seen = guest::rdtsc();
            conform::l2_hypercall(1);
        }
    };
    guest.start(code);
    constexpr std::uint64_t offset = std::uint64_t{1} << 50;
    guest.control().tsc_offset = offset;
    unsigned wrong = 0;
    for (unsigned i = 0; i < 200; ++i) {
        const auto before = guest::rdtsc();
        if (guest.enter() != ExitCode::vmmcall)
            break;
        guest.skip(3);
        wrong += between(seen, before + offset, guest::rdtsc() + offset) ? 0 : 1;
    }
    expect_equal(guest.control().exit_code, ExitCode::vmmcall, "EXITCODE of the last exit");
    expect_equal(wrong, 0U, "readings of L2 that were not between L1's");
}

namespace {
conform::Barrier tsc_barrier;
std::uint32_t tsc_done;
} // namespace
SVM_TEST(tsc_other_vcpu, "svm.tsc.offset_not_on_other_vcpu",
         "TSC_OFFSET of a guest on vCPU 0 does not show in the counter of vCPU 1", "15.5.1", .vcpus = 2) {
    const bool runs = guest::this_vcpu().vcpu == 0;
    const auto begin = guest::rdtsc();
    tsc_barrier.wait();
    if (runs) {
        L2 guest;
        auto code = [] {
            for (int i = 0; i < 1000; ++i)
                guest::pause();
        };
        guest.control().tsc_offset = std::uint64_t{1} << 60;
        for (int i = 0; i < 20; ++i) {
            guest.start(code);
            guest.run_to_end();
        }
        guest::store(tsc_done, 1U);
        return;
    }
    std::uint64_t most = 0;
    do {
        const auto ticks = guest::rdtsc() - begin;
        most = ticks > most ? ticks : most;
    } while (guest::load(tsc_done) == 0);
    expect(most < std::uint64_t{1} << 44, "vCPU 1's counter goes on from where it was");
}

// Writes. WRMSR of L2 that L1 does not intercept writes the counter itself: the offset is added on reads
// only.
SVM_TEST(tsc_l1_writes, "svm.tsc.l1_write", "TSC that L1 writes shows in L2, plus the offset", "15.5.1") {
    constexpr std::uint64_t offset = std::uint64_t{1} << 55;
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdtsc(); };
    guest.start(code);
    guest.control().tsc_offset = offset;
    guest::wrmsr(msr::tsc, std::uint64_t{1} << 48);
    const auto before = guest::rdtsc();
    expect(before - (std::uint64_t{1} << 48) < std::uint64_t{1} << 44, "L1 reads back what it wrote");
    guest.run_to_end();
    expect_between(seen, before, guest::rdtsc(), offset, "L2's reading, L1's plus the offset");
}
namespace {
template<std::uint64_t Offset>
void l2_writes() {
    L2 guest;
    constexpr std::uint64_t value = std::uint64_t{1} << 48;
    std::uint64_t seen = 0;
    auto code = [&] {
        guest::wrmsr(msr::tsc, value);
        seen = guest::rdtsc();
    };
    guest.start(code);
    guest.control().tsc_offset = Offset;
    guest.run_to_end();
    const auto after = guest::rdtsc();
    expect_equal(guest.control().tsc_offset, Offset, "VMCB.TSC_OFFSET after the exit");
    expect(after - value < std::uint64_t{1} << 44, "L1's counter goes on from what L2 wrote");
    expect_between(seen, value, after, Offset, "L2's reading after its WRMSR, plus the offset");
}
} // namespace
SVM_CASE(tsc_l2_writes, "svm.tsc.l2_write", "WRMSR of the TSC by L2, not intercepted, writes L1's counter",
         "15.11", &l2_writes<0>)
SVM_CASE(tsc_l2_writes_offset, "svm.tsc.l2_write_offset",
         "WRMSR of the TSC by L2 writes L1's counter whatever the offset is, which L2's reads add", "15.11",
         &l2_writes<(std::uint64_t{1} << 55)>)
SVM_TEST(tsc_l2_write_intercepted, "svm.tsc.l2_write_intercepted",
         "WRMSR of the TSC that L1 intercepts leaves and writes nothing", "15.11") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    guest.msrpm()[msr::tsc / 4] = 2U << (msr::tsc % 4 * 2);
    auto code = [] { guest::wrmsr(msr::tsc, std::uint64_t{1} << 60); };
    guest.start(code);
    const auto before = guest::rdtsc();
    guest.run_to(ExitCode::msr, "WRMSR is intercepted");
    expect_equal(guest.control().exit_info_1, 1U, "EXITINFO1: a write");
    expect(guest::rdtsc() - before < std::uint64_t{1} << 44, "L1's counter goes on from where it was");
}
SVM_TEST(tsc_l2_read_intercepted, "svm.tsc.l2_rdmsr_intercepted",
         "RDMSR of the TSC that L1 intercepts leaves", "15.11") {
    L2 guest;
    guest.intercept(Intercept::msr_prot);
    guest.msrpm()[msr::tsc / 4] = 1U << (msr::tsc % 4 * 2);
    auto code = [] { guest::rdmsr(msr::tsc); };
    guest.start(code);
    guest.run_to(ExitCode::msr, "RDMSR is intercepted");
    expect_equal(guest.control().exit_info_1, 0U, "EXITINFO1: a read");
}

// TSC_AUX is not switched.
SVM_TEST(tsc_aux_in, "svm.tsc.aux_of_l1", "RDTSCP in L2 gives the TSC_AUX that L1 wrote", "15.5.2") {
    if (!has_rdtscp())
        return;
    guest::wrmsr(msr::tsc_aux, 0x1234'abcd);
    L2 guest;
    std::uint32_t seen = 0;
    std::uint64_t read = 0;
    auto code = [&] {
        seen = rdtscp().aux;
        read = guest::rdmsr(msr::tsc_aux);
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, 0x1234'abcdU, "ECX of RDTSCP in L2");
    expect_equal(read, 0x1234'abcdU, "TSC_AUX as L2 reads it");
    expect_equal(rdtscp().aux, 0x1234'abcdU, "ECX of RDTSCP in L1 after the exit");
}
SVM_TEST(tsc_aux_out, "svm.tsc.aux_of_l2", "TSC_AUX that L2 writes is what both levels have then", "15.5.2") {
    if (!has_rdtscp())
        return;
    guest::wrmsr(msr::tsc_aux, 1);
    L2 guest;
    std::uint32_t seen = 0;
    auto code = [&] {
        guest::wrmsr(msr::tsc_aux, 0x0055'6677);
        seen = rdtscp().aux;
    };
    guest.start(code);
    guest.run_to_end();
    expect_equal(seen, 0x0055'6677U, "ECX of RDTSCP in L2");
    expect_equal(rdtscp().aux, 0x0055'6677U, "ECX of RDTSCP in L1 after the exit");
}

// The ratio (15.30.5): 8 bits of integer, 32 of fraction; guests only.
namespace {
constexpr std::uint64_t one = std::uint64_t{1} << 32;
std::uint64_t scaled(std::uint64_t tsc, std::uint64_t ratio) {
    // 64 by 64 bits, shifted by 32: all four parts.
    const auto high = (tsc >> 32) * (ratio >> 32) << 32;
    return high + (tsc >> 32) * (ratio & 0xffff'ffff) + (tsc & 0xffff'ffff) * (ratio >> 32) +
           ((tsc & 0xffff'ffff) * (ratio & 0xffff'ffff) >> 32);
}
template<std::uint64_t Ratio, std::uint64_t (*Read)()>
void ratio_seen() {
    if (Read == &by_rdtscp && !has_rdtscp())
        return;
    constexpr std::uint64_t offset = std::uint64_t{1} << 56;
    guest::wrmsr(msr::tsc_ratio, Ratio);
    expect_equal(guest::rdmsr(msr::tsc_ratio), Ratio, "TSC_RATIO as L1 reads it back");
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = Read(); };
    guest.start(code);
    guest.control().tsc_offset = offset;
    const auto before = guest::rdtsc();
    guest.run_to_end();
    const auto after = guest::rdtsc();
    guest::wrmsr(msr::tsc_ratio, one);
    expect(after - before < std::uint64_t{1} << 44, "L1's counter is not scaled");
    // One tick of rounding, and as many as the host's own ratio may cost (two multiplications in place of
    // one).
    const auto slack = (Ratio >> 32) + 64;
    expect_between(seen, scaled(before, Ratio) - slack, scaled(after, Ratio) + slack, offset,
                   "L2's reading, L1's times the ratio plus the offset");
}
} // namespace
#define RATIO_CASE(name, ratio)                                                                              \
    SVM_CASE(tsc_ratio_rdtsc_##name, "svm.optional.tsc_ratio_rdtsc_" #name,                                  \
             "RDTSC in L2 is L1's times the ratio, plus the offset", "15.30.5",                              \
             (&ratio_seen<ratio, &by_rdtsc>), .needs = "tsc_scale")                                          \
    SVM_CASE(tsc_ratio_rdmsr_##name, "svm.optional.tsc_ratio_rdmsr_" #name,                                  \
             "RDMSR of the TSC in L2 is L1's times the ratio, plus the offset", "15.30.5",                   \
             (&ratio_seen<ratio, &by_rdmsr>), .needs = "tsc_scale")                                          \
    SVM_CASE(tsc_ratio_rdtscp_##name, "svm.optional.tsc_ratio_rdtscp_" #name,                                \
             "RDTSCP in L2 is L1's times the ratio, plus the offset", "15.30.5",                             \
             (&ratio_seen<ratio, &by_rdtscp>), .needs = "tsc_scale")
RATIO_CASE(one, one)
RATIO_CASE(two, 2 * one)
RATIO_CASE(half, one / 2)
RATIO_CASE(three_quarters, one / 4 * 3)
RATIO_CASE(seven, 7 * one)
#undef RATIO_CASE
SVM_TEST(tsc_ratio_default, "svm.optional.tsc_ratio_default", "TSC_RATIO is 1.0 after reset", "15.30.5",
         .needs = "tsc_scale") {
    expect_equal(guest::rdmsr(msr::tsc_ratio), one, "TSC_RATIO");
}
SVM_TEST(tsc_ratio_reserved, "svm.optional.tsc_ratio_reserved_bits", "TSC_RATIO bits 63:40 are reserved: #GP",
         "15.30.5", .needs = "tsc_scale") {
    for (unsigned bit = 40; bit < 64; ++bit) {
        const auto fault =
            guest::catch_fault([&] { guest::wrmsr(msr::tsc_ratio, one | std::uint64_t{1} << bit); });
        expect(fault.is(13), Text{"#GP of a write with bit ", bit});
    }
    expect_equal(guest::rdmsr(msr::tsc_ratio), one, "TSC_RATIO after them");
}
SVM_TEST(tsc_ratio_changed, "svm.optional.tsc_ratio_changed_between_runs",
         "Each VMRUN takes the TSC_RATIO of then", "15.30.5", .needs = "tsc_scale") {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = guest::rdtsc(); };
    constexpr std::uint64_t ratios[] = {2 * one, one, one / 2, one};
    for (const auto ratio : ratios) {
        guest::wrmsr(msr::tsc_ratio, ratio);
        guest.start(code);
        const auto before = guest::rdtsc();
        guest.run_to_end();
        expect_between(seen, scaled(before, ratio) - 64, scaled(guest::rdtsc(), ratio) + 64, 0,
                       "L2's reading, L1's times the ratio");
    }
}
SVM_TEST(tsc_ratio_absent, "svm.optional.tsc_ratio_absent", "Without the feature there is no TSC_RATIO: #GP",
         "15.30.5") {
    if ((svm_features() >> 4 & 1) != 0)
        return conform::not_applicable("the TSC ratio is offered");
    expect(guest::catch_fault([] { guest::rdmsr(msr::tsc_ratio); }).is(13), "#GP of RDMSR");
    expect(guest::catch_fault([] { guest::wrmsr(msr::tsc_ratio, one); }).is(13), "#GP of WRMSR");
}

} // namespace nestbed::svm
