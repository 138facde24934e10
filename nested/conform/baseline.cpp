#include "nested/conform/baseline.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "nested/conform/catalog.hpp"
#include "nested/conform/outside_json.hpp"

namespace nestbed::conform {

namespace {

tl::unexpected<Error> refuse(std::string found, std::string remedy = {}) {
    return fail(ErrorKind::bad_input, "read the baseline", std::move(found), std::move(remedy));
}

std::string text_of(const nlohmann::json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

} // namespace

Result<Baseline> parse_baseline(std::string_view text, const std::vector<std::string>& names) {
    const auto document = parse_outside_json(text);
    if (!document)
        return refuse("it is no JSON object", "write one as docs/conformance.md shows");
    const auto version = document->find("suite");
    const bool numbered = version != document->end() && version->is_number();
    if (!numbered || *version != suite_version)
        return refuse(fmt::format("it is of suite {}, this is suite {}",
                                  numbered ? version->dump() : "(none)", suite_version),
                      "make a new one from a run of this suite");
    const auto known = document->find("known");
    if (known == document->end() || !known->is_object())
        return refuse("it has no object \"known\"");
    Baseline baseline{.machine = text_of(*document, "machine"), .known = {}};
    for (const auto& [name, entry] : known->items()) {
        if (std::ranges::find(names, name) == names.end())
            return refuse(fmt::format("there is no test {}", name), "take it out");
        if (!entry.is_object())
            return refuse(fmt::format("{} is no object with verdict and why", name));
        KnownResult result{text_of(entry, "verdict"), text_of(entry, "why")};
        if (result.verdict != "fail" && result.verdict != "hang" && result.verdict != "crash")
            return refuse(fmt::format("{} has the verdict \"{}\"", name, result.verdict),
                          "only fail, hang and crash need to be known");
        if (result.why.empty())
            return refuse(fmt::format("{} says not why", name));
        baseline.known.emplace(name, std::move(result));
    }
    return baseline;
}

void apply(const Baseline& baseline, report::CheckResult& result) {
    const auto found = baseline.known.find(result.name);
    if (found != baseline.known.end() && found->second.verdict == report::to_string(result.verdict))
        result.known = found->second.why;
}

} // namespace nestbed::conform
