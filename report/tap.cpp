#include "report/tap.hpp"

#include <fmt/format.h>

namespace nestbed::report {

namespace {

// On one line; "#" would begin a directive.
std::string inline_text(const std::string& text) {
    std::string result;
    for (const char c : text) {
        if (c == '#' || c == '\\')
            result += '\\';
        result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return result;
}

std::string diagnostics(const CheckResult& check) {
    auto text = fmt::format("  ---\n  verdict: {}\n", to_string(check.verdict));
    if (!check.reference.empty())
        text += fmt::format("  reference: {}\n", inline_text(check.reference));
    text += fmt::format("  repeat: {}\n", inline_text(check.repeat));
    text += "  details: |\n";
    for (const auto& line : check.details)
        text += fmt::format("    {}\n", inline_text(line));
    return text + "  ...\n";
}

} // namespace

std::string to_tap(const RunResult& run) {
    auto text = fmt::format("TAP version 14\n1..{}\n", run.checks.size());
    std::size_t number = 0;
    for (const auto& check : run.checks) {
        const bool bad = is_bad(check.verdict);
        text += fmt::format("{} {} - {} {}", bad ? "not ok" : "ok", ++number, check.name,
                            inline_text(check.title));
        if (check.verdict == Verdict::skipped || check.verdict == Verdict::not_applicable)
            text += " # SKIP " + inline_text(check.reason);
        else if (bad && !check.known.empty())
            text += " # TODO " + inline_text(check.known);
        text += "\n";
        if (bad)
            text += diagnostics(check);
    }
    return text;
}

} // namespace nestbed::report
