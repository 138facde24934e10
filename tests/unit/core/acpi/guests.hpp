// The guests that every test of this folder goes through.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "core/acpi/tables.hpp"
#include "topology/plan.hpp"

namespace nestbed::acpi::test {

struct Guest {
    std::string name;
    topology::Shape shape;
    std::uint32_t nodes = 1;
    std::uint64_t node_bytes = 0;
};

// NOLINTNEXTLINE(readability-identifier-naming): GoogleTest looks for this name.
inline void PrintTo(const Guest& guest, std::ostream* out) {
    *out << guest.name;
}

// 1 to 4096 vCPUs around the widths of the fields, and shapes with gaps between their ids.
[[nodiscard]] const std::vector<Guest>& all_guests();

// The vCPUs in equal parts on the nodes, each node as near to the next as 21.
[[nodiscard]] topology::Plan plan_of(const Guest& guest);

// COM1 and three virtio devices.
[[nodiscard]] Hardware some_hardware();

// Throws where they cannot be built.
[[nodiscard]] Tables tables_of(const Guest& guest, const Hardware& hardware = some_hardware());

} // namespace nestbed::acpi::test
