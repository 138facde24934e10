#include "stress/drivers/ipi_load.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/wire/jobs.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::ipi_load;
namespace broad = wire::broadcast;

constexpr std::uint64_t most_samples = 256 * 1024;
constexpr std::uint64_t interrupts_in_turn = 4; // the first of which wakes what slept
constexpr std::uint64_t rounds_in_batch = 16;   // of broadcasts

// For those who want a timeline.
Result<IpiRings> rings_for(const StressContext& context, Scratch& scratch) {
    if (context.ipi_rings == nullptr)
        return IpiRings{};
    auto placed = place_ipi_rings(scratch, *context.machine);
    if (placed)
        *context.ipi_rings = *placed;
    return placed;
}

void use_rings(const Table<job::Vcpu>& table, const IpiRings& rings) {
    for (std::uint32_t vcpu = 0; vcpu < table.entries.size(); ++vcpu)
        table.entries[vcpu].ring = rings.of(vcpu);
}

// A copy, since the guest may go on writing. Fills in everything but distributions and matrices.
Counted count_ipis(const Table<job::Vcpu>& table, double seconds) {
    const std::vector<job::Vcpu> vcpus{table.entries.begin(), table.entries.end()};
    const auto totals = totals_of(vcpus);
    auto wrong = judge_ipis(vcpus);
    Counted counted{
        .verdict = verdict_of(wrong),
        .summary = fmt::format("{} sent, {} received, {} wrong", totals.sent, totals.received, wrong.size()),
        .details = capped(std::move(wrong)),
        .operations = static_cast<double>(totals.received),
        .seconds = seconds};
    for (const auto& vcpu : vcpus)
        counted.per_vcpu.push_back(static_cast<double>(vcpu.sent));
    counted.facts["busy"] = static_cast<double>(totals.busy);
    counted.facts["tsc_backward"] = static_cast<double>(totals.backward);
    return counted;
}

Result<Counted> run_load(const StressContext& context, job::Pattern pattern) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    const auto each = std::max<std::uint64_t>(most_samples / vcpus, 1);
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto table = scratch.table<job::Vcpu>(vcpus);
    const auto samples = scratch.table<std::uint32_t>(vcpus * each);
    const auto rings = rings_for(context, scratch);
    if (auto placed = first_error(stop, table, samples, rings); !placed)
        return tl::unexpected{placed.error()};
    use_rings(*table, *rings);
    const auto paced = run_until_stopped(
        context,
        on_all(on_machine(context), "stress.ipi",
               {stop->address, table->address, pattern, context.seed, samples->address, each}),
        *stop);
    if (!paced)
        return tl::unexpected{paced.error()};
    auto counted = count_ipis(*table, paced->seconds);
    std::vector<double> us;
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        const auto kept = std::min(each, static_cast<std::uint64_t>(counted.per_vcpu[vcpu]));
        for (std::uint64_t i = 0; i < kept; ++i)
            us.push_back(ticks_to_us(machine, samples->entries[vcpu * each + i]));
    }
    counted.distributions.push_back(distribution("latency", "us", us));
    return counted;
}

template<job::Pattern pattern>
Result<Counted> run_pattern(const StressContext& context) {
    return run_load(context, pattern);
}

Result<Counted> run_matrix(const StressContext& context) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto turn = scratch.table<std::uint64_t>(1);
    const auto table = scratch.table<job::Vcpu>(vcpus);
    const auto offsets = scratch.table<std::uint32_t>(vcpus - 1);
    const auto least = scratch.table<std::uint32_t>(std::uint64_t{vcpus} * vcpus);
    const auto rings = rings_for(context, scratch);
    if (auto placed = first_error(stop, turn, table, offsets, least, rings); !placed)
        return tl::unexpected{placed.error()};
    use_rings(*table, *rings);
    std::ranges::copy(shuffled_offsets(vcpus, context.seed), offsets->entries.begin());
    const auto paced =
        run_until_stopped(context,
                          on_all(on_machine(context), "stress.ipi",
                                 {stop->address, table->address, job::token, context.seed, least->address,
                                  interrupts_in_turn, turn->address, offsets->address}),
                          *stop);
    if (!paced)
        return tl::unexpected{paced.error()};
    auto counted = count_ipis(*table, paced->seconds);
    report::Matrix matrix{.name = "latency", .unit = "us", .rows = vcpus, .columns = vcpus, .values = {}};
    matrix.values.reserve(least->entries.size());
    std::vector<double> us;
    for (const std::uint32_t ticks : least->entries) {
        const auto value =
            ticks == 0 ? std::numeric_limits<double>::quiet_NaN() : ticks_to_us(machine, ticks);
        matrix.values.push_back(static_cast<float>(value));
        if (ticks != 0)
            us.push_back(value);
    }
    counted.facts["pairs_measured"] = static_cast<double>(us.size());
    counted.summary +=
        fmt::format("; {} of {} pairs measured", us.size(), std::uint64_t{vcpus} * (vcpus - 1));
    counted.distributions.push_back(distribution("latency", "us", us));
    counted.matrices.push_back(std::move(matrix));
    return counted;
}

