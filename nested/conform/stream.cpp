#include "nested/conform/stream.hpp"

#include <utility>

#include <nlohmann/json.hpp>

#include "nested/conform/outside_json.hpp"
#include "report/json.hpp"

namespace nestbed::conform {

namespace {

// A result has a few hundred lines of details at most.
constexpr std::size_t longest_line = std::size_t{1} << 20;

std::string line_of(const nlohmann::ordered_json& json) {
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::optional<StreamEvent> event_of(const std::string& line) {
    const auto json = parse_outside_json(line);
    if (!json)
        return {};
    if (const auto started = json->find("started"); started != json->end() && started->is_string())
        if (auto test = started->get<std::string>(); !test.empty())
            return StreamEvent{std::move(test), {}};
    if (const auto result = json->find("result"); result != json->end())
        if (auto check = report::check_from_json(*result))
            return StreamEvent{{}, std::move(*check)};
    return {};
}

} // namespace

std::string started_line(std::string_view test) {
    return line_of({{"started", test}});
}

std::string result_line(const report::CheckResult& result) {
    return line_of({{"result", report::to_json(result)}});
}

void StreamReader::feed(std::string_view bytes) {
    for (const char c : bytes) {
        if (c != '\n') {
            if (_line.size() < longest_line)
                _line += c;
            else
                _too_long = true;
            continue;
        }
        if (!_too_long)
            if (auto event = event_of(_line))
                _on_event(std::move(*event));
        _line.clear();
        _too_long = false;
    }
}

} // namespace nestbed::conform
