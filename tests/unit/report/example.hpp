// Values for the tests of this folder, with every member set to something of its own.
#pragma once

#include <cstdint>
#include <string>

#include "base/units.hpp"
#include "report/host_check.hpp"
#include "report/run_result.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::report::test {

// Like those of nestbed's guests: 192 MiB and 2176 files for 1024 vCPUs.
inline constexpr GuestNeeds example_needs{
    .memory_bytes = [](std::uint32_t vcpus) { return round_up(64 * MiB + vcpus * 128 * KiB, 2 * MiB); },
    .open_files = [](std::uint32_t vcpus) { return std::uint64_t{vcpus} * 2 + 128; },
    .threads = [](std::uint64_t vcpus) { return vcpus + 64; }};

// `nodes` nodes, one a package, each with `pus_per_node` PUs in cores of two; os indexes in order.
[[nodiscard]] topology::Host example_host(std::uint32_t nodes, std::uint32_t pus_per_node);

// The vCPUs spread over the host's nodes in equal consecutive blocks, each on a PU of its own as long as
// there are any, and then from the node's first one again. 1 GiB a node.
[[nodiscard]] topology::Plan example_plan(const topology::Host& host, std::uint32_t vcpus);

// One that passed, with a distribution and a matrix.
[[nodiscard]] SweepPoint example_point(std::string driver, std::uint32_t vcpus, std::uint32_t repetition);

// Points that passed and one that was late, a fit and one that could not be.
[[nodiscard]] Sweep example_sweep();

// A driver with a winner, one without, and one that was never measured.
[[nodiscard]] PlaceComparison example_place_comparison();

// Every optional member present, every list with something in it.
[[nodiscard]] RunResult full_result(std::uint32_t vcpus = 8);

} // namespace nestbed::report::test
