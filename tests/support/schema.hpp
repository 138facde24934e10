// Checks result documents against the schema that docs/ promises.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace nestbed::test {

// In docs/.
[[nodiscard]] std::filesystem::path run_schema();
[[nodiscard]] std::filesystem::path check_schema();
[[nodiscard]] std::filesystem::path bench_schema();
[[nodiscard]] std::filesystem::path nested_schema();

// One line for each way in which `document` breaks the JSON Schema (draft 7) in the file,
// "<root>[host][kernel]: ..."; empty where it is valid. A schema that is missing or broken, or refers to one
// beside it that is, is a violation too.
[[nodiscard]] std::vector<std::string> violations(const nlohmann::json& document,
                                                  const std::filesystem::path& schema = run_schema());

} // namespace nestbed::test
