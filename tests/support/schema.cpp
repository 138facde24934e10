#include "tests/support/schema.hpp"

#include <exception>
#include <fstream>

#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

namespace nestbed::test {

std::filesystem::path run_schema() {
    return std::filesystem::path{NESTBED_DOCS_DIR} / "run.schema.json";
}

std::vector<std::string> violations(const nlohmann::json& document, const std::filesystem::path& schema) {
    using Adapter = valijson::adapters::NlohmannJsonAdapter;
    try {
        std::ifstream file{schema};
        const auto parsed = nlohmann::json::parse(file);
        valijson::Schema rules;
        valijson::SchemaParser{valijson::SchemaParser::kDraft7}.populateSchema(Adapter{parsed}, rules);

        valijson::ValidationResults results;
        valijson::Validator{}.validate(rules, Adapter{document}, &results);
        std::vector<std::string> lines;
        for (valijson::ValidationResults::Error error; results.popError(error);) {
            auto& line = lines.emplace_back();
            for (const auto& step : error.context)
                line.append(step);
            line.append(": ").append(error.description);
        }
        return lines;
    } catch (const std::exception& exception) {
        return {schema.string() + ": " + exception.what()};
    }
}

} // namespace nestbed::test
