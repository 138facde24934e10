// A plan as a person writes or edits it, in TOML. Policy::file makes a Plan of it again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "topology/plan.hpp"

namespace nestbed::topology {

struct PlanFile {
    struct Node {
        std::optional<std::uint32_t> host_node; // os index; empty: not bound
        std::uint64_t memory_bytes = 0;
    };
    struct Place {
        std::uint32_t node = 0;         // index into `nodes`
        std::vector<std::uint32_t> pus; // os indexes; empty: any
    };
    PageSize page_size = PageSize::base;
    std::optional<Shape> shape; // empty: derived from the placement
    std::vector<Node> nodes;    // at least one
    std::vector<Place> places;  // by vCPU; at least one

    [[nodiscard]] std::uint32_t vcpus() const { return static_cast<std::uint32_t>(places.size()); }
    [[nodiscard]] std::uint64_t memory_bytes() const;
};

// Sixteen times what KVM on x86-64 allows.
inline constexpr std::uint32_t max_plan_file_vcpus = 1U << 16;

// What can be told without a host. Errors: bad_input, with the line, for text that is no TOML, fields that
// are unknown, missing or of another type, numbers out of range, and vCPUs that are placed twice or not at
// all.
[[nodiscard]] Result<PlanFile> parse_plan_file(std::string_view text);

// Effect. Errors: bad_input.
[[nodiscard]] Result<PlanFile> read_plan_file(const std::string& path);

// parse_plan_file() reads it back to the same placement, memory and shape, where the plan has at most
// max_plan_file_vcpus.
[[nodiscard]] std::string format_plan_file(const Plan& plan, const Host& host);

// Errors: bad_input naming the vCPU or node for PUs and nodes that the host does not have, that the file
// gives memory of no whole pages, and for a node whose vCPUs have none; host_lacks for PUs and nodes that
// this process may not use, and for nodes without that memory or those huge pages.
[[nodiscard]] Status check_plan_file(const PlanFile& file, const Host& host);

} // namespace nestbed::topology
