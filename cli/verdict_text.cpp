#include "cli/verdict_text.hpp"

#include <map>

#include <fmt/color.h>
#include <fmt/format.h>

namespace nestbed::cli {

using report::Verdict;

std::string case_lines(const report::CheckResult& check, bool colour) {
    const auto word = check.verdict == Verdict::not_applicable ? "n/a" : report::to_string(check.verdict);
    const bool bad = report::is_bad(check.verdict) && check.known.empty();
    auto padded = fmt::format("{:<6}", word);
    if (colour && bad)
        padded = fmt::format(fg(fmt::terminal_color::red), "{}", padded);
    else if (colour && check.verdict == Verdict::pass)
        padded = fmt::format(fg(fmt::terminal_color::green), "{}", padded);
    auto line =
        fmt::format("{} {:<44} {}", padded, check.name, check.reason.empty() ? check.summary : check.reason);
    if (!check.known.empty())
        line = fmt::format("{} {:<44} known: {}", padded, check.name, check.known);
    line += "\n";
    if (bad && check.verdict != Verdict::not_run) {
        line += fmt::format("       {} [{}]\n", check.title, check.reference);
        for (const auto& detail : check.details)
            line += fmt::format("       {}\n", detail);
        line += fmt::format("       repeat: {}\n", check.repeat);
    }
    return line;
}

std::string conform_conclusion(const report::RunResult& run, const std::string& document) {
    std::map<Verdict, std::size_t> counts;
    std::size_t known = 0;
    for (const auto& check : run.checks)
        if (check.known.empty())
            ++counts[check.verdict];
        else
            ++known;
    return fmt::format(
        "\n{}: {} passed, {} failed, {} hung, {} crashed, {} known, {} not applicable, {} not run, "
        "in {:.1f} s; details in {}\n",
        report::to_string(run.outcome), counts[Verdict::pass], counts[Verdict::fail], counts[Verdict::hang],
        counts[Verdict::crash], known, counts[Verdict::not_applicable], counts[Verdict::not_run],
        run.duration_s, document);
}

} // namespace nestbed::cli
