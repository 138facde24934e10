#include "report/host_check_text.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "report/json.hpp"

namespace nestbed::report {

namespace {

// Of the document; docs/result-format.md says when it grows.
constexpr int check_schema_version = 1;

std::string_view symbol_of(Level level) {
    switch (level) {
    case Level::ok:
        return "\u2713";
    case Level::falls_short:
        return "!";
    case Level::missing:
        return "\u2717";
    }
    return "?";
}

// Symbols are one column wide however many bytes they have.
std::string mark_of(Level level, Marks marks) {
    return marks == Marks::symbols ? std::string{symbol_of(level)} : fmt::format("{:<7}", to_string(level));
}

std::size_t widest(std::span<const HostFinding> findings, std::string_view heading,
                   const std::string HostFinding::*column) {
    auto width = heading.size();
    for (const auto& finding : findings)
        width = std::max(width, (finding.*column).size());
    return width;
}

} // namespace

std::string format_findings(std::span<const HostFinding> findings, Marks marks) {
    constexpr std::string_view what = "what";
    constexpr std::string_view needed = "needed";
    const auto what_width = widest(findings, what, &HostFinding::name);
    const auto needed_width = widest(findings, needed, &HostFinding::asked);
    const std::string indent(marks == Marks::symbols ? 1 : 7, ' ');
    auto text = fmt::format("{}  {:<{}}  {:<{}}  found\n", indent, what, what_width, needed, needed_width);
    for (const auto& finding : findings) {
        text += fmt::format("{}  {:<{}}  {:<{}}  {}\n", mark_of(finding.level, marks), finding.name,
                            what_width, finding.asked, needed_width, finding.found);
        if (!finding.remedy.empty())
            text += fmt::format("{}    {}\n", indent, finding.remedy);
    }
    return text;
}

nlohmann::ordered_json to_json(const HostFinding& finding) {
    return {{"name", finding.name},
            {"level", to_string(finding.level)},
            {"needed_by", finding.needed_by == NeededBy::every_guest ? "every_guest" : "an_option"},
            {"asked", finding.asked},
            {"found", finding.found},
            {"remedy", finding.remedy}};
}

nlohmann::ordered_json to_json(const HostState& state, std::uint32_t vcpus,
                               std::span<const HostFinding> findings, std::string_view conclusion) {
    auto list = nlohmann::ordered_json::array();
    for (const auto& finding : findings)
        list.push_back(to_json(finding));
    return {{"schema_version", check_schema_version},
            {"program", {{"name", "nestbed"}, {"version", program_version()}}},
            {"vcpus", vcpus},
            {"host", to_json(state.facts)},
            {"nested", nested::to_string(state.nested.extension)},
            {"findings", std::move(list)},
            {"all_vcpus_run", all_vcpus_run(findings)},
            {"any_guest_runs", any_guest_runs(findings)},
            {"conclusion", conclusion}};
}

} // namespace nestbed::report
