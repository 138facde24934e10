#include "core/guest/runtime.hpp"
#include "stress/guest/l2_svm.hpp"
#include "stress/guest/l2_tables.hpp"
#include "stress/guest/l2_vmx.hpp"
#include "stress/guest/patience.hpp"
#include "stress/wire/jobs.hpp"
#include "stress/wire/l2_exit_mix.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::l2_exits;
using conform::L2Exit;

// What L2 does over and over, each instruction of a length that L1 knows.
template<typename Driver>
void exit_once(std::uint64_t which) {
    switch (which) {
    case Kind::cpuid: {
        std::uint32_t eax = 0;
        std::uint32_t ecx = 0;
        asm volatile("cpuid" : "+a"(eax), "+c"(ecx) : : "ebx", "edx");
        break;
    }
    case Kind::hypercall:
        Driver::hypercall();
        break;
    case Kind::io:
        asm volatile("outl %0, %1" : : "a"(0), "d"(wire::exit_port));
        break;
    case Kind::msr: {
        std::uint32_t low = 0;
        std::uint32_t high = 0;
        asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc000'0081)); // STAR
        break;
    }
    case Kind::nested_page_fault: {
        std::uint64_t value = 0;
        asm volatile("movq (%1), %0" : "=D"(value) : "S"(l2_hole) : "memory");
        break;
    }
    default:
        break;
    }
}

struct Expected {
    L2Exit exit;
    std::uint64_t instruction_bytes;
};

constexpr Expected expected_exit(std::uint64_t which) {
    switch (which) {
    case Kind::cpuid:
        return {L2Exit::cpuid, 2};
    case Kind::hypercall:
        return {L2Exit::hypercall, 3};
    case Kind::io:
        return {L2Exit::io, 1};
    case Kind::msr:
        return {L2Exit::msr, 2};
    default:
        return {L2Exit::nested_page_fault, 3};
    }
}

template<typename Driver>
void prepare(bool vmmcall) {
    leave_l2_by_vmmcall(vmmcall);
    if (!Driver::has_nested_paging())
        return;
    auto& built = conform::allocate<typename Driver::Tables>();
    built = Driver::make_tables();
    store(built_tables<Driver>, &built);
    store(*pointer_to<std::uint64_t>(job_argument(paging)), std::uint64_t{1});
}

template<typename Driver>
void leave_and_enter() {
    auto& mailbox = this_vcpu();
    const auto loops = job_argument(rounds);
    auto* const times = pointer_to<std::uint64_t>(job_argument(samples)) + mailbox.vcpu * kinds * loops;
    auto* const counts = pointer_to<Counts>(job_argument(Argument::counts)) + mailbox.vcpu * kinds;
    const auto fewest = job_argument(least);
    const auto ticks = job_argument(Argument::patience);
    Driver::enable();
    Driver l2{shared_tables<Driver>()};
    for (std::uint64_t kind = 0; kind < kinds; ++kind) {
        if (kind == Kind::nested_page_fault && shared_tables<Driver>() == nullptr)
            continue;
        auto& mine = counts[kind];
        auto code = [&] {
            const Patience patience{ticks, fewest};
            for (std::uint64_t round = 0; round < loops; ++round) {
                if (patience.ends_before(round)) {
                    mine.given_up = 1;
                    break;
                }
                const auto start = rdtsc();
                exit_once<Driver>(kind);
                times[kind * loops + round] = rdtsc() - start;
                ++mine.made;
            }
        };
        l2.start(code);
        const auto expected = expected_exit(kind);
        while (mine.handled + mine.wrong <= loops) {
            const auto exit = l2.enter();
            if (exit == L2Exit::interrupt)
                continue; // a wake-up for L1
            if (l2.at_end())
                break;
            if (exit != expected.exit) {
                ++mine.wrong;
                mine.wrong_code = l2.code();
                break; // there is no telling how to go on
            }
            ++mine.handled;
            l2.skip(expected.instruction_bytes);
        }
        mine.ended = l2.at_end() ? 1 : 0;
    }
}

