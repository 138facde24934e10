#include "stress/drivers/cache_line.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <random>

#include <fmt/format.h>

#include "base/first_error.hpp"
#include "stress/drivers/distribution.hpp"
#include "stress/drivers/pace.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::stress {

namespace {

namespace job = wire::cache_line;

constexpr std::size_t most_pairs = 512 * 1024;
constexpr std::size_t least_pairs = 64;
constexpr std::int64_t pairs_a_ms = 20; // more than any host does

bool may_differ(const topology::VcpuPlacement& a, const topology::VcpuPlacement& b) {
    return a.pus.size() != 1 || b.pus.size() != 1 || a.pus != b.pus;
}

Result<Counted> run_c2c(const StressContext& context) {
    auto& machine = *context.machine;
    const auto vcpus = machine.vcpus();
    const auto wanted =
        static_cast<std::size_t>(std::max<std::int64_t>(context.duration.count() * pairs_a_ms, 0));
    const auto pairs =
        choose_pairs(machine.plan().vcpus, std::clamp(wanted, least_pairs, most_pairs), context.seed);
    if (pairs.empty())
        return skipped("all vCPUs share one PU, so that no cache line moves between them");
    const auto index = index_pairs(pairs, vcpus);
    Scratch scratch{machine};
    const auto stop = scratch.table<std::uint64_t>(1);
    const auto list = scratch.table<job::Pair>(pairs.size());
    const auto begins = scratch.table<std::uint32_t>(index.begins.size());
    const auto entries = scratch.table<std::uint32_t>(index.entries.size());
    const auto state = scratch.table<job::State>(1);
    const auto results = scratch.table<std::uint64_t>(pairs.size());
    if (auto placed = first_error(stop, list, begins, entries, state, results); !placed)
        return tl::unexpected{placed.error()};
    std::ranges::copy(pairs, list->entries.begin());
    std::ranges::copy(index.begins, begins->entries.begin());
    std::ranges::copy(index.entries, entries->entries.begin());
    const auto paced = run_until_stopped(context,
                                         on_all(on_machine(context), "stress.c2c",
                                                {stop->address, list->address, pairs.size(), begins->address,
                                                 entries->address, state->address, results->address}),
                                         *stop);
    if (!paced)
        return tl::unexpected{paced.error()};

    report::Matrix matrix{
        .name = "round_trip",
        .unit = "ns",
        .rows = vcpus,
        .columns = vcpus,
        .values = std::vector<float>(std::size_t{vcpus} * vcpus, std::numeric_limits<float>::quiet_NaN())};
    std::vector<double> ns;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        const std::uint64_t ticks = results->entries[i];
        if (ticks == 0)
            continue;
        ns.push_back(ticks_to_us(machine, ticks) * 1000 / static_cast<double>(job::rounds_in_chunk));
        const auto value = static_cast<float>(ns.back());
        matrix.values[std::size_t{pairs[i].first} * vcpus + pairs[i].second] = value;
        matrix.values[std::size_t{pairs[i].second} * vcpus + pairs[i].first] = value;
    }
    std::vector<PassesSeen> seen;
    Counted counted{.operations = static_cast<double>(ns.size() * job::steps_in_pair),
                    .seconds = paced->seconds};
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
        seen.push_back({job_value(machine, vcpu, job::pairs_done), job_value(machine, vcpu, job::wrong)});
        counted.per_vcpu.push_back(static_cast<double>(seen.back().pairs * job::steps_in_pair / 2));
    }
    auto wrong = judge_passes(seen, state->entries[0].line, ns.size());
    counted.verdict = verdict_of(wrong);
    counted.summary = fmt::format("{} passes, {} wrong; {} of {} pairs measured", counted.operations,
                                  wrong.size(), ns.size(), std::uint64_t{vcpus} * (vcpus - 1) / 2);
    counted.details = capped(std::move(wrong));
    counted.facts["pairs_measured"] = static_cast<double>(ns.size());
    counted.distributions.push_back(distribution("round_trip", "ns", ns));
    if (!ns.empty()) // of the pair in the middle; the throughput has the time between pairs in it
        counted.facts["round_trips_per_second"] = 1e9 / counted.distributions.back().summary.median;
    counted.matrices.push_back(std::move(matrix));
    return counted;
}

constexpr std::array drivers{
    StressDriver{
        .name = "c2c",
        .title = "A cache line passed to and fro between each two vCPUs, one pair at a time",
        .invariant =
            "each pass finds what the other vCPU wrote last; in the end the line holds the number of "
            "passes",
        .unit = "passes",
        .run = &run_c2c,
        .least_vcpus = 2,
        .not_parallel = "two vCPUs work at a time, however many there are"},
};

} // namespace

std::vector<job::Pair> choose_pairs(std::span<const topology::VcpuPlacement> vcpus, std::size_t most,
                                    std::uint64_t seed) {
    std::vector<job::Pair> pairs;
    for (std::uint32_t a = 0; a < vcpus.size(); ++a)
        for (std::uint32_t b = a + 1; b < vcpus.size(); ++b)
            if (may_differ(vcpus[a], vcpus[b]))
                pairs.push_back({a, b});
    std::mt19937_64 random{seed};
    for (std::size_t i = 0; i < std::min(pairs.size(), most); ++i)
        std::swap(pairs[i], pairs[i + random() % (pairs.size() - i)]);
    if (pairs.size() > most)
        pairs.resize(most);
    return pairs;
}

PairIndex index_pairs(std::span<const job::Pair> pairs, std::uint32_t vcpus) {
    PairIndex index{std::vector<std::uint32_t>(std::size_t{vcpus} + 1),
                    std::vector<std::uint32_t>(pairs.size() * 2)};
    for (const auto& pair : pairs) {
        ++index.begins[pair.first + 1];
        ++index.begins[pair.second + 1];
    }
    for (std::uint32_t vcpu = 0; vcpu < vcpus; ++vcpu)
        index.begins[vcpu + 1] += index.begins[vcpu];
    auto next = index.begins;
    for (std::uint32_t i = 0; i < pairs.size(); ++i) {
        index.entries[next[pairs[i].first]++] = i;
        index.entries[next[pairs[i].second]++] = i;
    }
    return index;
}

std::vector<std::string> judge_passes(std::span<const PassesSeen> seen, std::uint64_t line,
                                      std::uint64_t pairs_measured) {
    std::vector<std::string> wrong;
    std::uint64_t parts = 0;
    for (std::size_t vcpu = 0; vcpu < seen.size(); ++vcpu) {
        parts += seen[vcpu].pairs;
        if (seen[vcpu].wrong != 0)
            wrong.push_back(
                fmt::format("vCPU {} read {} values that nobody had written", vcpu, seen[vcpu].wrong));
    }
    if (parts != 2 * pairs_measured)
        wrong.push_back(fmt::format("{} pairs were measured, vCPUs took part in {}", pairs_measured, parts));
    if (line != pairs_measured * job::steps_in_pair)
        wrong.push_back(
            fmt::format("the line holds {} after {} passes", line, pairs_measured * job::steps_in_pair));
    if (pairs_measured == 0)
        wrong.push_back("no pair was measured");
    return wrong;
}

std::span<const StressDriver> cache_line_drivers() {
    return drivers;
}

} // namespace nestbed::stress
