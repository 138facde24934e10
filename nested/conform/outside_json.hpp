// JSON that somebody else wrote.
#pragma once

#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

namespace nestbed::conform {

// Empty for what is no JSON object, or nests deeper than anything that this program writes: whatever copies
// or prints a value goes as deep on the stack.
[[nodiscard]] std::optional<nlohmann::json> parse_outside_json(std::string_view text);

} // namespace nestbed::conform
