#include "stress/drivers/memory.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "base/units.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/memory_parts.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::stress {

namespace {

namespace load = wire::memory_load;
namespace touch = wire::first_touch;

constexpr std::uint64_t most_samples = 256 * 1024;

// Beyond what a core caches for itself where there are few vCPUs; what is there where there are many.
std::uint64_t part_bytes(std::uint32_t vcpus) {
    return std::clamp(128 * MiB / vcpus, 128 * KiB, 16 * MiB);
}

// A local and a remote part, in the last half of what is free, and as much again for nodes of unequal size.
std::uint64_t memory_for_load(std::uint32_t vcpus) {
    return vcpus * part_bytes(vcpus) * 5;
}

std::uint64_t memory_for_faults(std::uint32_t vcpus) {
    return std::clamp<std::uint64_t>(vcpus * 64 * MiB, 64 * MiB, 512 * MiB) * 2;
}

std::vector<std::size_t> nodes_of(const machine::Machine& machine) {
    std::vector<std::size_t> nodes;
    const auto& plan = machine.plan();
    for (const auto& vcpu : plan.vcpus) {
        const auto found =
            std::ranges::find(plan.nodes, vcpu.virtual_node, &topology::NodePlacement::virtual_node);
        nodes.push_back(static_cast<std::size_t>(found - plan.nodes.begin()));
    }
    return nodes;
}

tl::unexpected<Error> too_little(const machine::Machine& machine) {
    return fail(
        ErrorKind::bad_input, fmt::format("give each of {} memory of its own", vcpus_text(machine.vcpus())),
        fmt::format("the guest has {}", format_size(machine.plan().memory_bytes())), "use more --memory");
}

// Sums over vCPUs of what one kind of part gave.
struct LoadSum {
    double lines = 0;
    double bytes_a_second = 0; // written and read, of all vCPUs together
    std::vector<double> ns;    // a step, by vCPU
};

LoadSum sum_of(const machine::Machine& machine, std::span<const load::Result> results, std::size_t which) {
    LoadSum sum;
    for (std::size_t i = which; i < results.size(); i += load::parts_of_vcpu) {
        const auto& result = results[i];
        const auto ticks = result.write_ticks + result.read_ticks;
        if (result.steps == 0 || ticks == 0)
            continue;
        const auto lines = static_cast<double>(result.written + result.read);
        sum.lines += lines;
        sum.bytes_a_second +=
            lines * static_cast<double>(load::line_bytes) / (ticks_to_us(machine, ticks) * 1e-6);
        sum.ns.push_back(ticks_to_us(machine, result.step_ticks) * 1000 / static_cast<double>(result.steps));
    }
    return sum;
}

Result<Counted> run_memory(const StressContext& context) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    const auto divided = divide_memory(machine.node_scratch(), nodes_of(machine), part_bytes(vcpus));
    if (divided.empty())
        return too_little(machine);
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto table = scratch.table<load::Part>(vcpus * load::parts_of_vcpu);
    const auto results = scratch.table<load::Result>(vcpus * load::parts_of_vcpu);
    if (auto placed = first_error(stop, table, results); !placed)
        return tl::unexpected{placed.error()};
    std::vector<load::Part> parts;
    for (const auto& own : divided)
        for (const auto& part : {own.local, own.remote})
            parts.push_back({part.address, part.bytes / load::line_bytes});
    std::ranges::copy(parts, table->entries.begin());
    const auto paced =
        run_until_stopped(context,
                          on_all(on_machine(context), "stress.memory",
                                 {stop->address, table->address, results->address, context.seed}),
                          *stop);
    if (!paced)
        return tl::unexpected{paced.error()};

    const std::vector<load::Result> seen{results->entries.begin(), results->entries.end()};
    auto wrong = judge_memory(seen, parts);
    Counted counted{.verdict = verdict_of(wrong), .seconds = paced->seconds};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        double own = 0;
        for (std::size_t which = 0; which < load::parts_of_vcpu; ++which) {
            const auto& result = seen[vcpu * load::parts_of_vcpu + which];
            own += static_cast<double>((result.written + result.read) * load::line_bytes);
        }
        counted.per_vcpu.push_back(own);
        counted.operations += own;
    }
    const auto local = sum_of(machine, seen, 0);
    const auto remote = sum_of(machine, seen, 1);
    counted.facts["part_bytes"] = static_cast<double>(divided.front().local.bytes);
    counted.distributions.push_back(distribution("local", "ns", local.ns));
    counted.facts["local_ns"] = counted.distributions.back().summary.median;
    counted.facts["local_bytes_per_second"] = local.bytes_a_second;
    counted.summary = fmt::format("{} written and read, {} wrong; {:.1f} ns a step",
                                  format_size(static_cast<std::uint64_t>(counted.operations)), wrong.size(),
                                  counted.facts["local_ns"]);
    if (!remote.ns.empty()) {
        counted.distributions.push_back(distribution("remote", "ns", remote.ns));
        counted.facts["remote_ns"] = counted.distributions.back().summary.median;
        counted.facts["remote_bytes_per_second"] = remote.bytes_a_second;
        counted.summary += fmt::format(", {:.1f} ns on another node", counted.facts["remote_ns"]);
    }
    counted.details = capped(std::move(wrong));
    return counted;
}

