#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "stress/checks.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::exits;

// Of each kind: as many as take a second at most, and a few in any case. A thousand take milliseconds; where
// the host is itself a guest of an emulated guest, minutes.
constexpr std::uint64_t most_alone = 1000;
constexpr std::uint64_t fewest_alone = 30;
constexpr std::uint64_t patience_ms = 1000;
constexpr std::uint64_t warmup_part = 10; // the first tenth
constexpr std::uint64_t exits_together = 20;

struct Kind {
    job::Kind kind;
    std::string_view name;
    bool reaches_user_space = false;
};
constexpr std::array kinds{
    Kind{job::port_out, "port_out", true}, Kind{job::port_in, "port_in", true}, Kind{job::cpuid, "cpuid"},
    Kind{job::read_msr, "read_msr"},       Kind{job::self_ipi, "self_ipi"},
};

std::vector<std::uint64_t> counts(const machine::Machine& machine) {
    std::vector<std::uint64_t> values;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu)
        values.push_back(machine.exits_counted(vcpu));
    return values;
}

struct Alone {
    std::uint64_t made;
    report::Measurement cost;
};

// On vCPU 0 while the others are halted: what one exit costs.
Result<Alone> measure_alone(const DriverContext& context, const Kind& kind) {
    auto& machine = context.machine;
    Scratch scratch{machine};
    const auto ticks = scratch.table<std::uint64_t>(most_alone);
    if (!ticks)
        return tl::unexpected{ticks.error()};
    auto request =
        on_all(context, "exits.cost",
               {kind.kind, most_alone, ticks->address, fewest_alone, patience_ms * machine.tsc_khz()});
    request.end_vcpu = 1;
    if (auto ran = machine.run_job(request); !ran)
        return tl::unexpected{ran.error()};
    const auto made = std::min(job_value(machine, 0, job::done), most_alone);
    std::vector<double> us;
    for (const std::uint64_t value : ticks->entries.first(made))
        us.push_back(ticks_to_us(machine, value));
    return Alone{.made = made, .cost = report::measure(std::string{kind.name}, "us", us, made / warmup_part)};
}

} // namespace

Result<Finding> check_exits(const DriverContext& context) {
    auto& machine = context.machine;
    const auto before = counts(machine);
    Finding finding{.good = true, .summary = {}};
    std::uint64_t made_alone = 0; // of those that reach user space
    std::vector<std::string> wrong;
    for (const auto& kind : kinds) {
        auto measured = measure_alone(context, kind);
        if (!measured)
            return tl::unexpected{measured.error()};
        if (kind.reaches_user_space)
            made_alone += measured->made;
        if (measured->made < fewest_alone)
            wrong.push_back(fmt::format("vCPU 0, {}: {} exits made, {} or more were to be", kind.name,
                                        measured->made, fewest_alone));
        finding.measurements.push_back(std::move(measured->cost));
    }
    if (auto ran = machine.run_job(on_all(context, "exits.cost", {job::port_out, exits_together, 0})); !ran)
        return tl::unexpected{ran.error()};

    const auto after = counts(machine);
    std::uint64_t total = 0;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        const auto arrived = after[vcpu] - before[vcpu];
        const auto made = exits_together + (vcpu == 0 ? made_alone : 0);
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
