#include "core/guest/runtime.hpp"
#include "nested/guest/memory.hpp"
#include "nested/svm/guest/l1.hpp"
#include "nested/svm/guest/l2.hpp"
#include "nested/svm/guest/npt.hpp"
#include "nested/svm/msr.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::guest {

namespace {

using namespace stress::wire::l2_exits;

// Nothing is there: neither L1's memory nor a device.
constexpr std::uint64_t hole = 0xf000'0000;

// What L2 does over and over, each instruction of a length that L1 knows.
void exit_once(std::uint64_t which) {
    switch (which) {
    case Kind::cpuid: {
        std::uint32_t eax = 0;
        std::uint32_t ecx = 0;
        asm volatile("cpuid" : "+a"(eax), "+c"(ecx) : : "ebx", "edx");
        break;
    }
    case Kind::vmmcall: {
        std::uint64_t rax = 0;
        asm volatile("vmmcall" : "+a"(rax) : : "memory");
        break;
    }
    case Kind::ioio:
        asm volatile("outl %0, %1" : : "a"(0), "d"(wire::exit_port));
        break;
    case Kind::msr: {
        std::uint32_t low = 0;
        std::uint32_t high = 0;
        asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(svm::msr::star));
        break;
    }
    case Kind::npf: {
        std::uint64_t value = 0;
        asm volatile("movq (%1), %0" : "=D"(value) : "S"(hole) : "memory");
        break;
    }
    default:
        break;
    }
}

struct Expected {
    svm::ExitCode code;
    std::uint64_t instruction_bytes;
};

constexpr Expected expected_exit(std::uint64_t which) {
    switch (which) {
    case Kind::cpuid:
        return {svm::ExitCode::cpuid, 2};
    case Kind::vmmcall:
        return {svm::ExitCode::vmmcall, 3};
    case Kind::ioio:
        return {svm::ExitCode::ioio, 1};
    case Kind::msr:
        return {svm::ExitCode::msr, 2};
    default:
        return {svm::ExitCode::npf, 3};
    }
}

// Shared by all vCPUs: L2 guests differ in nothing that they map.
svm::NestedPageTables* tables;

void prepare(svm::L2& l2) {
    l2.intercept(svm::Intercept::cpuid);
    l2.intercept(svm::Intercept::ioio_prot);
    l2.intercept(svm::Intercept::msr_prot);
    for (std::uint32_t port = wire::exit_port; port < wire::exit_port + 4; ++port)
        l2.iopm()[port / 8] = static_cast<std::uint8_t>(l2.iopm()[port / 8] | 1U << port % 8);
    // Two bits an MSR, 0xC0000000 to 0xC0001FFF from byte 0x800 (APM volume 2, 15.11).
    constexpr auto bit = (svm::msr::star - 0xc000'0000U) * 2;
    l2.msrpm()[0x800 + bit / 8] = static_cast<std::uint8_t>(l2.msrpm()[0x800 + bit / 8] | 1U << bit % 8);
    if (tables != nullptr)
        tables->use_in(l2);
}

} // namespace

NESTBED_JOB(l2_prepare, "nested.l2_prepare", "Builds what the L2 guests share; on one vCPU",
            "APM volume 2, 15.25.5") {
    if ((svm::svm_features() & 1) == 0)
        return;
    auto& built = conform::allocate<svm::NestedPageTables>();
    built = svm::NestedPageTables{svm::PageSize::m2};
    built.entry(hole, 1) = 0;
    store(tables, &built);
}

NESTBED_JOB(l2_exits_job, "nested.l2_exits", "L2 on every vCPU leaves and enters; both sides count",
            "APM volume 2, 15.6") {
    auto& mailbox = this_vcpu();
    const auto loops = job_argument(rounds);
    auto* const times = pointer_to<std::uint64_t>(job_argument(samples)) + mailbox.vcpu * kinds * loops;
    auto* const counts = pointer_to<Counts>(job_argument(Argument::counts)) + mailbox.vcpu * kinds;
    svm::enable();
    svm::L2 l2;
    prepare(l2);
    for (std::uint64_t kind = 0; kind < kinds; ++kind) {
        if (kind == Kind::npf && tables == nullptr)
            continue;
        auto& mine = counts[kind];
        auto code = [&] {
            for (std::uint64_t round = 0; round < loops; ++round) {
                const auto start = rdtsc();
                exit_once(kind);
                times[kind * loops + round] = rdtsc() - start;
                ++mine.made;
            }
        };
        l2.start(code);
        const auto expected = expected_exit(kind);
        while (mine.handled + mine.wrong <= loops) {
            const auto left = l2.enter_lean();
            if (left == svm::ExitCode::intr)
                continue; // a wake-up for L1
            if (l2.at_end())
                break;
            if (left != expected.code) {
                ++mine.wrong;
                mine.wrong_code = static_cast<std::uint64_t>(left);
                break; // there is no telling how to go on
            }
            ++mine.handled;
            l2.skip(expected.instruction_bytes);
        }
        mine.ended = l2.at_end() ? 1 : 0;
    }
}

} // namespace nestbed::guest
