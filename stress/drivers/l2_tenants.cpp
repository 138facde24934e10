#include "stress/drivers/l2_tenants.hpp"

#include <array>
#include <numeric>
#include <string_view>

#include <fmt/format.h>

namespace nestbed::stress {

namespace {

namespace job = wire::l2_tenants;

constexpr std::array<std::string_view, job::registers + 2> register_names{
    "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "R8",  "R9",
    "R10", "R11", "R12", "R13", "R14", "R15", "RAX", "ES"};

std::string place_text(std::uint64_t what) {
    return what < register_names.size() ? std::string{register_names[what]}
                                        : fmt::format("word {} of its page", what - register_names.size());
}

// The first thing that is wrong with it; empty where nothing is.
std::string complaint(const job::Tenant& tenant, const L2Vendor& vendor) {
    if (const auto changed = tenant.wrong_replies + tenant.wrong_registers + tenant.wrong_words; changed != 0)
        return fmt::format("{} canaries changed, the first {}: {:#x} instead of {:#x}", changed,
                           place_text(tenant.first_wrong), tenant.seen, tenant.expected);
    if (tenant.strange != 0)
        return fmt::format("left by {}, which it did not ask for", vendor.exit_text(tenant.strange_code));
    for (std::size_t kind = 0; kind < job::kinds; ++kind)
        if (tenant.made[kind] != tenant.handled[kind])
            return fmt::format("L2 made {} exits by {}, L1 saw {}", tenant.made[kind], vendor.kinds[kind],
                               tenant.handled[kind]);
    for (std::size_t i = 0; i < job::vectors; ++i)
        if (tenant.injected[i] != tenant.delivered[i])
            return fmt::format("vector {:#x}: L1 injected {} interrupts, L2 took {}", job::first_vector + i,
                               tenant.injected[i], tenant.delivered[i]);
    if (tenant.stray != 0)
        return fmt::format("{} events in L2 that L1 did not inject", tenant.stray);
    if (tenant.ended != 1)
        return "did not come to its end";
    if (tenant.checked == 0)
        return "compared nothing";
    return {};
}

template<typename Values>
std::uint64_t sum(const Values& values) {
    return std::accumulate(std::begin(values), std::end(values), std::uint64_t{0});
}

} // namespace

TenantTotals total(std::span<const job::Tenant> tenants) {
    TenantTotals totals;
    for (const auto& tenant : tenants) {
        totals.exits += sum(tenant.handled);
        totals.injected += sum(tenant.injected);
        totals.checked += tenant.checked;
        totals.moves += tenant.moves;
    }
    return totals;
}

std::vector<std::string> judge_tenants(std::span<const job::Tenant> tenants, std::uint64_t per_vcpu,
                                       const L2Vendor& vendor) {
    std::vector<std::string> wrong;
    for (std::size_t i = 0; i < tenants.size(); ++i)
        if (const auto text = complaint(tenants[i], vendor); !text.empty())
            wrong.push_back(fmt::format("L2 {} of vCPU {}: {}", i % per_vcpu, i / per_vcpu, text));
    return wrong;
}

} // namespace nestbed::stress
