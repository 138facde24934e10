// The host check as text for people and as JSON.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "report/host_check.hpp"

namespace nestbed::report {

enum class Marks { words, symbols }; // "ok", "short", "missing" or U+2713, "!", U+2717 (UTF-8)

// One line each, columns aligned, a heading above and the remedy of each shortfall on an indented line below.
[[nodiscard]] std::string format_findings(std::span<const HostFinding> findings, Marks marks);

[[nodiscard]] nlohmann::ordered_json to_json(const HostFinding& finding);

// What was judged against `vcpus` as the document that docs/check.schema.json describes.
[[nodiscard]] nlohmann::ordered_json to_json(const HostState& state, std::uint32_t vcpus,
                                             std::span<const HostFinding> findings,
                                             std::string_view conclusion);

} // namespace nestbed::report
