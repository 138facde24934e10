// The shapes that every test of this folder goes through.
#pragma once

#include <ostream>
#include <vector>

#include "topology/virtual_topology.hpp"

// How GoogleTest shows a shape where a test fails.
namespace nestbed::topology {
// NOLINTNEXTLINE(readability-identifier-naming): GoogleTest looks for this name.
inline void PrintTo(const Shape& shape, std::ostream* out) {
    *out << format_shape(shape);
}
} // namespace nestbed::topology

namespace nestbed::core::cpu::test {

// Flat ones around the widths of the fields, then odd ones.
[[nodiscard]] const std::vector<topology::Shape>& all_shapes();

} // namespace nestbed::core::cpu::test
