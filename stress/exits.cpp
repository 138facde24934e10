#include <array>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "stress/checks.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::exits;

constexpr std::uint64_t samples_alone = 1000;
constexpr std::size_t warmup = 100;
constexpr std::uint64_t exits_together = 20;

struct Kind {
    job::Kind kind;
    std::string_view name;
};
constexpr std::array kinds{
    Kind{job::port_out, "port_out"}, Kind{job::port_in, "port_in"},   Kind{job::cpuid, "cpuid"},
    Kind{job::read_msr, "read_msr"}, Kind{job::self_ipi, "self_ipi"},
};

std::vector<std::uint64_t> counts(const machine::Machine& machine) {
    std::vector<std::uint64_t> values;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu)
        values.push_back(machine.exits_counted(vcpu));
    return values;
}

// On vCPU 0 while the others are halted: what one exit costs.
Result<report::Measurement> measure_alone(const DriverContext& context, const Kind& kind) {
    auto& machine = context.machine;
    Scratch scratch{machine};
    const auto ticks = scratch.table<std::uint64_t>(samples_alone);
    if (!ticks)
        return tl::unexpected{ticks.error()};
    auto request = on_all(context, "exits.cost", {kind.kind, samples_alone, ticks->address});
    request.end_vcpu = 1;
    if (auto ran = machine.run_job(request); !ran)
        return tl::unexpected{ran.error()};
    std::vector<double> us;
    for (const std::uint64_t value : ticks->entries)
        us.push_back(ticks_to_us(machine, value));
    return report::measure(std::string{kind.name}, "us", us, warmup);
}

} // namespace

Result<Finding> check_exits(const DriverContext& context) {
    auto& machine = context.machine;
    const auto before = counts(machine);
    Finding finding{.good = true, .summary = {}};
    for (const auto& kind : kinds) {
        auto measured = measure_alone(context, kind);
        if (!measured)
            return tl::unexpected{measured.error()};
        finding.measurements.push_back(std::move(*measured));
    }
    if (auto ran = machine.run_job(on_all(context, "exits.cost", {job::port_out, exits_together, 0})); !ran)
        return tl::unexpected{ran.error()};

    // Two of the kinds measured alone reach user space, and the last job on every vCPU.
    const auto after = counts(machine);
    std::vector<std::string> wrong;
    std::uint64_t total = 0;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        const auto arrived = after[vcpu] - before[vcpu];
        const auto made = exits_together + (vcpu == 0 ? 2 * samples_alone : 0);
        total += arrived;
        if (arrived != made)
            wrong.push_back(fmt::format("vCPU {}: {} exits made, {} arrived", vcpu, made, arrived));
    }
    finding.good = wrong.empty();
    finding.summary =
        fmt::format("{} exits to user space, {} wrong; median", total, vcpus_text(wrong.size()));
    for (const auto& measurement : finding.measurements)
        finding.summary += fmt::format(" {} {:.1f}", measurement.name, measurement.summary.median);
    finding.summary += " us";
    finding.details = capped(std::move(wrong));
    return finding;
}

} // namespace nestbed::stress
