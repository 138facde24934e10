// vCPU counts as a person asks for them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::stress {

// Counts separated by commas: a number, "max" for `most`, "4..64" for 4, 8, 16, 32, 64 (each twice the one
// before, and always the last), "8..32:8" for 8, 16, 24, 32. In the order given; what comes twice counts
// once. Errors: bad_input for anything else, for 0, for more than `most` and for a range that goes down.
[[nodiscard]] Result<std::vector<std::uint32_t>> parse_vcpu_counts(std::string_view text, std::uint32_t most);

// What is swept where nobody says: 1, 2, 4 and on to `most`, or to what `nestbed validate` boots.
[[nodiscard]] std::vector<std::uint32_t> default_vcpu_counts(std::uint32_t most);

} // namespace nestbed::stress
