// How good a plan is, in figures that can be compared. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "topology/host.hpp"
#include "topology/plan.hpp"
#include "topology/traffic.hpp"

namespace nestbed::topology {

// Of a plan whose vCPUs each have one PU. Means are weighted by what the pair has to say; without any traffic
// they are 0.
struct PairScore {
    double mean_cost = 0; // as the traffic policy counts it (mapping/costs.hpp), for a unit of traffic
    double mean_numa_distance = 0;         // SLIT; 10 within a node
    std::uint32_t worst_numa_distance = 0; // of pairs that talk; 0: none does
    double shared_llc = 0;                 // share of traffic from 0 to 1, within one last-level cache
    double shared_core = 0;                // within one core; counts for shared_llc too
};

struct Score {
    std::optional<PairScore> pairs; // empty where a vCPU may run on several PUs
    // By virtual node: the share of its vCPUs whose PU's memory is the host node that backs it.
    std::vector<double> memory_locality;
    std::uint32_t max_vcpus_per_pu = 0; // 0: nothing is pinned
    double mean_vcpus_per_pu = 0;       // of the PUs used
    // Cores without a vCPU that those could have which share a core with another.
    std::uint32_t stranded_cores = 0;
};

// The traffic is of as many vCPUs as the plan has. Errors: those of usable_part().
[[nodiscard]] Result<Score> score(const Plan& plan, const Host& host, const Traffic& traffic);

// Indexes into `scores`, the best first: least mean cost, then the fewest vCPUs on a PU, then the fewest
// stranded cores; those without a PairScore last. Equal ones in their order.
[[nodiscard]] std::vector<std::size_t> rank(const std::vector<Score>& scores);

// Where one vCPU is, and what else would cost least.
struct Alternative {
    double share = 0; // of the cost of all traffic, that of this vCPU's
    double change =
        0; // of the total cost, by the second-best choice: 0.01 is 1 % more; below 0: it is better
    std::optional<std::uint32_t> pu;      // that choice's PU, os index; empty: there is none
    std::optional<std::uint32_t> partner; // the vCPU that it would change places with
};

// By vCPU; empty where a vCPU may run on several PUs. No choices are PUs with as many vCPUs as its own or
// more, except in exchange, and siblings of its core that are as good. Errors: those of usable_part().
[[nodiscard]] Result<std::vector<Alternative>> alternatives(const Plan& plan, const Host& host,
                                                            const Traffic& traffic);

} // namespace nestbed::topology