// Looked at by the host, after the guest: how many of the pages hold their mark.
std::uint64_t marked_pages(const machine::Machine& machine, const touch::Part& part, std::uint64_t seed) {
    std::uint64_t marked = 0;
    for (std::uint64_t page = 0; page < part.pages; ++page) {
        const auto address = part.address + page * nestbed::wire::page_bytes;
        const auto* const word = machine.memory().object<std::uint64_t>(address);
        if (word == nullptr || *word != touch::mark(seed, address))
            break; // the guest touches them in order
        ++marked;
    }
    return marked;
}

Result<Counted> run_fault(const StressContext& context) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    const auto divided = divide_memory(machine.node_scratch(), nodes_of(machine), 512 * MiB);
    if (divided.empty())
        return too_little(machine);
    const auto each = std::clamp<std::uint64_t>(most_samples / vcpus, 1, 4096);
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto table = scratch.table<touch::Part>(vcpus);
    const auto results = scratch.table<touch::Result>(vcpus);
    const auto samples = scratch.table<std::uint32_t>(vcpus * each);
    if (auto placed = first_error(stop, table, results, samples); !placed)
        return tl::unexpected{placed.error()};
    std::vector<touch::Part> parts;
    for (const auto& own : divided)
        parts.push_back({own.local.address, own.local.bytes / nestbed::wire::page_bytes});
    std::ranges::copy(parts, table->entries.begin());
    const auto paced = run_until_stopped(
        context,
        on_all(on_machine(context), "stress.fault",
               {stop->address, table->address, results->address, context.seed, samples->address, each}),
        *stop);
    if (!paced)
        return tl::unexpected{paced.error()};

    std::vector<TouchSeen> seen;
    std::vector<double> us;
    Counted counted{.seconds = paced->seconds};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        const touch::Result own = results->entries[vcpu];
        seen.push_back(
            {marked_pages(machine, parts[vcpu], context.seed), own.touched, own.dirty, parts[vcpu].pages});
        counted.per_vcpu.push_back(static_cast<double>(own.touched));
        counted.operations += static_cast<double>(own.touched);
        for (std::uint64_t i = 0; i < std::min(each, own.touched); ++i)
            us.push_back(ticks_to_us(machine, samples->entries[vcpu * each + i]));
    }
    auto wrong = judge_touches(seen);
    counted.verdict = verdict_of(wrong);
    counted.summary =
        fmt::format("{:.0f} pages touched first, {} vCPUs wrong", counted.operations, wrong.size());
    counted.details = capped(std::move(wrong));
    counted.distributions.push_back(distribution("touch", "us", us));
    return counted;
}

constexpr std::array drivers{
    StressDriver{
        .name = "memory",
        .title = "Each vCPU fills, reads and walks memory of its own node and of another",
        .invariant =
            "every word read is the one written last, and a walk along the lines ends where it began",
        .unit = "bytes",
        .run = &run_memory,
        .more_memory = &memory_for_load},
    StressDriver{
        .name = "fault",
        .title = "All vCPUs touch pages that the host has yet to provide",
        .invariant =
            "each page is zero at its first touch, and holds after all touches what was written to it",
        .unit = "pages",
        .run = &run_fault,
        .memory = machine::Presence::on_touch,
        .more_memory = &memory_for_faults},
};

} // namespace

std::vector<std::string> judge_memory(std::span<const load::Result> results,
                                      std::span<const load::Part> parts) {
    std::vector<std::string> wrong;
    for (std::size_t i = 0; i < results.size(); ++i) {
        const auto& result = results[i];
        const auto vcpu = i / load::parts_of_vcpu;
        const auto* const where = i % load::parts_of_vcpu == 0 ? "its own node" : "another node";
        if (result.wrong != 0)
            wrong.push_back(
                fmt::format("vCPU {}: {} words on {} are not what was written", vcpu, result.wrong, where));
        const bool is_whole =
            result.read == result.written && result.steps == result.written &&
            (parts[i].lines == 0 ? result.written == 0
                                 : result.written != 0 && result.written % parts[i].lines == 0);
        if (!is_whole)
            wrong.push_back(fmt::format("vCPU {}: {} lines on {} written, {} read, {} walked", vcpu,
                                        result.written, where, result.read, result.steps));
    }
    return wrong;
}

std::vector<std::string> judge_touches(std::span<const TouchSeen> seen) {
    std::vector<std::string> wrong;
    std::uint64_t touched = 0;
    for (std::size_t vcpu = 0; vcpu < seen.size(); ++vcpu) {
        const auto& own = seen[vcpu];
        touched += own.touched;
        if (own.dirty != 0)
            wrong.push_back(
                fmt::format("vCPU {}: {} pages were not zero at their first touch", vcpu, own.dirty));
        if (own.marked != own.touched || own.touched > own.pages)
            wrong.push_back(fmt::format("vCPU {}: {} of {} pages touched, {} hold what was written", vcpu,
                                        own.touched, own.pages, own.marked));
    }
    if (touched == 0)
        wrong.push_back("no page was touched");
    return wrong;
}

std::span<const StressDriver> memory_drivers() {
    return drivers;
}

} // namespace nestbed::stress
