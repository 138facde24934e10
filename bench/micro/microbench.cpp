// What the value-to-value parts cost, one by one.
#include <benchmark/benchmark.h>

#include "base/units.hpp"
#include "core/boot/descriptors.hpp"
#include "core/boot/page_tables.hpp"
#include "report/json.hpp"
#include "report/json_file.hpp"
#include "stress/ipi_plan.hpp"
#include "stress/payload.hpp"
#include "topology/plan.hpp"

namespace {

using namespace nestbed;

constexpr auto large_host = "pack:16 [numa(memory=64GB)] core:128 pu:2";

topology::PlanRequest request(std::uint32_t vcpus, const topology::Policy& policy) {
    return {.vcpus = vcpus,
            .memory_bytes = 64 * GiB,
            .policy = policy,
            .page_size = topology::PageSize::base,
            .shape = {}};
}

void plan(benchmark::State& state) {
    const auto host = topology::discover(large_host);
    const auto& policy = topology::all_policies()[static_cast<std::size_t>(state.range(1))];
    state.SetLabel(topology::to_string(policy));
    for (auto _ : state)
        benchmark::DoNotOptimize(
            topology::plan(request(static_cast<std::uint32_t>(state.range(0)), policy), *host));
}
BENCHMARK(plan)
    ->ArgsProduct({{288, 1024, 4096}, benchmark::CreateDenseRange(0, 9, 1)})
    ->Unit(benchmark::kMillisecond);

void discover(benchmark::State& state) {
    for (auto _ : state)
        benchmark::DoNotOptimize(topology::discover(large_host));
}
BENCHMARK(discover)->Unit(benchmark::kMillisecond);

void plan_as_json(benchmark::State& state) {
    const auto host = topology::discover(large_host);
    const auto made = topology::plan(request(1024, topology::Policy::numa), *host);
    for (auto _ : state)
        benchmark::DoNotOptimize(report::dump(report::to_json(*made)));
}
BENCHMARK(plan_as_json)->Unit(benchmark::kMillisecond);

void identity_map(benchmark::State& state) {
    for (auto _ : state)
        benchmark::DoNotOptimize(
            boot::identity_map(0x10'0000, static_cast<std::uint64_t>(state.range(0)) * GiB, false));
}
BENCHMARK(identity_map)->Arg(4)->Arg(256);

void descriptor_pages(benchmark::State& state) {
    for (auto _ : state)
        benchmark::DoNotOptimize(boot::descriptor_pages(0x20'0000, 0x10'0000, 16));
}
BENCHMARK(descriptor_pages);

void read_payload(benchmark::State& state) {
    for (auto _ : state)
        benchmark::DoNotOptimize(stress::embedded_payload());
}
BENCHMARK(read_payload);

void all_pairs(benchmark::State& state) {
    for (auto _ : state)
        benchmark::DoNotOptimize(stress::all_pairs(static_cast<std::uint32_t>(state.range(0))));
}
BENCHMARK(all_pairs)->Arg(288);

} // namespace
