#include "stress/drivers/tlb.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/l2_vendor.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::tlb;

constexpr std::uint64_t samples_each = 16 * 1024;
constexpr std::uint64_t pages = job::table_pages + job::places * job::window_pages;

std::uint64_t nested_pages(std::uint32_t vcpus) {
    return vcpus * (l2_pages_per_vcpu() + l2_pages_per_guest);
}
std::uint64_t nested_memory(std::uint32_t vcpus) {
    return round_up(nested_pages(vcpus) * nestbed::wire::page_bytes, 2 * MiB) + 2 * MiB;
}

// Null: L1's own translations.
Result<Counted> run_tlb(const StressContext& context, const L2Vendor* vendor) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    Scratch scratch{machine};
    const auto unused = scratch.table<std::uint64_t>(1); // prepare_l2() has it
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto state = scratch.table<job::State>(1);
    const auto counts = scratch.table<job::Counts>(vcpus);
    const auto samples = scratch.table<std::uint32_t>(samples_each);
    const auto window = scratch.pages(pages);
    const auto free = scratch.pages(
        vendor != nullptr ? l2_shared_pages(machine.plan().memory_bytes()) + nested_pages(vcpus) : 0);
    if (auto placed = first_error(unused, stop, state, counts, samples, window, free); !placed)
        return tl::unexpected{placed.error()};
    const auto on = on_machine(context);
    if (vendor != nullptr) {
        const auto paging = prepare_l2(on, *vendor, *free);
        if (!paging)
            return tl::unexpected{paging.error()};
        if (!*paging)
            return skipped("L2 has no nested paging here");
    }
    const auto name = vendor != nullptr ? l2_job("nested.l2_tlb", *vendor) : std::string{"tlb.shootdown"};
    const auto paced = run_until_stopped(context,
                                         on_all(on, name,
                                                {*free, stop->address, state->address, counts->address,
                                                 *window, context.seed, samples->address, samples_each}),
                                         *stop);
    if (!paced)
        return tl::unexpected{paced.error()};

    const auto generations = std::uint64_t{state->entries[0].completed};
    const std::vector<job::Counts> seen{counts->entries.begin(), counts->entries.end()};
    auto wrong = judge_tlb(seen, generations);
    Counted counted{.verdict = verdict_of(wrong), .seconds = paced->seconds};
    counted.operations = static_cast<double>(generations);
    double reads = 0;
    for (const auto& own : seen)
        reads += static_cast<double>(own.reads);
    counted.summary = fmt::format("{} shootdowns of {} pages on {}, {:.0f} reads, {} vCPUs wrong",
                                  generations, job::window_pages, vcpus_text(vcpus), reads, wrong.size());
    counted.details = capped(std::move(wrong));
    counted.facts = {{"reads_per_s", paced->seconds > 0 ? reads / paced->seconds : 0}};
    std::vector<double> us;
    for (std::uint64_t i = 0; i < std::min(generations, samples_each); ++i)
        us.push_back(ticks_to_us(machine, samples->entries[(i + 1) % samples_each]));
    counted.distributions.push_back(distribution("shootdown", "us", us));
    return counted;
}

Result<Counted> run_own(const StressContext& context) {
    return run_tlb(context, nullptr);
}
Result<Counted> run_nested(const StressContext& context) {
    const auto* const vendor = l2_vendor(context.machine->cpuid());
    return vendor != nullptr ? run_tlb(context, vendor) : Result<Counted>{skipped(std::string{no_l2_vendor})};
}

constexpr std::string_view one_shoots = "one vCPU makes all the shootdowns";

constexpr std::array drivers{
    StressDriver{.name = "tlb",
                 .title =
                     "Pages are mapped elsewhere, and shot down on all vCPUs by IPI while they read them",
                 .invariant = "once all vCPUs have answered a shootdown, none reads what was mapped before",
                 .unit = "shootdowns",
                 .run = &run_own,
                 .not_parallel = one_shoots},
    StressDriver{.name = "l2-tlb",
                 .title = "Nested page tables change while L2 runs on all vCPUs",
                 .invariant =
                     "once L1 has left L2 and flushed on all vCPUs, no L2 reads what was mapped before",
                 .unit = "shootdowns",
                 .run = &run_nested,
                 .nested = true,
                 .more_memory = &nested_memory,
                 .not_parallel = one_shoots},
};

} // namespace

std::vector<std::string> judge_tlb(std::span<const job::Counts> counts, std::uint64_t generations) {
    std::vector<std::string> wrong;
    if (generations == 0)
        wrong.emplace_back("no shootdown was completed");
    for (std::size_t vcpu = 0; vcpu < counts.size(); ++vcpu) {
        const auto& own = counts[vcpu];
        if (own.stale != 0)
            wrong.push_back(
                fmt::format("vCPU {}: {} of {} values stale, the first {} between generations {} and {}",
                            vcpu, own.stale, own.reads,
                            own.value == job::poison ? std::string{"poison"}
                                                     : fmt::format("of generation {}", own.value >> 16),
                            own.completed, own.begun));
        else if (own.reads == 0)
            wrong.push_back(fmt::format("vCPU {}: read nothing", vcpu));
        else if (own.dropped + 1 < generations)
            wrong.push_back(fmt::format("vCPU {}: dropped its translations {} times, not {}", vcpu,
                                        own.dropped, generations));
        else if (own.ended != 1)
            wrong.push_back(fmt::format("vCPU {}: did not come to its end", vcpu));
    }
    return wrong;
}

std::span<const StressDriver> tlb_drivers() {
    return drivers;
}

} // namespace nestbed::stress
