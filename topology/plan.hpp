// The plan: which host PU each vCPU thread runs on, which host node each guest page comes from, and the
// topology that the guest is shown. A value: plan() looks at nothing but its arguments.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "topology/host.hpp"
#include "topology/policy.hpp"
#include "topology/virtual_topology.hpp"

namespace nestbed::topology {

enum class PageSize { base, thp, huge_2m, huge_1g };

[[nodiscard]] std::string_view to_string(PageSize size); // "4K", "thp", "2M", "1G"
[[nodiscard]] Result<PageSize> parse_page_size(std::string_view name);
[[nodiscard]] std::uint64_t bytes_of(PageSize size); // thp: 4 KiB, what is guaranteed

struct PlanRequest {
    std::uint32_t vcpus = 1;
    std::uint64_t memory_bytes = 0;
    Policy policy = Policy::numa;
    PageSize page_size = PageSize::base;
    std::optional<Shape> shape; // empty: derived from the placement
    // The guest is shown the PUs that the policy chooses in the host's order, so that neighbours are close,
    // and its vCPUs run on them by turns over packages, nodes, caches and cores. Their memory is where they
    // are shown to be. Without a shape.
    bool lying = false;
};

struct VcpuPlacement {
    std::uint32_t vcpu = 0;
    std::uint32_t apic_id = 0;
    std::uint32_t virtual_node = 0;
    std::vector<std::uint32_t> pus; // os indexes that its thread may run on; one where pinned, empty: any
    std::string reason;
};

struct NodePlacement {
    std::uint32_t virtual_node = 0;
    std::optional<std::uint32_t> host_node; // os index; empty: not bound
    std::uint64_t memory_bytes = 0;         // a multiple of the page size
    std::string reason;
};

struct Plan {
    Policy policy = Policy::none;
    PageSize page_size = PageSize::base;
    Shape shape;
    std::vector<VcpuPlacement> vcpus;
    std::vector<NodePlacement> nodes; // at least one
    // Distances between virtual nodes, for a SLIT: those of the host nodes behind them.
    std::vector<std::vector<std::uint32_t>> distances;
    std::uint32_t min_vcpus_per_pu = 0; // over the PUs used; 0 where nothing is pinned
    std::uint32_t max_vcpus_per_pu = 0;
    std::vector<std::string> notes; // the choices that concern the plan as a whole, with their reasons

    [[nodiscard]] std::uint64_t memory_bytes() const;
};

// Deterministic. Errors: bad_input for no vCPUs, no memory, a shape that does not multiply out to the vCPUs,
// a lie with a shape or with a policy that pins nothing or is a file, a policy whose file was not read or is
// for another machine, and those of traffic_of() and check_plan_file(); host_lacks for memory larger than the
// host, a node without room for its share, a lack of huge pages, and a host without a usable PU or node.
[[nodiscard]] Result<Plan> plan(const PlanRequest& request, const Host& host);

} // namespace nestbed::topology
