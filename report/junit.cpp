#include "report/junit.hpp"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

namespace nestbed::report {

namespace {

enum class Kind { passed, failed, error, skipped };

Kind kind_of(const CheckResult& check) {
    if (!check.known.empty())
        return Kind::skipped;
    switch (check.verdict) {
    case Verdict::pass:
        return Kind::passed;
    case Verdict::fail:
        return Kind::failed;
    case Verdict::skipped:
    case Verdict::not_applicable:
        return Kind::skipped;
    default:
        return Kind::error;
    }
}

// Control characters but tab and newline cannot be written in XML 1.0 at all.
std::string escape(std::string_view text) {
    std::string result;
    for (const char c : text) {
        if (c == '&')
            result += "&amp;";
        else if (c == '<')
            result += "&lt;";
        else if (c == '>')
            result += "&gt;";
        else if (c == '"')
            result += "&quot;";
        else if (static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\t')
            result += '?';
        else
            result += c;
    }
    return result;
}

std::string body_of(const CheckResult& check) {
    switch (kind_of(check)) {
    case Kind::passed:
        return {};
    case Kind::skipped:
        return fmt::format("<skipped message=\"{}\"/>",
                           escape(check.known.empty() ? check.reason : "known: " + check.known));
    case Kind::failed:
    case Kind::error:
        break;
    }
    std::string details;
    for (const auto& line : check.details)
        details += line + "\n";
    details += "repeat: " + check.repeat + "\n";
    const auto tag = kind_of(check) == Kind::failed ? "failure" : "error";
    return fmt::format("<{0} type=\"{1}\" message=\"{2}\">{3}</{0}>", tag, to_string(check.verdict),
                       escape(check.summary.empty() ? check.reason : check.summary), escape(details));
}

} // namespace

std::string to_junit(const RunResult& run) {
    const auto count = [&](Kind kind) {
        return std::ranges::count_if(run.checks, [&](const auto& check) { return kind_of(check) == kind; });
    };
    auto text = fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                            "<testsuite name=\"nestbed {}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" "
                            "skipped=\"{}\" time=\"{:.3f}\">\n",
                            escape(run.kind), run.checks.size(), count(Kind::failed), count(Kind::error),
                            count(Kind::skipped), run.duration_s);
    for (const auto& check : run.checks) {
        const auto point = check.name.rfind('.');
        const auto group = point == std::string::npos ? run.kind : check.name.substr(0, point);
        text += fmt::format("  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\">{}</testcase>\n",
                            escape(group), escape(check.name), check.seconds, body_of(check));
    }
    return text + "</testsuite>\n";
}

} // namespace nestbed::report
