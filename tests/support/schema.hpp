// Checks result documents against the schema that docs/ promises.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace nestbed::test {

// docs/run.schema.json.
[[nodiscard]] std::filesystem::path run_schema();

// One line for each way in which `document` breaks the JSON Schema (draft 7) in the file,
// "<root>[host][kernel]:
// ..."; empty where it is valid. A schema that is missing or broken is a violation too.
[[nodiscard]] std::vector<std::string> violations(const nlohmann::json& document,
                                                  const std::filesystem::path& schema = run_schema());

} // namespace nestbed::test