// One turn of a kind: in_a_row exits, all of which both sides count. False where there is no telling how to
// go on.
template<typename Driver>
bool exit_in_a_row(Driver& l2, std::uint64_t kind, Counts& mine, std::uint32_t* samples, std::uint64_t each) {
    namespace mix = stress::wire::l2_exit_mix;
    auto code = [&] {
        for (std::uint64_t i = 0; i < mix::in_a_row; ++i) {
            const auto start = rdtsc();
            exit_once<Driver>(kind);
            const auto ticks = rdtsc() - start;
            constexpr std::uint64_t most = ~std::uint32_t{0};
            samples[mine.made % each] = static_cast<std::uint32_t>(ticks < most ? ticks : most);
            ++mine.made;
        }
    };
    l2.start(code);
    const auto expected = expected_exit(kind);
    mine.ended = 0;
    for (;;) {
        const auto exit = l2.enter();
        if (exit == L2Exit::interrupt)
            continue;
        if (l2.at_end())
            break;
        if (exit != expected.exit) {
            ++mine.wrong;
            mine.wrong_code = l2.code();
            return false;
        }
        ++mine.handled;
        l2.skip(expected.instruction_bytes);
    }
    mine.ended = 1;
    return true;
}

template<typename Driver>
void exit_until_stopped() {
    namespace mix = stress::wire::l2_exit_mix;
    const std::uint64_t vcpu = this_vcpu().vcpu;
    const auto& stopped = *pointer_to<std::uint64_t>(job_argument(mix::stop));
    const auto each = job_argument(mix::samples_each);
    auto* const samples = pointer_to<std::uint32_t>(job_argument(mix::samples)) + vcpu * mix::kinds * each;
    auto* const counts = pointer_to<Counts>(job_argument(mix::counts)) + vcpu * mix::kinds;
    const auto present = shared_tables<Driver>() == nullptr ? mix::kinds - 1 : mix::kinds;
    Driver::enable();
    Driver l2{shared_tables<Driver>()};
    do
        for (std::uint64_t kind = 0; kind < present; ++kind)
            if (!exit_in_a_row(l2, kind, counts[kind], samples + kind * each, each))
                return;
    while (load(stopped) == 0);
}

} // namespace

NESTBED_JOB(l2_exit_mix_svm, "nested.l2_exit_mix_svm",
            "L2 on every vCPU leaves and enters until it is told to stop", "APM volume 2, 15.6") {
    exit_until_stopped<SvmDriver>();
}
NESTBED_JOB(l2_exit_mix_vmx, "nested.l2_exit_mix_vmx",
            "L2 on every vCPU leaves and enters until it is told to stop", "SDM volume 3, VM Exits") {
    exit_until_stopped<VmxDriver>();
}

NESTBED_JOB(l2_prepare_svm, "nested.l2_prepare_svm", "Builds what the L2 guests share; on one vCPU",
            "APM volume 2, 15.25.5") {
    prepare<SvmDriver>(true);
}
NESTBED_JOB(l2_prepare_vmx, "nested.l2_prepare_vmx", "Builds what the L2 guests share; on one vCPU",
            "SDM volume 3, The Extended Page Table Mechanism (EPT)") {
    prepare<VmxDriver>(false);
}

NESTBED_JOB(l2_exits_svm, "nested.l2_exits_svm", "L2 on every vCPU leaves and enters; both sides count",
            "APM volume 2, 15.6") {
    leave_and_enter<SvmDriver>();
}
NESTBED_JOB(l2_exits_vmx, "nested.l2_exits_vmx", "L2 on every vCPU leaves and enters; both sides count",
            "SDM volume 3, VM Exits") {
    leave_and_enter<VmxDriver>();
}

} // namespace nestbed::guest