// The job of `nestbed validate`, again and again.
Result<Counted> run_broadcasts(const StressContext& context) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    std::mt19937_64 random{context.seed};
    Counted counted{.per_vcpu = std::vector<double>(vcpus)};
    std::vector<double> us;
    std::vector<std::string> wrong;
    std::uint64_t rounds = 0;
    Scratch whole{machine};
    const auto rings = rings_for(context, whole);
    if (!rings)
        return tl::unexpected{rings.error()};
    const auto paced = repeat_until_over(context, [&](std::uint64_t batch) -> Status {
        auto scratch = whole; // what is left of it, anew for each batch
        const auto state = scratch.table<broad::State>(1);
        const auto initiators = scratch.table<std::uint32_t>(rounds_in_batch);
        const auto latencies = scratch.table<std::uint64_t>(rounds_in_batch);
        if (auto placed = first_error(state, initiators, latencies); !placed)
            return placed;
        std::vector<std::uint32_t> order;
        for (std::uint64_t i = 0; i < rounds_in_batch; ++i)
            order.push_back(static_cast<std::uint32_t>(random() % vcpus));
        std::ranges::copy(order, initiators->entries.begin());
        state->entries[0].rings = rings->of(0);
        state->entries[0].ring_bytes = rings->bytes_each();
        auto ran = machine.run_job(
            on_all(on_machine(context), "ipi.broadcast",
                   {state->address, initiators->address, rounds_in_batch, 0, latencies->address}));
        if (!ran)
            return ran;
        rounds += rounds_in_batch;
        for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
            const auto due = rounds_in_batch - static_cast<std::uint64_t>(std::ranges::count(order, vcpu));
            const auto got = job_value(machine, vcpu, broad::received_count);
            counted.per_vcpu[vcpu] += static_cast<double>(got);
            counted.operations += static_cast<double>(got);
            if (got != due)
                wrong.push_back(
                    fmt::format("vCPU {}, batch {}: {} sent to it, {} received", vcpu, batch, due, got));
        }
        for (const std::uint64_t ticks : latencies->entries)
            us.push_back(ticks_to_us(machine, ticks));
        return {};
    });
    if (!paced)
        return tl::unexpected{paced.error()};
    counted.seconds = paced->seconds;
    counted.verdict = verdict_of(wrong);
    counted.summary =
        fmt::format("{} broadcasts, {:.0f} received, {} wrong", rounds, counted.operations, wrong.size());
    counted.details = capped(std::move(wrong));
    counted.distributions.push_back(distribution("until_all_received", "us", us));
    return counted;
}

constexpr std::string_view exactly_once = "each interrupt is taken exactly once, by the vCPU that it was "
                                          "sent to: as many are received as were sent, and none "
                                          "that nobody sent";

constexpr StressDriver ipi_driver(std::string_view name, std::string_view title,
                                  Result<Counted> (*run)(const StressContext&),
                                  std::string_view not_parallel = {}) {
    return {.name = name,
            .title = title,
            .invariant = exactly_once,
            .unit = "interrupts",
            .run = run,
            .least_vcpus = 2,
            .not_parallel = not_parallel};
}

constexpr std::array drivers{
    ipi_driver("ipi.unicast", "Each vCPU sends to others, drawn at random", &run_pattern<job::random>),
    ipi_driver("ipi.pairs", "Neighbours send to one another", &run_pattern<job::partner>),
    ipi_driver("ipi.all", "Each vCPU sends to each other in turn", &run_pattern<job::all>),
    ipi_driver("ipi.broadcast", "One vCPU after the other sends to all others at once", &run_broadcasts,
               "one vCPU sends at a time, however many there are"),
    ipi_driver("ipi.to_halted", "Every other vCPU sends to its neighbour, which halts",
               &run_pattern<job::to_halted>),
    ipi_driver("ipi.to_running", "Every other vCPU sends to its neighbour, which runs in ring 3",
               &run_pattern<job::to_running>),
    ipi_driver("ipi-matrix", "The latency of an IPI from each vCPU to each other, one at a time", &run_matrix,
               "one interrupt is under way at a time, however many vCPUs there are"),
};

} // namespace

IpiTotals totals_of(std::span<const job::Vcpu> vcpus) {
    IpiTotals totals;
    for (const auto& vcpu : vcpus) {
        totals.sent += vcpu.sent;
        totals.received += vcpu.received;
        totals.unclaimed += vcpu.unclaimed;
        totals.busy += vcpu.busy;
        totals.backward += vcpu.backward;
    }
    return totals;
}

std::vector<std::string> judge_ipis(std::span<const job::Vcpu> vcpus) {
    std::vector<std::string> wrong;
    for (std::size_t i = 0; i < vcpus.size(); ++i) {
        const auto& vcpu = vcpus[i];
        if (vcpu.sent != vcpu.acked)
            wrong.push_back(fmt::format("vCPU {}: {} sent, {} acknowledged", i, vcpu.sent, vcpu.acked));
        if (vcpu.unclaimed != 0)
            wrong.push_back(fmt::format("vCPU {} took {} that nobody had sent to it", i, vcpu.unclaimed));
        if (vcpu.slot != 0)
            wrong.push_back(fmt::format("sent by vCPU {} to vCPU {}, not taken", vcpu.slot - 1, i));
    }
    if (const auto totals = totals_of(vcpus); totals.sent != totals.received)
        wrong.push_back(fmt::format("{} sent in all, {} received", totals.sent, totals.received));
    else if (totals.sent == 0)
        wrong.push_back("none was sent");
    return wrong;
}

std::vector<std::uint32_t> shuffled_offsets(std::uint32_t vcpus, std::uint64_t seed) {
    std::vector<std::uint32_t> offsets(vcpus - 1);
    std::iota(offsets.begin(), offsets.end(), 1U);
    std::mt19937_64 random{seed};
    for (auto left = offsets.size(); left > 1; --left)
        std::swap(offsets[left - 1], offsets[random() % left]);
    return offsets;
}

std::span<const StressDriver> ipi_drivers() {
    return drivers;
}

} // namespace nestbed::stress
