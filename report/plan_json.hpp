// Plans and hosts out of a document.
#pragma once

#include "report/fields.hpp"
#include "topology/host.hpp"
#include "topology/plan.hpp"

namespace nestbed::report {

// What to_json() of json.hpp has written; what is not as it should be is noted in the field.
[[nodiscard]] topology::Plan read_plan(const Field& field);
[[nodiscard]] topology::Shape read_shape(const Field& field);
[[nodiscard]] topology::PageSize read_page_size(const Field& field);
// Without its XML.
[[nodiscard]] topology::Host read_host_topology(const Field& field);

} // namespace nestbed::report
