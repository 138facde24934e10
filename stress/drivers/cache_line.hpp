// Which pairs the driver "c2c" measures. Values only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stress/wire/cache_line.hpp"
#include "topology/plan.hpp"

namespace nestbed::stress {

// Pairs of vCPUs that need not share a PU (two that do pass nothing: one waits for the other to be
// descheduled), in an order drawn from the seed, `most` at most.
[[nodiscard]] std::vector<wire::cache_line::Pair> choose_pairs(std::span<const topology::VcpuPlacement> vcpus,
                                                               std::size_t most, std::uint64_t seed);

// The pairs that each vCPU is in: those of vCPU v are entries[begins[v]] to entries[begins[v + 1]],
// ascending.
struct PairIndex {
    std::vector<std::uint32_t> begins; // one more than vCPUs
    std::vector<std::uint32_t> entries;
};
[[nodiscard]] PairIndex index_pairs(std::span<const wire::cache_line::Pair> pairs, std::uint32_t vcpus);

// What the guest counted, by vCPU: pairs that it did its part of, and values that nobody had written.
struct PassesSeen {
    std::uint64_t pairs = 0;
    std::uint64_t wrong = 0;
};
// `line` is what the line holds at the end.
[[nodiscard]] std::vector<std::string> judge_passes(std::span<const PassesSeen> seen, std::uint64_t line,
                                                    std::uint64_t pairs_measured);

} // namespace nestbed::stress
