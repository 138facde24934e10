// SRAT and SLIT: which virtual node each vCPU and each stretch of RAM is on, and how far the nodes are from
// each other (ACPI 6.3, 5.2.16 and 5.2.17). A proximity domain is a virtual node of the plan.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/acpi/writer.hpp"
#include "core/boot/ram.hpp"
#include "topology/plan.hpp"

namespace nestbed::acpi {

[[nodiscard]] Bytes srat(const topology::Plan& plan, std::span<const boot::RamRange> ram);

// Row by row, plan.nodes.size() squared. A node is 10 from itself. Between two nodes stands the plan's
// distance, brought into 11 to 254: 255 means unreachable, and Linux throws the whole table away where
// another node is as near as the local one. Where the plan has no distance it is 20, which Linux assumes
// without a table.
[[nodiscard]] std::vector<std::uint8_t> slit_distances(const topology::Plan& plan);

[[nodiscard]] Bytes slit(const topology::Plan& plan);

} // namespace nestbed::acpi
