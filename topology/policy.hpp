// By which rule a plan chooses PUs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "topology/traffic.hpp"

namespace nestbed::topology {

struct PlanFile;

// A kind with its parameters; converts from the kinds that need none.
struct Policy {
    enum Kind {
        none,       // no pinning, memory from wherever the kernel takes it
        compact,    // fill the host's PUs in order: thread, core, cache, package
        scatter,    // spread over packages, nodes, caches and cores first, siblings last
        numa,       // one virtual node per host node; vCPUs and memory together, SMT siblings kept together
        llc,        // fill one last-level cache's group after the other, siblings last within each
        smt_avoid,  // the host's order, with every core's first sibling before any second one
        smt_pair,   // neighbours on the siblings of one core, cores spread as in scatter
        interleave, // vCPU by vCPU around the host's nodes, each node's PUs in order
        random,     // shuffled by `seed`
        traffic,    // for the least cost of `matrix`
        file,       // as a person wrote it
    };

    // NOLINTNEXTLINE(google-explicit-constructor): Policy::numa is a policy
    Policy(Kind its_kind) : kind{its_kind} {}

    Kind kind;
    std::uint64_t seed = 0;                      // of random
    TrafficSource matrix{};                      // of traffic
    std::string path;                            // of file
    std::shared_ptr<const PlanFile> plan_file{}; // of file, once it was read

    friend bool operator==(const Policy&, const Policy&) = default;
};

// As parse_policy() reads it: "numa", "random:7", "traffic:groups:4", "file:plan.toml".
[[nodiscard]] std::string to_string(const Policy& policy);
// Looks at no file: read_policy() does. Errors: bad_input, naming the policies there are.
[[nodiscard]] Result<Policy> parse_policy(std::string_view text);
// Effect: parse_policy(), and reads the file that the policy names. Errors: bad_input.
[[nodiscard]] Result<Policy> read_policy(std::string_view text);

// One of each kind that needs no file.
[[nodiscard]] const std::vector<Policy>& all_policies();

} // namespace nestbed::topology
