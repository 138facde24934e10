#include "nested/conform/catalog.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include "base/edit_distance.hpp"

namespace nestbed::conform {

namespace {

bool matches(const std::string& pattern, const std::string& name) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

} // namespace

Result<std::vector<Case>> cases_of(const boot::Payload& payload) {
    std::vector<Case> cases;
    for (const auto& job : payload.jobs)
        cases.push_back({.name = job.name,
                         .title = job.title,
                         .reference = job.reference,
                         .needs = job.needs,
                         .vcpus = std::max(job.vcpus, 1U),
                         .ending = static_cast<nested::wire::Ending>(job.ending)});
    std::ranges::sort(cases, {}, &Case::name);
    const auto twice = std::ranges::adjacent_find(cases, {}, &Case::name);
    if (twice != cases.end())
        return fail(ErrorKind::bad_input, "read the conformance tests",
                    fmt::format("two are named {}", twice->name));
    for (const auto& test : cases)
        if (test.ending > nested::wire::Ending::stopped)
            return fail(ErrorKind::bad_input, "read the conformance tests",
                        fmt::format("{} has the ending {}, which there is not", test.name,
                                    static_cast<std::uint32_t>(test.ending)));
    for (const auto& test : cases)
        if (test.title.empty() || test.reference.empty() || group_of(test.name).empty())
            return fail(ErrorKind::bad_input, "read the conformance tests",
                        fmt::format("{} lacks a title, a section or a group", test.name));
    return cases;
}

Result<std::vector<Case>> select(std::span<const Case> cases, std::span<const std::string> patterns) {
    for (const auto& pattern : patterns)
        if (std::ranges::none_of(cases, [&](const Case& test) { return matches(pattern, test.name); }))
            return fail(ErrorKind::bad_input, fmt::format("run the tests \"{}\"", pattern),
                        "no test has such a name",
                        fmt::format("did you mean {}? `nestbed conform list` has all of them",
                                    fmt::join(nearest(pattern, cases), ", ")));
    std::vector<Case> chosen;
    for (const auto& test : cases)
        if (patterns.empty() ||
            std::ranges::any_of(patterns, [&](const auto& pattern) { return matches(pattern, test.name); }))
            chosen.push_back(test);
    return chosen;
}

std::string_view extension_of(std::string_view name) {
    return name.substr(0, name.find('.'));
}

std::string_view group_of(std::string_view name) {
    const auto first = name.find('.');
    const auto last = name.rfind('.');
    return first == last ? std::string_view{} : name.substr(first + 1, last - first - 1);
}

std::vector<std::string> nearest(std::string_view name, std::span<const Case> candidates, std::size_t most) {
    std::vector<std::pair<std::size_t, std::string>> scored;
    for (const auto& test : candidates)
        scored.emplace_back(edit_distance(name, test.name), test.name);
    std::ranges::sort(scored);
    std::vector<std::string> names;
    for (std::size_t i = 0; i < std::min(most, scored.size()); ++i)
        names.push_back(scored[i].second);
    return names;
}

} // namespace nestbed::conform
