// A plan's choices in words. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/host.hpp"
#include "topology/placement.hpp"
#include "topology/plan.hpp"

namespace nestbed::topology {

// `pu` is an index into host.pus, `load` the number of vCPUs on it; `lying` as in PlanRequest.
[[nodiscard]] std::string reason_for_vcpu(const Policy& policy, const Host& host, const UsableHost& usable,
                                          std::uint32_t pu, std::uint32_t load, bool lying);

[[nodiscard]] std::string reason_for_node(const Policy& policy, std::uint64_t vcpus, std::uint64_t all_vcpus,
                                          bool lying);

// On the plan as a whole: the policy, overcommitment, and what of the host is unknown or left out.
[[nodiscard]] std::vector<std::string> notes_on(const Plan& plan, const Host& host, const UsableHost& usable);

} // namespace nestbed::topology
