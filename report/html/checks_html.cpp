#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "report/html/escape.hpp"
#include "report/html/sections.hpp"

namespace nestbed::report {

namespace {

// Failures, then what did not run, then what passed.
int order(const CheckResult& check) {
    if (is_bad(check.verdict) && check.verdict != Verdict::not_run)
        return check.known.empty() ? 0 : 1;
    return check.verdict == Verdict::pass ? 3 : 2;
}

std::string measurements(const CheckResult& check) {
    if (check.measurements.empty())
        return {};
    std::string text = "<table>" + head({"measurement", "unit", "samples", "min", "median",
                                         "95 % of the median", "p90", "p99", "max"});
    for (const auto& [name, summary, samples] : check.measurements) {
        text += "<tr>" + cell(name) + cell(summary.unit) + cell(static_cast<double>(summary.count)) +
                cell(summary.min) + cell(summary.median) +
                cell(summary.median_ci95 ? fmt::format("{:.4g} to {:.4g}", summary.median_ci95->low,
                                                       summary.median_ci95->high)
                                         : "-") +
                cell(summary.p90) + cell(summary.p99) + cell(summary.max) + "</tr>\n";
    }
    return text + "</table>";
}

std::string more_about(const CheckResult& check) {
    std::string text;
    if (!check.reference.empty())
        text += fmt::format("<p>{}</p>", html(check.reference));
    if (!check.details.empty()) {
        text += "<pre>";
        for (const auto& line : check.details)
            text += html(line) + '\n';
        text += "</pre>";
    }
    text += measurements(check) + command_html(check.repeat);
    return text;
}

std::string row(const CheckResult& check) {
    auto text = "<tr><td>" + badge(check.verdict) + (check.known.empty() ? "" : " <small>expected</small>") +
                "</td>" + fmt::format("<td><code>{}</code></td>", html(check.name)) + "<td>" +
                html(check.title);
    for (const auto* words : {&check.summary, &check.reason, &check.known})
        if (!words->empty())
            text += "<br><small>" + html(*words) + "</small>";
    if (const auto more = more_about(check); !more.empty())
        text += fmt::format("<details{}><summary>more</summary>{}</details>",
                            order(check) == 0 ? " open" : "", more);
    return text + "</td>" + cell(check.seconds) + "</tr>\n";
}

} // namespace

std::string checks_html(std::span<const CheckResult> checks) {
    if (checks.empty())
        return {};
    std::vector<const CheckResult*> sorted;
    for (const auto& check : checks)
        sorted.push_back(&check);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const CheckResult* a, const CheckResult* b) { return order(*a) < order(*b); });
    const auto count = [&](int which) {
        return std::count_if(checks.begin(), checks.end(),
                             [&](const CheckResult& check) { return order(check) == which; });
    };
    std::string text = fmt::format("<h3>Checks</h3><p>{} failed, {} failed as expected, {} did not run, did "
                                   "not apply or were skipped, {} passed.</p>\n",
                                   count(0), count(1), count(2), count(3));
    const auto titles = head({"verdict", "check", "what it shows", "seconds"});
    text += "<table>" + titles;
    constexpr std::size_t many = 20;
    const bool is_folded = checks.size() > many && count(3) > 0;
    bool is_open = true;
    for (const auto* check : sorted) {
        if (is_folded && is_open && check->verdict == Verdict::pass) {
            text +=
                fmt::format("</table><details><summary>{} that passed</summary><table>", count(3)) + titles;
            is_open = false;
        }
        text += row(*check);
    }
    return text + (is_open ? "</table>\n" : "</table></details>\n");
}

} // namespace nestbed::report
