#include "tests/support/schema.hpp"

#include <exception>
#include <fstream>
#include <string_view>

#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

namespace nestbed::test {

namespace {

std::filesystem::path in_docs(std::string_view name) {
    return std::filesystem::path{NESTBED_DOCS_DIR} / name;
}

nlohmann::json read(const std::filesystem::path& path) {
    std::ifstream file{path};
    return nlohmann::json::parse(file);
}

} // namespace

std::filesystem::path run_schema() {
    return in_docs("run.schema.json");
}

std::filesystem::path check_schema() {
    return in_docs("check.schema.json");
}

std::filesystem::path bench_schema() {
    return in_docs("bench.schema.json");
}

std::filesystem::path nested_schema() {
    return in_docs("nested.schema.json");
}

std::vector<std::string> violations(const nlohmann::json& document, const std::filesystem::path& schema) {
    using Adapter = valijson::adapters::NlohmannJsonAdapter;
    try {
        const auto parsed = read(schema);
        valijson::Schema rules;
        valijson::SchemaParser{valijson::SchemaParser::kDraft7}.populateSchema(
            Adapter{parsed}, rules,
            [&](const std::string& beside) {
                return new nlohmann::json(read(schema.parent_path() / beside));
            },
            [](const nlohmann::json* fetched) { delete fetched; });

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
