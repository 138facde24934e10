// Which PU each vCPU gets: the policies themselves. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::topology {

// The part of a host that a plan may use.
struct UsableHost {
    std::vector<std::uint32_t> pus; // indexes into host.pus, allowed ones, in logical order
    // By index into host.pus: the node (index into host.nodes) that its memory comes from, allowed and with
    // memory.
    std::vector<std::uint32_t> home;
    // By index into host.pus: its position among the allowed PUs of its core, 0 for the first sibling.
    std::vector<std::uint32_t> thread;
    // Allowed siblings in a core where every core has the same number, else 1.
    std::uint32_t smt = 1;
    bool memory_is_known = false; // false: the host's description has no sizes
};

// Allowed, and with memory where that is known.
[[nodiscard]] bool is_usable(const Node& node, bool memory_is_known);

// Errors: host_lacks for a host without a PU or node that may be used.
[[nodiscard]] Result<UsableHost> usable_part(const Host& host);

// The order in which `scatter` takes PUs: all first siblings of cores, then all second ones, and within those
// by turns over packages, their nodes, caches and cores.
[[nodiscard]] std::vector<std::uint32_t> scatter_order(const Host& host, const UsableHost& usable);

// The same PUs, each as often, by turns as in scatter_order(); none a second time before each was taken once.
[[nodiscard]] std::vector<std::uint32_t> dealt_by_turns(const std::vector<std::uint32_t>& pus,
                                                        const Host& host, const UsableHost& usable);

// By vCPU: an index into host.pus. Empty for the policies that no order of PUs makes: none, traffic and file.
// `guest_threads` is the shape's, 0 where it is derived.
[[nodiscard]] std::vector<std::uint32_t> choose_pus(const Policy& policy, std::uint32_t vcpus,
                                                    std::uint32_t guest_threads, const Host& host,
                                                    const UsableHost& usable);

} // namespace nestbed::topology
