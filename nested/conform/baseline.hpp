// Known results: what a machine is known to get wrong, and why that is no news.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/run_result.hpp"

namespace nestbed::conform {

struct KnownResult {
    std::string verdict; // "fail", "hang", "crash"
    std::string why;     // never empty: a result that nobody can explain is not known
};

struct Baseline {
    std::string machine; // what it describes, for people
    std::map<std::string, KnownResult> known;
};

// Errors: bad_input, with the place: no such file, no JSON, another suite's version, a reason missing, a
// verdict that needs none, a test that the suite does not have (`names` are those it has).
[[nodiscard]] Result<Baseline> parse_baseline(std::string_view text, const std::vector<std::string>& names);

// Marks a result that the baseline knows.
void apply(const Baseline& baseline, report::CheckResult& result);

} // namespace nestbed::conform
