// The judgement of the drivers "l2-swarm" and "l2-migrate-vcpu". Values only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stress/drivers/l2_vendor.hpp"
#include "stress/wire/l2_tenants.hpp"

namespace nestbed::stress {

struct TenantTotals {
    std::uint64_t exits = 0; // that L1 handled
    std::uint64_t injected = 0;
    std::uint64_t checked = 0; // registers and words that L2 has compared
    std::uint64_t moves = 0;
};
[[nodiscard]] TenantTotals total(std::span<const wire::l2_tenants::Tenant> tenants);

// A line for each L2 guest that did not get over as many exits of each kind as L1 handled, was not told of
// each interrupt once, found a register or a word changed, or did not come to its end. `per_vcpu` of them
// belong to each vCPU.
[[nodiscard]] std::vector<std::string> judge_tenants(std::span<const wire::l2_tenants::Tenant> tenants,
                                                     std::uint64_t per_vcpu, const L2Vendor& vendor);

} // namespace nestbed::stress
