// Numbers in the order that a person gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::topology {

// "0-3,8" and, as the kernel's CPU lists have it, "0-30:1/8" for 0, 8, 16, 24 (the first 1 of every 8;
// Documentation/admin-guide/kernel-parameters.rst, "cpu lists"). The order is kept, and so are numbers that
// come twice. Errors: bad_input for anything else, for numbers above `largest`, and for more than `most` of
// them.
[[nodiscard]] Result<std::vector<std::uint32_t>> parse_number_list(std::string_view text,
                                                                   std::uint32_t largest, std::size_t most);

// parse_number_list() reads it back.
[[nodiscard]] std::string format_number_list(std::span<const std::uint32_t> numbers);

} // namespace nestbed::topology
