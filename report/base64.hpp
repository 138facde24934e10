// Bytes as text (RFC 4648, section 4), for arrays too long to be written as numbers.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nestbed::report {

[[nodiscard]] std::string to_base64(std::span<const std::byte> bytes);
// Empty for anything that to_base64() does not write: other letters, blanks, a missing "=".
[[nodiscard]] std::optional<std::vector<std::byte>> from_base64(std::string_view text);

// IEEE 754 single precision, least significant byte first.
[[nodiscard]] std::string floats_to_base64(std::span<const float> values);
[[nodiscard]] std::optional<std::vector<float>> floats_from_base64(std::string_view text);

} // namespace nestbed::report
