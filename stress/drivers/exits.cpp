#include "stress/drivers/exits.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::exit_mix;

constexpr std::array<std::string_view, job::kinds> kind_names{"pio", "mmio", "msr", "cpuid", "hlt"};

// Latest samples that are kept, of each kind.
constexpr std::uint64_t most_samples = 64 * 1024;
constexpr std::uint64_t least_samples_each = 16;
constexpr std::uint64_t most_samples_each = 4096;

Result<Counted> run_exits(const StressContext& context) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    const auto each = std::clamp(most_samples / vcpus, least_samples_each, most_samples_each);
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto counts = scratch.table<job::Counts>(vcpus);
    const auto samples = scratch.table<std::uint32_t>(vcpus * job::kinds * each);
    if (auto placed = first_error(stop, counts, samples); !placed)
        return tl::unexpected{placed.error()};
    const auto arrived_at = [&](std::uint32_t vcpu) {
        return ExitsArrived{machine.exits_counted(vcpu), machine.mmio_counted(vcpu), 0};
    };
    std::vector<ExitsArrived> before;
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        before.push_back(arrived_at(vcpu));
    const auto paced =
        run_until_stopped(context,
                          on_all(on_machine(context), "stress.exits",
                                 {stop->address, counts->address, samples->address, each, UINT64_MAX}),
                          *stop);
    if (!paced)
        return tl::unexpected{paced.error()};

    const std::vector<job::Counts> made{counts->entries.begin(), counts->entries.end()};
    std::vector<ExitsArrived> arrived;
    Counted counted{.seconds = paced->seconds};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        const auto now = arrived_at(vcpu);
        arrived.push_back(
            {now.pio - before[vcpu].pio, now.mmio - before[vcpu].mmio, job_value(machine, vcpu, job::taken)});
        double own = 0;
        for (const auto kind : made[vcpu].made)
            own += static_cast<double>(kind);
        counted.per_vcpu.push_back(own);
        counted.operations += own;
    }
    for (std::size_t kind = 0; kind < job::kinds; ++kind) {
        std::vector<double> us;
        for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
            const auto* const own = samples->entries.data() + (vcpu * job::kinds + kind) * each;
            for (std::uint64_t i = 0; i < std::min(made[vcpu].made[kind], each); ++i)
                us.push_back(ticks_to_us(machine, own[i]));
        }
        counted.distributions.push_back(distribution(std::string{kind_names[kind]}, "us", us));
    }
    auto wrong = judge_exits(made, arrived);
    counted.verdict = verdict_of(wrong);
    counted.summary = fmt::format("{:.0f} exits, {} wrong", counted.operations, wrong.size());
    counted.details = capped(std::move(wrong));
    return counted;
}

constexpr std::array drivers{
    StressDriver{.name = "exits",
                 .title = "Exits of every kind on all vCPUs: PIO, MMIO, MSR, CPUID, HLT",
                 .invariant =
                     "each access reaches user space once, each answer is the same as the first, and each "
                     "HLT ends with one interrupt",
                 .unit = "exits",
                 .run = &run_exits},
};

} // namespace

std::vector<std::string> judge_exits(std::span<const job::Counts> made,
                                     std::span<const ExitsArrived> arrived) {
    std::vector<std::string> wrong;
    for (std::size_t vcpu = 0; vcpu < made.size(); ++vcpu) {
        const auto& own = made[vcpu];
        const auto compare = [&](job::Kind kind, std::uint64_t seen) {
            if (own.made[kind] != seen)
                wrong.push_back(fmt::format("vCPU {}: {} of {} made, {} arrived", vcpu, own.made[kind],
                                            kind_names[kind], seen));
        };
        compare(job::pio, arrived[vcpu].pio);
        compare(job::mmio, arrived[vcpu].mmio);
        compare(job::hlt, arrived[vcpu].interrupts);
        for (std::size_t kind = 0; kind < job::kinds; ++kind)
            if (own.wrong[kind] != 0)
                wrong.push_back(fmt::format("vCPU {}: {} of {} {} answered otherwise than the first", vcpu,
                                            own.wrong[kind], own.made[kind], kind_names[kind]));
        for (std::size_t kind = 0; kind < job::kinds; ++kind)
            if (own.made[kind] == 0) {
                wrong.push_back(fmt::format("vCPU {}: made no {}", vcpu, kind_names[kind]));
                break;
            }
    }
    return wrong;
}

std::span<const StressDriver> exit_drivers() {
    return drivers;
}

} // namespace nestbed::stress
