// What KVM offers to guests that are hypervisors, for people.
#pragma once

#include <string>

#include "report/nested_offer.hpp"

namespace nestbed::cli {

[[nodiscard]] std::string nested_text(const report::NestedSeen& seen);

} // namespace nestbed::cli
