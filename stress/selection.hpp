// Which checks a run is made of, by shell patterns over their names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace nestbed::stress {

inline constexpr std::string_view teardown_name = "machine.teardown"; // runs last, on no machine

// Whether one of the patterns matches; without patterns everything is selected.
[[nodiscard]] bool selected(const std::vector<std::string>& patterns, std::string_view name);

// Errors: bad_input for a pattern that no check matches, naming those there are.
[[nodiscard]] Status check_patterns(const std::vector<std::string>& patterns);

} // namespace nestbed::stress
