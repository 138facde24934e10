#include "cli/tower_text.hpp"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "cli/validate_text.hpp"
#include "guests/tower_levels.hpp"

namespace nestbed::cli {

namespace {

std::string what_stands_at(unsigned level, unsigned levels) {
    if (level == 0)
        return "this host";
    if (level < levels)
        return "Linux with nestbed in it";
    // Where KVM in the level below is nested-capable, the payload drives a guest of its own.
    return level == levels ? "nestbed's payload" : "a guest of the payload's";
}

std::string summary_of(const report::RunResult& run, std::string_view check) {
    const auto found = std::ranges::find(run.checks, check, &report::CheckResult::name);
    return found == run.checks.end() ? std::string{} : ": " + found->summary;
}

} // namespace

std::string tower_text(const report::RunResult& run, unsigned levels, const std::string& document,
                       bool colour) {
    std::string text;
    for (const auto& level : guests::verdicts_by_level(run.checks)) {
        text += fmt::format("level {}  {:<24} {} checks held, {} failed, {} not judged{}\n", level.level,
                            what_stands_at(level.level, levels), level.held, level.failed, level.not_judged,
                            level.level == 0 ? summary_of(run, "level0.nested")
                                             : summary_of(run, fmt::format("level{}.linux", level.level)));
        for (const auto& check : run.checks)
            if (check.name.starts_with(fmt::format("level{}.", level.level)) && check.known.empty() &&
                report::is_bad(check.verdict)) {
                auto failed = check;
                failed.verdict = report::Verdict::fail; // a hang too
                text += verdict_line(failed, colour);
            }
    }
    return text + conclusion(run, document);
}

} // namespace nestbed::cli
