// The conformance tests that a payload holds, and how they are chosen.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "core/boot/payload.hpp"
#include "nested/wire/conform.hpp"

namespace nestbed::conform {

// Of names and meanings of the tests together: results and baselines of different suites do not compare.
inline constexpr int suite_version = 1;

struct Case {
    std::string name;               // "svm.vmrun_checks.asid_zero"
    std::string title;              // what must hold
    std::string reference;          // manual and section
    std::vector<std::string> needs; // features beyond the extension itself
    std::uint32_t vcpus = 1;
    nested::wire::Ending ending = nested::wire::Ending::returns;
};

// Sorted by name. Errors: bad_input where two have one name, or one lacks something or ends in no way there
// is, which the build should not have let through.
[[nodiscard]] Result<std::vector<Case>> cases_of(const boot::Payload& payload);

// Those that one of the shell patterns matches, all where there is none, in the order of `cases`. Errors:
// bad_input for a pattern that matches none, with the names most like it.
[[nodiscard]] Result<std::vector<Case>> select(std::span<const Case> cases,
                                               std::span<const std::string> patterns);

// "svm" or "vmx" of "svm.GROUP.case".
[[nodiscard]] std::string_view extension_of(std::string_view name);

// The group of "svm.GROUP.case".
[[nodiscard]] std::string_view group_of(std::string_view name);

// The candidates that differ least from `name`, at most `most`, the nearest first.
[[nodiscard]] std::vector<std::string> nearest(std::string_view name, std::span<const Case> candidates,
                                               std::size_t most = 3);

} // namespace nestbed::conform
