// The host check as text for people and as JSON.
#pragma once

#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include "report/host_check.hpp"

namespace nestbed::report {

enum class Marks { words, symbols }; // "ok", "short", "missing" or U+2713, "!", U+2717 (UTF-8)

// One line each, columns aligned, a heading above and the remedy of each shortfall on an indented line below.
[[nodiscard]] std::string format_findings(std::span<const HostFinding> findings, Marks marks);

[[nodiscard]] nlohmann::ordered_json to_json(const HostFinding& finding);

} // namespace nestbed::report
