// The drivers of L2 guests that run on a machine that is made for them.
#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/l2_exits.hpp"
#include "stress/drivers/l2_tenants.hpp"
#include "stress/drivers/l2_vendor.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::stress {

namespace {

namespace exits = wire::l2_exit_mix;
namespace tenants = wire::l2_tenants;

constexpr std::uint64_t tenants_per_vcpu = 8;
// Latest samples that are kept, of each vCPU and kind.
constexpr std::uint64_t most_samples = 64 * 1024;

std::uint64_t samples_each(std::uint32_t vcpus) {
    return std::clamp<std::uint64_t>(most_samples / vcpus, 16, 1024);
}

std::uint64_t tenant_pages(std::uint32_t vcpus) {
    return vcpus * (l2_pages_per_vcpu() + tenants_per_vcpu * l2_pages_per_guest);
}

std::uint64_t tenant_memory(std::uint32_t vcpus) {
    return round_up(tenant_pages(vcpus) * nestbed::wire::page_bytes +
                        vcpus * (tenants_per_vcpu * (sizeof(tenants::Tenant) + sizeof(std::uint64_t)) +
                                 tenants::kinds * samples_each(vcpus) * sizeof(std::uint32_t)),
                    2 * MiB) +
           2 * MiB;
}

Result<Counted> run_tenants(const StressContext& context, std::string_view job) {
    auto& machine = *context.machine;
    const auto* const vendor = l2_vendor(machine.cpuid());
    if (vendor == nullptr)
        return skipped(std::string{no_l2_vendor});
    const auto vcpus = machine.vcpus();
    const auto each = samples_each(vcpus);
    Scratch scratch{machine};
    const auto unused = scratch.table<std::uint64_t>(1); // prepare_l2() has it
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto told = scratch.table<tenants::Tenant>(vcpus * tenants_per_vcpu);
    const auto samples = scratch.table<std::uint32_t>(vcpus * tenants::kinds * each);
    const auto pool = scratch.table<std::uint64_t>(vcpus * tenants_per_vcpu);
    const auto free = scratch.pages(l2_shared_pages(machine.plan().memory_bytes()) + tenant_pages(vcpus));
    if (auto placed = first_error(unused, stop, told, samples, pool, free); !placed)
        return tl::unexpected{placed.error()};
    const auto on = on_machine(context);
    const auto paging = prepare_l2(on, *vendor, *free);
    if (!paging)
        return tl::unexpected{paging.error()};
    const auto name = l2_job(job, *vendor);
    const auto paced = run_until_stopped(context,
                                         on_all(on, name,
                                                {*free, stop->address, told->address, tenants_per_vcpu,
                                                 context.seed, samples->address, each, pool->address}),
                                         *stop);
    if (!paced)
        return tl::unexpected{paced.error()};

    const std::vector<tenants::Tenant> seen{told->entries.begin(), told->entries.end()};
    auto wrong = judge_tenants(seen, tenants_per_vcpu, *vendor);
    const auto totals = total(seen);
    Counted counted{.verdict = verdict_of(wrong), .seconds = paced->seconds};
    counted.operations = static_cast<double>(totals.exits);
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        counted.per_vcpu.push_back(static_cast<double>(
            total(std::span{seen}.subspan(vcpu * tenants_per_vcpu, tenants_per_vcpu)).exits));
    counted.summary = fmt::format(
        "{} L2 guests{}: {} exits, {} interrupts injected, {} canaries compared, {} moves; {} guests wrong",
        seen.size(), *paging ? "" : " without nested paging", totals.exits, totals.injected, totals.checked,
        totals.moves, wrong.size());
    counted.details = capped(std::move(wrong));
    counted.facts = {{"l2_guests", static_cast<double>(seen.size())},
                     {"interrupts", static_cast<double>(totals.injected)},
                     {"moves", static_cast<double>(totals.moves)},
                     {"nested_paging", *paging ? 1.0 : 0.0}};
    for (std::size_t kind = 0; kind < tenants::kinds; ++kind) {
        std::vector<double> us;
        for (std::size_t vcpu = 0; vcpu < vcpus; ++vcpu)
            for (std::uint64_t i = 0; i < each; ++i)
                if (const auto ticks = samples->entries[(vcpu * tenants::kinds + kind) * each + i];
                    ticks != 0)
                    us.push_back(ticks_to_us(machine, ticks));
        if (!us.empty())
            counted.distributions.push_back(distribution(std::string{vendor->kinds[kind]}, "us", us));
    }
    return counted;
}

Result<Counted> run_swarm(const StressContext& context) {
    return run_tenants(context, "nested.l2_swarm");
}

Result<Counted> run_migrate(const StressContext& context) {
    auto counted = run_tenants(context, "nested.l2_migrate");
    if (!counted)
        return counted;
    // Which vCPU ran it is not known: any did.
    counted->per_vcpu.clear();
    if (counted->verdict == report::Verdict::pass && counted->facts["moves"] == 0) {
        counted->verdict = report::Verdict::fail;
        counted->details.emplace_back("no L2 guest has moved to another vCPU");
    }
    return counted;
}

std::uint64_t exit_pages(std::uint32_t vcpus) {
    return vcpus * (l2_pages_per_vcpu() + l2_pages_per_guest);
}
std::uint64_t exit_memory(std::uint32_t vcpus) {
    return round_up(exit_pages(vcpus) * nestbed::wire::page_bytes +
                        vcpus * tenants::kinds *
                            (samples_each(vcpus) * sizeof(std::uint32_t) + sizeof(exits::Counts)),
                    2 * MiB) +
           2 * MiB;
}

Result<Counted> run_exits(const StressContext& context) {
    auto& machine = *context.machine;
    const auto* const vendor = l2_vendor(machine.cpuid());
    if (vendor == nullptr)
        return skipped(std::string{no_l2_vendor});
    const auto vcpus = machine.vcpus();
    const auto each = samples_each(vcpus);
    Scratch scratch{machine};
    const auto unused = scratch.table<std::uint64_t>(1); // prepare_l2() has it
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto counts = scratch.table<exits::Counts>(vcpus * exits::kinds);
    const auto samples = scratch.table<std::uint32_t>(vcpus * exits::kinds * each);
    const auto free = scratch.pages(l2_shared_pages(machine.plan().memory_bytes()) + exit_pages(vcpus));
    if (auto placed = first_error(unused, stop, counts, samples, free); !placed)
        return tl::unexpected{placed.error()};
    const auto on = on_machine(context);
    const auto paging = prepare_l2(on, *vendor, *free);
    if (!paging)
        return tl::unexpected{paging.error()};
    const auto name = l2_job("nested.l2_exit_mix", *vendor);
    const auto paced = run_until_stopped(
        context, on_all(on, name, {*free, stop->address, samples->address, each, counts->address}), *stop);
    if (!paced)
        return tl::unexpected{paced.error()};

    const std::vector<exits::Counts> seen{counts->entries.begin(), counts->entries.end()};
    auto wrong = judge_l2_exits(seen, *paging, *vendor);
    Counted counted{.verdict = verdict_of(wrong), .seconds = paced->seconds};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        double own = 0;
        for (std::size_t kind = 0; kind < exits::kinds; ++kind)
            own += static_cast<double>(seen[vcpu * exits::kinds + kind].handled);
        counted.per_vcpu.push_back(own);
        counted.operations += own;
    }
    counted.summary = fmt::format("{:.0f} exits of L2 on {}, {} wrong", counted.operations, vcpus_text(vcpus),
                                  wrong.size());
    counted.details = capped(std::move(wrong));
    counted.facts = {{"nested_paging", *paging ? 1.0 : 0.0}};
    for (std::size_t kind = 0; kind < exits::kinds; ++kind) {
        std::vector<double> us;
        for (std::size_t vcpu = 0; vcpu < vcpus; ++vcpu)
            for (std::uint64_t i = 0; i < std::min(seen[vcpu * exits::kinds + kind].made, each); ++i)
                us.push_back(ticks_to_us(machine, samples->entries[(vcpu * exits::kinds + kind) * each + i]));
        if (!us.empty())
            counted.distributions.push_back(distribution(std::string{vendor->kinds[kind]}, "us", us));
    }
    return counted;
}

constexpr std::array drivers{
    StressDriver{.name = "l2-exits",
                 .title = "L2 on each vCPU leaves by one kind of exit after the other",
                 .invariant = "L1 sees each exit that L2 makes once, and no other",
                 .unit = "exits",
                 .run = &run_exits,
                 .nested = true,
                 .more_memory = &exit_memory},
    StressDriver{.name = "l2-swarm",
                 .title = "Eight L2 guests on each vCPU leave by random exits and take interrupts",
                 .invariant = "each exit is seen once by L1, each interrupt that L1 injects is taken once by "
                              "that L2, and no register or word of an L2 is changed by another",
                 .unit = "exits",
                 .run = &run_swarm,
                 .nested = true,
                 .more_memory = &tenant_memory},
    StressDriver{.name = "l2-migrate-vcpu",
                 .title = "L2 guests whose VMCB or VMCS moves from vCPU to vCPU",
                 .invariant = "as of l2-swarm, whichever vCPU runs the L2",
                 .unit = "exits",
                 .run = &run_migrate,
                 .least_vcpus = 2,
                 .nested = true,
                 .more_memory = &tenant_memory},
};

} // namespace

std::span<const StressDriver> nested_drivers() {
    return drivers;
}

} // namespace nestbed::stress
