// The time-stamp counter in L2: offset, scaling, exits, the MSRs around it (SDM volume 3, "Time-Stamp Counter
// Offset and Multiplier").
#include "core/guest/guard.hpp"
#include "core/guest/runtime.hpp"
#include "nested/vmx/guest/case.hpp"
#include "nested/vmx/guest/code.hpp"
#include "nested/vmx/guest/events.hpp"
#include "nested/vmx/guest/msr.hpp"

namespace nestbed::vmx {

using conform::expect;
using conform::expect_equal;
using conform::Hex;
using conform::Text;

namespace {

#define OFFSET "Time-Stamp Counter Offset and Multiplier"
#define INSTRUCTIONS "Changes to Instruction Behavior in VMX Non-Root Operation"

constexpr std::uint32_t msr_tsc = 0x10;
constexpr std::uint32_t msr_tsc_adjust = 0x3b;
constexpr std::uint32_t msr_tsc_aux = 0xc000'0103;
constexpr std::uint64_t by = 0x1234'0000'0000;

struct Rdtscp {
    std::uint64_t tsc;
    std::uint32_t aux;
};
Rdtscp rdtscp() {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    std::uint32_t aux = 0;
    asm volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
    return {std::uint64_t{high} << 32 | low, aux};
}
std::uint64_t by_rdtsc() {
    return guest::rdtsc();
}
std::uint64_t by_rdtscp() {
    return rdtscp().tsc;
}
std::uint64_t by_rdmsr() {
    return guest::rdmsr(msr_tsc);
}

bool has_rdtscp() {
    if ((guest::cpuid(0x8000'0001, 0).edx >> 27 & 1) != 0 &&
        allowed_secondary().may_set(secondary::enable_rdtscp))
        return true;
    conform::not_applicable("no RDTSCP in L2");
    return false;
}

void expect_between(std::uint64_t low, std::uint64_t value, std::uint64_t high, const char* what,
                    const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) {
    expect(value >= low && value <= high,
           Text{what, ": ", Hex{value}, ", from ", Hex{low}, " to ", Hex{high}}, file, line);
}

// L2 reads the TSC with an offset, over several entries with other offsets, and L1 has its own.
void offset(std::uint64_t (*reads)(), bool on) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        for (;;) {
            seen = reads();
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    if (on && !use_primary(primary::use_tsc_offsetting))
        return;
    if (!on)
        clear(Field::primary_controls, primary::use_tsc_offsetting);
    for (const auto value : {by, std::uint64_t{0}, by * 3, ~std::uint64_t{0} - by}) {
        write(Field::tsc_offset, value);
        const auto added = on ? value : 0;
        const auto before = guest::rdtsc();
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        const auto after = guest::rdtsc();
        expect(after >= before, "the TSC of L1 goes forward over L2's run");
        expect(after - before < by, "the offset has not got into the TSC of L1");
        expect_between(before, seen - added, after, "TSC in L2 without the offset");
        guest.skip();
    }
}

} // namespace

VMX_TEST(tsc_offset_rdtsc, "vmx.tsc.offset_rdtsc", "RDTSC in L2 has the TSC offset added", OFFSET) {
    offset(&by_rdtsc, true);
}
VMX_TEST(tsc_offset_rdtscp, "vmx.tsc.offset_rdtscp", "RDTSCP in L2 has the TSC offset added", OFFSET) {
    if (has_rdtscp())
        offset(&by_rdtscp, true);
}
VMX_TEST(tsc_offset_rdmsr, "vmx.tsc.offset_rdmsr",
         "RDMSR of IA32_TIME_STAMP_COUNTER in L2 has the TSC offset added", OFFSET) {
    offset(&by_rdmsr, true);
}
VMX_TEST(tsc_no_offset_rdtsc, "vmx.tsc.no_offset_rdtsc", "Without TSC offsetting RDTSC in L2 has L1's TSC",
         OFFSET) {
    offset(&by_rdtsc, false);
}
VMX_TEST(tsc_no_offset_rdtscp, "vmx.tsc.no_offset_rdtscp", "Without TSC offsetting RDTSCP in L2 has L1's TSC",
         OFFSET) {
    if (has_rdtscp())
        offset(&by_rdtscp, false);
}
VMX_TEST(tsc_no_offset_rdmsr, "vmx.tsc.no_offset_rdmsr",
         "Without TSC offsetting RDMSR of IA32_TIME_STAMP_COUNTER in L2 has L1's TSC", OFFSET) {
    offset(&by_rdmsr, false);
}

VMX_TEST(tsc_offset_kept, "vmx.tsc.offset_kept", "The TSC offset is as L1 wrote it after exits", OFFSET) {
    L2 guest;
    auto code = [] { by_rdtsc(); };
    guest.start(code);
    if (!use_primary(primary::use_tsc_offsetting))
        return;
    write(Field::tsc_offset, by);
    guest.run_to_end();
    expect_equal(read(Field::tsc_offset), by, "TSC offset");
}

VMX_TEST(tsc_two_guests, "vmx.tsc.two_guests", "The TSC offset is each VMCS's own", OFFSET) {
    L2 first;
    L2 second;
    std::uint64_t seen = 0;
    auto code = [&] {
        for (;;) {
            seen = by_rdtsc();
            guest::cpuid(0, 0);
        }
    };
    second.start(code);
    if (!use_primary(primary::use_tsc_offsetting))
        return;
    write(Field::tsc_offset, by);
    first.load();
    first.start(code);
    for (int i = 0; i < 4; ++i) {
        auto& guest = i % 2 == 0 ? first : second;
        guest.load();
        const auto added = i % 2 == 0 ? 0 : by;
        const auto before = guest::rdtsc();
        if (!guest.run_to(ExitReason::cpuid, "CPUID"))
            return;
        expect_between(before, seen - added, guest::rdtsc(), "TSC in L2 without its offset");
        guest.skip();
    }
}

VMX_TEST(tsc_failed_entry, "vmx.tsc.failed_entry", "A VM entry that fails leaves L1's TSC without the offset",
         OFFSET) {
    for (const bool late : {false, true}) {
        L2 guest;
        auto code = [] {};
        guest.start(code);
        if (!use_primary(primary::use_tsc_offsetting))
            return;
        write(Field::tsc_offset, by);
        if (late) {
            write(Field::entry_msr_load_count, 1);
            auto* const list = static_cast<std::uint32_t*>(conform::allocate_pages(1));
            list[0] = msr::fs_base; // not allowed there
            write(Field::entry_msr_load_address, conform::physical(list));
        } else {
            write(Field::guest_rflags, 0);
        }
        const auto before = guest::rdtsc();
        const auto entry = guest.try_run();
        const auto after = guest::rdtsc();
        expect_equal(entry.reason, late ? 0x8000'0022U : 0x8000'0021U, "exit reason");
        expect(after >= before && after - before < by,
               Text{"TSC before ", Hex{before}, ", after ", Hex{after}});
    }
}

// Writes. L2's, where L1 does not intercept them, are to the TSC that L1 has.
VMX_TEST(tsc_write_l2, "vmx.tsc.write_in_l2",
         "WRMSR of IA32_TIME_STAMP_COUNTER in L2 moves L1's TSC, without the offset", INSTRUCTIONS) {
    for (const bool on : {false, true}) {
        L2 guest;
        const auto target = guest::rdtsc() + 0x100'0000'0000;
        std::uint64_t seen = 0;
        auto code = [&] {
            guest::wrmsr(msr_tsc, target);
            seen = by_rdtsc();
        };
        guest.start(code);
        if (on && !use_primary(primary::use_tsc_offsetting))
            return;
        write(Field::tsc_offset, by);
        guest.run_to_end();
        const auto after = guest::rdtsc();
        // WRMSR is not subject to the offset, reads are.
        expect_between(target, after, target + 0x10'0000'0000, "TSC of L1 after the exit");
        expect_between(target, seen - (on ? by : 0), after, "TSC in L2 without the offset");
    }
}
VMX_TEST(tsc_write_l1, "vmx.tsc.write_in_l1", "A write of L1's to its TSC moves that of L2, the offset added",
         OFFSET) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] {
        for (;;) {
            seen = by_rdtsc();
            guest::cpuid(0, 0);
        }
    };
    guest.start(code);
    if (!use_primary(primary::use_tsc_offsetting))
        return;
    write(Field::tsc_offset, by);
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    guest.skip();
    guest::wrmsr(msr_tsc, guest::rdtsc() + 0x200'0000'0000);
    const auto before = guest::rdtsc();
    if (!guest.run_to(ExitReason::cpuid, "CPUID"))
        return;
    expect_between(before, seen - by, guest::rdtsc(), "TSC in L2 without the offset");
}

// Exits.
namespace {

L2_CODE(l2_vc_rdtsc, 64, "rdtsc; vmcall");
L2_CODE(l2_vc_rdtscp, 64, "rdtscp; vmcall");

void exits(const char* code, ExitReason reason, std::uint64_t length) {
    L2 guest;
    start_code(guest, code);
    if (!use_primary(primary::rdtsc_exiting))
        return;
    if (!guest.run_to(reason, "RDTSC or RDTSCP"))
        return;
    expect_equal(read(Field::guest_rip), address_of(code), "guest RIP");
    expect_equal(read(Field::exit_instruction_length), length, "VM-exit instruction length");
    expect_equal(read(Field::exit_qualification), 0U, "exit qualification");
    clear(Field::primary_controls, primary::rdtsc_exiting);
    guest.run_to(ExitReason::vmcall, "without the control");
}

} // namespace

VMX_TEST(tsc_rdtsc_exits, "vmx.tsc.rdtsc_exits", "RDTSC leaves L2 with RDTSC exiting", INSTRUCTIONS) {
    exits(l2_vc_rdtsc, ExitReason::rdtsc, 2);
}
VMX_TEST(tsc_rdtscp_exits, "vmx.tsc.rdtscp_exits", "RDTSCP leaves L2 with RDTSC exiting", INSTRUCTIONS) {
    if (has_rdtscp())
        exits(l2_vc_rdtscp, ExitReason::rdtscp, 3);
}
VMX_TEST(tsc_rdtscp_off, "vmx.tsc.rdtscp_off",
         "RDTSCP is #UD in L2 without \"enable RDTSCP\", with and without RDTSC exiting", INSTRUCTIONS) {
    if (!has_rdtscp())
        return;
    for (const bool exiting : {false, true}) {
        L2 guest;
        guest::Fault fault;
        auto code = [&] { fault = guest::catch_fault([] { rdtscp(); }); };
        guest.start(code);
        clear(Field::secondary_controls, secondary::enable_rdtscp);
        if (exiting)
            set(Field::primary_controls, primary::rdtsc_exiting);
        guest.run_to_end();
        expect(fault.is(6), "#UD");
    }
}
VMX_TEST(tsc_tsd, "vmx.tsc.tsd_before_exit", "RDTSC in ring 3 with CR4.TSD is #GP(0) in L2, not an exit",
         INSTRUCTIONS) {
    L2 guest;
    std::uint64_t done = 0;
    auto code = [&] {
        by_rdtsc();
        done = 1;
    };
    guest.start(code);
    begin_in_ring_3(guest);
    if (!use_primary(primary::rdtsc_exiting))
        return;
    set(Field::guest_cr4, 4);
    guest.intercept_exception(13);
    if (guest.run_to(ExitReason::exception_or_nmi, "#GP"))
        expect_equal(read(Field::exit_interruption_information) & 0xff, 13U, "vector");
    expect_equal(done, 0U, "the code behind RDTSC");
}

// The MSRs around it.
VMX_TEST(tsc_aux, "vmx.tsc.aux", "RDTSCP in L2 has IA32_TSC_AUX, which L1 and L2 share", INSTRUCTIONS) {
    if (!has_rdtscp())
        return;
    L2 guest;
    std::uint32_t first = 0;
    std::uint32_t second = 0;
    auto code = [&] {
        first = rdtscp().aux;
        guest::wrmsr(msr_tsc_aux, 0x4321);
        second = rdtscp().aux;
    };
    guest.start(code);
    guest::wrmsr(msr_tsc_aux, 0x1234);
    guest.run_to_end();
    expect_equal(first, 0x1234U, "in L2");
    expect_equal(second, 0x4321U, "in L2 after its WRMSR");
    expect_equal(rdtscp().aux, 0x4321U, "in L1");
}
VMX_TEST(tsc_adjust, "vmx.tsc.adjust",
         "IA32_TSC_ADJUST in L2 is L1's: a write moves the TSC of both by the difference", INSTRUCTIONS) {
    if ((guest::cpuid(7, 0).ebx >> 1 & 1) == 0)
        return conform::not_applicable("no IA32_TSC_ADJUST");
    for (const bool on : {false, true}) {
        L2 guest;
        constexpr std::uint64_t step = 0x300'0000'0000;
        std::uint64_t adjust = 0;
        std::uint64_t first = 0;
        std::uint64_t second = 0;
        auto code = [&] {
            adjust = guest::rdmsr(msr_tsc_adjust);
            first = by_rdtsc();
            guest::wrmsr(msr_tsc_adjust, adjust + step);
            second = by_rdtsc();
        };
        guest.start(code);
        if (on && !use_primary(primary::use_tsc_offsetting))
            return;
        write(Field::tsc_offset, by);
        const auto mine = guest::rdmsr(msr_tsc_adjust);
        guest.run_to_end();
        const auto after = guest::rdtsc();
        const auto added = on ? by : 0;
        expect_equal(adjust, mine, "IA32_TSC_ADJUST in L2: without the offset");
        expect_equal(guest::rdmsr(msr_tsc_adjust), mine + step, "IA32_TSC_ADJUST in L1 after L2's write");
        expect_between(first + step, second, after + added, "TSC in L2 after the write");
        expect(after >= first - added + step, "TSC of L1 after the write");
    }
}
VMX_TEST(tsc_adjust_write, "vmx.tsc.adjust_by_write",
         "A write of L2's to IA32_TIME_STAMP_COUNTER shows in IA32_TSC_ADJUST", INSTRUCTIONS) {
    if ((guest::cpuid(7, 0).ebx >> 1 & 1) == 0)
        return conform::not_applicable("no IA32_TSC_ADJUST");
    L2 guest;
    constexpr std::uint64_t step = 0x400'0000'0000;
    auto code = [&] { guest::wrmsr(msr_tsc, guest::rdtsc() + step); };
    guest.start(code);
    const auto mine = guest::rdmsr(msr_tsc_adjust);
    guest.run_to_end();
    const auto now = guest::rdmsr(msr_tsc_adjust) - mine;
    // RDTSC and WRMSR are not one.
    expect_between(step - 0x1'0000'0000, now, step, "IA32_TSC_ADJUST, what was added");
}
VMX_TEST(tsc_deadline, "vmx.tsc.deadline",
         "A TSC deadline that L2 sets is of L1's APIC and L1's TSC, whatever the offset", INSTRUCTIONS) {
    if (!has_timer())
        return conform::not_applicable("no TSC-deadline timer");
    count_interrupts(0x63);
    L2 guest;
    std::uint64_t deadline = 0;
    auto code = [&] {
        guest::apic::write(guest::apic::Register::lvt_timer, std::uint64_t{2} << 17 | 0x63);
        deadline = guest::rdtsc() - by + 3'000'000;
        guest::wrmsr(guest::apic::tsc_deadline_msr, deadline);
        for (;;)
            guest::pause();
    };
    guest.start(code);
    if (!use_primary(primary::use_tsc_offsetting))
        return;
    write(Field::tsc_offset, by);
    write(Field::guest_rflags, rflags_fixed | rflags_if);
    if (!guest.run_to(ExitReason::external_interrupt, "the timer"))
        return;
    const auto now = guest::rdtsc();
    expect(now >= deadline, Text{"TSC ", Hex{now}, ", deadline ", Hex{deadline}});
    guest::enable_interrupts();
    settle();
    expect_equal(interrupts_taken(0x63), 1U, "interrupts that L1 has taken");
}

// Scaling.
namespace {

constexpr std::uint64_t one = std::uint64_t{1} << 48;

void scaled(std::uint64_t (*reads)(), std::uint64_t multiplier, std::uint64_t added) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = reads(); };
    guest.start(code);
    if (!use_primary(primary::use_tsc_offsetting) || !use_secondary(secondary::use_tsc_scaling))
        return;
    write(Field::tsc_multiplier, multiplier);
    write(Field::tsc_offset, added);
    const auto scale = [&](std::uint64_t value) {
        return static_cast<std::uint64_t>(static_cast<unsigned __int128>(value) * multiplier >> 48) + added;
    };
    const auto before = guest::rdtsc();
    guest.run_to_end();
    const auto after = guest::rdtsc();
    expect(after >= before && after - before < 0x10'0000'0000, "the TSC of L1 is not scaled");
    // Multipliers of two levels are rounded to 48 bits of fraction on the way.
    constexpr std::uint64_t slack = 0x1000;
    expect_between(scale(before) - slack, seen, scale(after) + slack, "TSC in L2");
}

} // namespace

