// Text of unknown origin, made fit for a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace nestbed {

// Anything but printable ASCII as '?'.
[[nodiscard]] std::string printable(std::string_view bytes);

// The last lines that are not blank, `most` or fewer, printable and in their order.
[[nodiscard]] std::vector<std::string> last_lines(std::string_view bytes, std::size_t most);

} // namespace nestbed
