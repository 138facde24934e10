#include "stress/selection.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include "stress/checks.hpp"

namespace nestbed::stress {

bool selected(const std::vector<std::string>& patterns, std::string_view name) {
    return patterns.empty() || std::ranges::any_of(patterns, [&](const std::string& pattern) {
               return ::fnmatch(pattern.c_str(), std::string{name}.c_str(), 0) == 0;
           });
}

Status check_patterns(const std::vector<std::string>& patterns) {
    std::vector<std::string_view> names;
    for (const auto& check : all_checks())
        names.push_back(check.name);
    names.push_back(teardown_name);
    for (const auto& pattern : patterns)
        if (std::ranges::none_of(names, [&](std::string_view name) { return selected({pattern}, name); }))
            return fail(ErrorKind::bad_input, fmt::format("run the checks \"{}\"", pattern),
                        "no check has such a name", fmt::format("there are: {}", fmt::join(names, ", ")));
    return {};
}

} // namespace nestbed::stress
