#include "stress/in_lab.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "lab/lab.hpp"
#include "report/json.hpp"

namespace nestbed::stress {

namespace {

constexpr std::chrono::minutes patience{8};

// The check of this name in a run's document. Errors: bad_input for what is none.
Result<report::CheckResult> check_in(const std::string& document, std::string_view name) {
    const auto json = nlohmann::json::parse(document, nullptr, false);
    const auto refused = fail(ErrorKind::bad_input, "read what the lab found", "it is no result document");
    if (json.is_discarded() || !json.is_object() || !json.contains("checks") || !json["checks"].is_array())
        return refused;
    for (const auto& check : json["checks"])
        if (auto read = report::check_from_json(check); read && read->name == name)
            return read;
    return refused;
}

void skip(report::CheckResult& result, const std::string& why) {
    result.verdict = report::Verdict::skipped;
    result.reason = "this host's KVM offers no SVM, and the lab cannot stand in: " + why;
}

} // namespace

void check_in_lab(report::CheckResult& result, const LabCheck& check, supervise::Supervisor& supervisor) {
    lab::LabRequest request;
    const auto vcpus = std::min(check.vcpus, most_vcpus_in_lab);
    request.arguments = {"validate",
                         "--where",
                         "host",
                         "--only",
                         result.name,
                         "--vcpus",
                         fmt::format("{}", vcpus),
                         "--seed",
                         fmt::format("{}", check.seed),
                         "--json"};
    request.shape.cpus = request.shape.nodes = 1; // see lab::default_shape()
    request.timeout = patience;
    std::string document;
    std::string words;
    const auto ran = lab::run(request,
                              {.out = [&](std::string_view bytes) { document += bytes; },
                               .err = [&](std::string_view bytes) { words += bytes; },
                               .progress = [](const std::string&) {},
                               .again = [&](const Error&) { document.clear(); }},
                              supervisor);
    if (!ran)
        return skip(result, ran.error().message());
    auto found = check_in(document, result.name);
    if (!found)
        return skip(result, words.empty() ? found.error().message() : words);
    const auto repeat =
        fmt::format("nestbed lab -- validate --only {} --vcpus {} --seed {}", result.name, vcpus, check.seed);
    result = std::move(*found);
    result.summary = "in the lab: " + result.summary;
    result.repeat = repeat;
}

} // namespace nestbed::stress
