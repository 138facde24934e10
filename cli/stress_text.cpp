#include "cli/stress_text.hpp"
#include "report/usl.hpp"

#include <array>
#include <map>
#include <utility>

#include <fmt/color.h>
#include <fmt/format.h>

namespace nestbed::cli {

using report::Verdict;

// What differs from what is usual.
std::string configuration_text(const report::Configuration& configuration) {
    std::string text = configuration.policy;
    if (configuration.page_size != "4K")
        text += " " + configuration.page_size;
    if (configuration.nested != "auto")
        text += " " + configuration.nested;
    if (!configuration.topology.empty())
        text += " " + configuration.topology;
    return text;
}

std::string rate_text(double per_second) {
    constexpr std::array units{std::pair{1e12, " T"}, std::pair{1e9, " G"}, std::pair{1e6, " M"},
                               std::pair{1e3, " k"}};
    for (const auto& [scale, suffix] : units)
        if (per_second >= scale)
            return fmt::format("{:.3g}{}", per_second / scale, suffix);
    return fmt::format("{:.3g}", per_second);
}

std::string driver_list(std::span<const stress::StressDriver* const> drivers) {
    std::string text;
    for (const auto* const driver : drivers)
        text += fmt::format("{:<18} {}{}\n{:18} holds: {}\n", driver->name, driver->title,
                            driver->nested ? " (L2 guests)" : "", "", driver->invariant);
    return text;
}

std::string point_lines(const report::SweepPoint& point, bool colour) {
    const bool bad = report::is_bad(point.verdict) && point.verdict != Verdict::not_run;
    auto word = fmt::format("{:<7}", report::to_string(point.verdict));
    if (colour && (bad || point.verdict == Verdict::pass))
        word = fmt::format(fg(bad ? fmt::terminal_color::red : fmt::terminal_color::green), "{}", word);
    auto line = fmt::format("{} {:<16} {:>10}  {}", word, point.driver, stress::vcpus_text(point.vcpus),
                            configuration_text(point.configuration));
    if (const auto rate = report::throughput(point))
        line += fmt::format("  {} {}/s", rate_text(*rate), point.unit);
    line += fmt::format("  {}\n", point.reason.empty() ? point.summary : point.reason);
    if (!bad)
        return line;
    for (const auto& detail : point.details)
        line += fmt::format("        {}\n", detail);
    for (const auto& stuck : point.stuck)
        for (const auto& detail : stuck.lines)
            line += fmt::format("        {}\n", detail);
    return line + fmt::format("        repeat: {}\n", point.repeat);
}

std::string fit_lines(std::span<const report::UslFit> fits) {
    std::string text;
    for (const auto& fit : fits) {
        if (!fit.why_not.empty())
            continue;
        text += fmt::format("{}, {}: {} a second by one vCPU, contention {:.3g}, coherency {:.3g}",
                            fit.driver, configuration_text(fit.configuration), rate_text(fit.lambda.value),
                            fit.sigma.value, fit.kappa.value);
        if (fit.knee)
            text += fmt::format(", most at {:.0f} vCPUs ({:.0f} to {:.0f})\n", fit.knee->value,
                                fit.knee->ci95.low, fit.knee->ci95.high);
        else if (const auto possible = report::knee_not_excluded(fit))
            text += fmt::format(", no knee seen (one from {:.0f} vCPUs on is not excluded)\n", *possible);
        else
            text += ", no knee\n";
    }
    return text.empty() ? text : "\nUniversal Scalability Law:\n" + text;
}

std::string sweep_conclusion(const report::RunResult& run, const std::string& document) {
    std::map<Verdict, std::size_t> counts;
    if (run.sweep)
        for (const auto& point : run.sweep->points)
            ++counts[point.verdict];
    return fmt::format(
        "\n{}: {} passed, {} failed, {} hung, {} crashed, {} skipped, {} not run, in {:.1f} s; "
        "details in {}\n",
        report::to_string(run.outcome), counts[Verdict::pass], counts[Verdict::fail], counts[Verdict::hang],
        counts[Verdict::crash], counts[Verdict::skipped], counts[Verdict::not_run], run.duration_s, document);
}

} // namespace nestbed::cli
