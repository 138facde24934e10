// Sets of PU or node numbers as people and the kernel's sysfs write them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace nestbed::topology {

// "0-3,8" for {0, 1, 2, 3, 8}, in any order and with duplicates; "none" where empty.
[[nodiscard]] std::string format_index_list(std::span<const std::uint32_t> indexes);

} // namespace nestbed::topology