#define SCALED(name, reads, multiplier, added, text)                                                         \
    VMX_TEST(tsc_scaled_##name, "vmx.tsc.scaled_" #name, "TSC scaling: " text, OFFSET) {                     \
        scaled(&reads, multiplier, added);                                                                   \
    }
SCALED(double, by_rdtsc, one * 2, 0, "RDTSC counts twice as fast with a multiplier of 2")
SCALED(half, by_rdtsc, one / 2, 0, "RDTSC counts half as fast with a multiplier of 1/2")
SCALED(one, by_rdtsc, one, by, "RDTSC with a multiplier of 1 has the offset added")
SCALED(offset, by_rdtsc, one + one / 4, by, "RDTSC is multiplied first, then the offset added")
SCALED(rdmsr, by_rdmsr, one * 3, by, "RDMSR of IA32_TIME_STAMP_COUNTER is scaled as RDTSC is")
VMX_TEST(tsc_scaling_alone, "vmx.tsc.scaling_without_offsetting",
         "TSC scaling without TSC offsetting does nothing", OFFSET) {
    L2 guest;
    std::uint64_t seen = 0;
    auto code = [&] { seen = by_rdtsc(); };
    guest.start(code);
    if (!use_secondary(secondary::use_tsc_scaling))
        return;
    clear(Field::primary_controls, primary::use_tsc_offsetting);
    write(Field::tsc_multiplier, one * 2);
    write(Field::tsc_offset, by);
    const auto before = guest::rdtsc();
    guest.run_to_end();
    expect_between(before, seen, guest::rdtsc(), "TSC in L2");
}

} // namespace nestbed::vmx
