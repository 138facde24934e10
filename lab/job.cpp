#include "lab/job.hpp"

#include <nlohmann/json.hpp>

namespace nestbed::lab {

namespace {

using nlohmann::json;

// Arguments and paths are bytes, which JSON has no word for unless they are UTF-8. As numbers they are none
// the worse.
json to_json(const std::string& text) {
    return json(std::vector<unsigned char>{text.begin(), text.end()});
}

json to_json(const std::vector<std::string>& texts) {
    auto list = json::array();
    for (const auto& text : texts)
        list.push_back(to_json(text));
    return list;
}

std::string to_string(const json& bytes) {
    const auto values = bytes.get<std::vector<unsigned char>>();
    return {values.begin(), values.end()};
}

std::vector<std::string> to_strings(const json& list) {
    std::vector<std::string> texts;
    for (const auto& bytes : list)
        texts.push_back(to_string(bytes));
    return texts;
}

} // namespace

std::string to_text(const Job& job) {
    auto environment = json::array();
    for (const auto& [name, value] : job.environment)
        environment.push_back({to_json(name), to_json(value)});
    return json{{"arguments", to_json(job.arguments)},
                {"environment", std::move(environment)},
                {"working_directory", to_json(job.working_directory)},
                {"result_roots", to_json(job.result_roots)},
                {"modules", to_json(job.modules)}}
        .dump();
}

Result<Job> parse_job(std::string_view text) {
    try {
        const auto document = json::parse(text);
        Job job{.arguments = to_strings(document.at("arguments")),
                .environment = {},
                .working_directory = to_string(document.at("working_directory")),
                .result_roots = to_strings(document.at("result_roots")),
                .modules = to_strings(document.at("modules"))};
        for (const auto& pair : document.at("environment"))
            job.environment[to_string(pair.at(0))] = to_string(pair.at(1));
        return job;
    } catch (const json::exception& error) {
        return fail(ErrorKind::bad_input, std::string{"read "} + job_path, error.what());
    }
}

} // namespace nestbed::lab
