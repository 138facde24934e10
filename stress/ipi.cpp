#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "stress/checks.hpp"
#include "stress/ipi_plan.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

namespace {

namespace uni = wire::unicast;
namespace broad = wire::broadcast;

// Up to here every vCPU sends to every other; above, the pairs are drawn, since their number grows with the
// square.
constexpr std::uint32_t most_for_all_pairs = 288;
constexpr std::uint32_t random_rounds = 32;
constexpr std::uint32_t rounds_for_variants = 8;

struct UnicastTables {
    Table<uni::Target> targets;
    Table<std::uint32_t> slots;
    Table<std::uint32_t> waiters;
    Table<std::uint8_t> received;
};

// x2APIC logical id: cluster in 31:16, one bit of 15:0 (SDM volume 3, 11.12.10.2).
constexpr std::uint32_t logical_id(std::uint32_t apic_id) {
    return (apic_id >> 4) << 16 | 1U << (apic_id & 15);
}

Result<UnicastTables> place_tables(machine::Machine& machine, const IpiTargets& plan, uni::Mode mode) {
    Scratch scratch{machine};
    const std::uint64_t vcpus = machine.vcpus();
    auto targets = scratch.table<uni::Target>(plan.targets.size());
    auto slots = scratch.table<std::uint32_t>(vcpus * uni::vectors);
    auto waiters = scratch.table<std::uint32_t>(vcpus);
    auto received = scratch.table<std::uint8_t>(vcpus * vcpus);
    if (auto placed = first_error(targets, slots, waiters, received); !placed)
        return tl::unexpected{placed.error()};
    std::ranges::transform(plan.targets, targets->entries.begin(), [&](std::uint32_t vcpu) {
        const auto id = machine.plan().vcpus[vcpu].apic_id;
        return uni::Target{vcpu, mode == uni::logical ? logical_id(id) : id};
    });
    return UnicastTables{*targets, *slots, *waiters, *received};
}

// What is still in a slot was sent and never taken.
std::vector<std::string> never_taken(const UnicastTables& tables) {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < tables.slots.entries.size(); ++i)
        if (const auto sender = tables.slots.entries[i]; sender != 0)
            lines.push_back(fmt::format("sent by vCPU {} to vCPU {} as vector {:#x}, not taken", sender - 1,
                                        i / uni::vectors, uni::first_vector + i % uni::vectors));
    return lines;
}

Result<Finding> run_unicast(const DriverContext& context, const IpiTargets& plan, uni::Mode mode) {
    auto& machine = context.machine;
    if (machine.vcpus() == 1)
        return Finding{.good = true, .summary = "one vCPU has nobody to send to"};
    const auto tables = place_tables(machine, plan, mode);
    if (!tables)
        return tl::unexpected{tables.error()};
    auto ran =
        machine.run_job(on_all(context, "ipi.unicast",
                               {tables->targets.address, plan.per_vcpu, tables->slots.address,
                                tables->waiters.address, tables->received.address, plan.per_vcpu, mode}));
    if (!ran && ran.error().kind == ErrorKind::deadline)
        for (const auto& line : capped(never_taken(*tables), 8))
            ran.error().found += "; " + line;
    if (!ran)
        return tl::unexpected{ran.error()};

    auto wrong = compare_received(plan, tables->received.entries);
    for (auto& line : never_taken(*tables))
        wrong.push_back(std::move(line));
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t waits = 0;
    for (std::uint32_t vcpu = 0; vcpu < machine.vcpus(); ++vcpu) {
        waits += job_value(machine, vcpu, uni::slot_waits);
        sent += job_value(machine, vcpu, uni::sent);
        received += job_value(machine, vcpu, uni::received_count);
        if (const auto unclaimed = job_value(machine, vcpu, uni::unclaimed); unclaimed != 0)
            wrong.push_back(fmt::format("vCPU {} took {} that nobody had sent to it", vcpu, unclaimed));
    }
    Finding finding{.good = wrong.empty() && sent == received && sent == plan.targets.size(),
                    .summary = fmt::format("{} sent, {} received, {} wrong", sent, received, wrong.size()),
                    .details = capped(std::move(wrong))};
    finding.facts = {{"sent", sent}, {"received", received}, {"slot_waits", waits}};
    return finding;
}

Result<Finding> run_broadcast(const DriverContext& context, bool with_nmi) {
    auto& machine = context.machine;
    const auto vcpus = machine.vcpus();
    if (vcpus == 1)
        return Finding{.good = true, .summary = "one vCPU has nobody to send to"};
    // First, last and some in between begin a round; the last of a power of two and its neighbours are where
    // ids break.
    std::vector<std::uint32_t> order;
    for (const auto vcpu : {0U, vcpus - 1, vcpus / 2, 254U, 255U, 256U, 1U, vcpus / 3})
        if (vcpu < vcpus && std::ranges::find(order, vcpu) == order.end())
            order.push_back(vcpu);

    Scratch scratch{machine};
    const auto state = scratch.table<broad::State>(1);
    const auto initiators = scratch.table<std::uint32_t>(order.size());
    const auto latencies = scratch.table<std::uint64_t>(order.size());
    if (auto placed = first_error(state, initiators, latencies); !placed)
        return tl::unexpected{placed.error()};
    std::ranges::copy(order, initiators->entries.begin());
    auto ran = machine.run_job(
        on_all(context, "ipi.broadcast",
               {state->address, initiators->address, order.size(), with_nmi ? 1U : 0U, latencies->address}));
    if (!ran) {
        ran.error().found +=
            fmt::format("; round {} of {}, {} received in all", std::uint64_t{state->entries[0].round},
                        order.size(), std::uint64_t{state->entries[0].received});
        return tl::unexpected{ran.error()};
    }

    std::vector<std::string> wrong;
    std::uint64_t received = 0;
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        const auto own = static_cast<std::uint64_t>(std::ranges::count(order, vcpu));
        const auto got = job_value(machine, vcpu, broad::received_count);
        received += got;
        if (got != order.size() - own)
            wrong.push_back(
                fmt::format("vCPU {}: {} sent to it, {} received", vcpu, order.size() - own, got));
    }
    std::vector<double> us;
    for (const std::uint64_t ticks : latencies->entries)
        us.push_back(ticks_to_us(machine, ticks));
    Finding finding{.good = wrong.empty(),
                    .summary = fmt::format("{} broadcasts, {} received, {} vCPUs wrong", order.size(),
                                           received, wrong.size()),
                    .details = capped(std::move(wrong))};
    finding.measurements.push_back(
        report::measure("until_all_received", "us", us, 0, report::RawSamples::keep));
    return finding;
}

} // namespace

Result<Finding> check_unicast(const DriverContext& context) {
    const auto vcpus = context.machine.vcpus();
    return run_unicast(context,
                       vcpus <= most_for_all_pairs ? all_pairs(vcpus)
                                                   : random_pairs(vcpus, random_rounds, context.seed),
                       uni::physical);
}

Result<Finding> check_logical(const DriverContext& context) {
    return run_unicast(context, random_pairs(context.machine.vcpus(), rounds_for_variants, context.seed + 1),
                       uni::logical);
}

Result<Finding> check_nmi(const DriverContext& context) {
    return run_unicast(context, random_pairs(context.machine.vcpus(), rounds_for_variants, context.seed + 2),
                       uni::nmi);
}

Result<Finding> check_broadcast(const DriverContext& context) {
    return run_broadcast(context, false);
}

Result<Finding> check_nmi_broadcast(const DriverContext& context) {
    return run_broadcast(context, true);
}

} // namespace nestbed::stress
