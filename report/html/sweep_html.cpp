#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "report/html/charts.hpp"
#include "report/html/escape.hpp"
#include "report/html/sections.hpp"
#include "report/usl.hpp"

namespace nestbed::report {

namespace {

// "201k", three digits.
std::string short_number(double value) {
    for (const auto& [unit, letter] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}})
        if (std::abs(value) >= unit)
            return fmt::format("{:.3g}{}", value / unit, letter);
    return fmt::format("{:.3g}", value);
}

std::string count_of_vcpus(double value) {
    return fmt::format("{:.0f}", value);
}

std::string with_bounds(const UslCoefficient& coefficient, std::string (*text)(double)) {
    const auto end = [&](double value) { return std::isfinite(value) ? text(value) : "no bound"; };
    return fmt::format("<td class=\"n\">{}<br><small>{} to {}</small></td>", end(coefficient.value),
                       end(coefficient.ci95.low), end(coefficient.ci95.high));
}

std::string knee_cell(const UslFit& fit) {
    if (fit.knee)
        return with_bounds(*fit.knee, count_of_vcpus);
    if (const auto possible = knee_not_excluded(fit))
        return fmt::format("<td class=\"n\">none seen<br><small>one from {} on is not excluded</small></td>",
                           count_of_vcpus(*possible));
    return cell("none");
}

std::string fits(const Sweep& sweep) {
    if (sweep.fits.empty())
        return {};
    std::string text =
        "<p>Fitted: X(N) = &lambda;N / (1 + &sigma;(N &minus; 1) + &kappa;N(N &minus; 1)), the "
        "Universal Scalability Law, with 95 % bounds.</p><table>" +
        head({"driver", "configuration", "points", "1 vCPU, per second (λ)", "contention (σ)",
              "coherency (κ)", "knee (vCPUs)", "R²"});
    for (const auto& fit : sweep.fits) {
        text += "<tr>" + cell(fit.driver) + cell(label_of(fit.configuration)) +
                cell(static_cast<double>(fit.points));
        if (fit.why_not.empty())
            text += with_bounds(fit.lambda, short_number) + with_bounds(fit.sigma, short_number) +
                    with_bounds(fit.kappa, short_number) + knee_cell(fit) + cell(fit.r_squared);
        else
            text += fmt::format("<td colspan=\"5\">no fit: {}</td>", html(fit.why_not));
        text += "</tr>\n";
    }
    return text + "</table>\n";
}

// The numbers of the curves, for those who want to read them or have no JavaScript.
std::string throughputs(const Sweep& sweep) {
    std::map<std::tuple<std::string, Configuration, std::uint32_t>, std::vector<double>> speeds;
    std::map<std::string, std::string> units;
    for (const auto& point : sweep.points)
        if (const auto speed = throughput(point); speed && point.verdict == Verdict::pass) {
            speeds[{point.driver, point.configuration, point.vcpus}].push_back(*speed);
            units.emplace(point.driver, point.unit + "/s");
        }
    if (speeds.empty())
        return {};
    std::string rows;
    for (auto& [key, each] : speeds) {
        const auto& [driver, configuration, vcpus] = key;
        std::sort(each.begin(), each.end());
        rows += "<tr>" + cell(driver) + cell(label_of(configuration)) + cell(static_cast<double>(vcpus)) +
                cell(static_cast<double>(each.size())) + cell(percentile(each, 50).value_or(0)) +
                cell(each.front()) + cell(each.back()) + cell(units[driver]) + "</tr>\n";
    }
    return fmt::format(
               "<details><summary>Throughput of {} driver{} by configuration and vCPUs</summary><table>",
               units.size(), units.size() == 1 ? "" : "s") +
           head({"driver", "configuration", "vCPUs", "repetitions that passed", "median", "least", "most",
                 "unit"}) +
           rows + "</table></details>\n";
}

std::string bad_point(const SweepPoint& point) {
    auto text = "<tr><td>" + badge(point.verdict) + "</td>" + cell(point.driver) +
                cell(label_of(point.configuration)) + cell(static_cast<double>(point.vcpus)) + "<td>" +
                html(point.reason.empty() ? point.summary : point.reason);
    std::string lines;
    for (const auto& line : point.details)
        lines += html(line) + '\n';
    for (const auto& stuck : point.stuck) {
        lines += fmt::format("vCPU {}:\n", stuck.vcpu);
        for (const auto& line : stuck.lines)
            lines += "  " + html(line) + '\n';
    }
    if (!lines.empty())
        text += "<details><summary>more</summary><pre>" + lines + "</pre></details>";
    return text + command_html(is_bad(point.verdict) ? point.repeat : "") + "</td></tr>\n";
}

std::string bad_points(const Sweep& sweep) {
    std::string rows;
    for (const auto& point : sweep.points)
        if (is_bad(point.verdict))
            rows += bad_point(point);
    for (const auto& point : sweep.points)
        if (!is_bad(point.verdict) && point.verdict != Verdict::pass)
            rows += bad_point(point);
    if (rows.empty())
        return {};
    return "<h4>Points that did not pass</h4><table>" +
           head({"verdict", "driver", "configuration", "vCPUs", "found"}) + rows + "</table>\n";
}

std::string percentiles(const Sweep& sweep) {
    std::string rows;
    std::size_t count = 0, left_out = 0;
    constexpr std::size_t most_rows = 3000;
    for (const auto& point : sweep.points)
        for (const auto& distribution : point.distributions) {
            if (count == most_rows) {
                ++left_out;
                continue;
            }
            ++count;
            const auto& summary = distribution.summary;
            rows += "<tr>" + cell(point.driver) + cell(distribution.name) +
                    cell(label_of(point.configuration)) + cell(static_cast<double>(point.vcpus)) +
                    cell(static_cast<double>(point.repetition)) + cell(static_cast<double>(summary.count)) +
                    cell(summary.unit) + cell(summary.min) + cell(summary.median) + cell(summary.p90) +
                    cell(summary.p99) + cell(summary.max) + "</tr>\n";
        }
    if (rows.empty())
        return {};
    return fmt::format("<h4>Percentiles</h4><details{}><summary>{} distributions{}</summary><table>",
                       count <= 40 ? " open" : "", count,
                       left_out == 0 ? "" : fmt::format(", {} more are left out", left_out)) +
           head({"driver", "of", "configuration", "vCPUs", "repetition", "samples", "unit", "min", "median",
                 "p90", "p99", "max"}) +
           rows + "</table></details>\n";
}

std::string repeats(const Sweep& sweep) {
    std::string rows;
    for (const auto& point : sweep.points)
        if (point.repetition == 0 && !point.repeat.empty())
            rows += command_html(point.repeat);
    return rows.empty()
               ? rows
               : "<details><summary>Commands that repeat the points</summary>" + rows + "</details>\n";
}

} // namespace

std::string sweep_html(const Sweep& sweep, const std::string& prefix) {
    const auto passed = std::count_if(sweep.points.begin(), sweep.points.end(),
                                      [](const SweepPoint& point) { return point.verdict == Verdict::pass; });
    std::string text =
        fmt::format("<h3>Sweep</h3><p>{} points, of which {} passed.</p>\n", sweep.points.size(), passed);
    text += bad_points(sweep);
    text += fmt::format("<h4>Scaling</h4><div class=\"grid\" id=\"{0}-curves\"></div>\n", prefix) +
            throughputs(sweep) + fits(sweep);
    text += fmt::format("<h4>Pairs of vCPUs</h4><div class=\"grid\" id=\"{0}-maps\"></div>\n"
                        "<h4>Latencies by kind</h4><div class=\"grid\" id=\"{0}-histograms\"></div>\n",
                        prefix);
    return text + percentiles(sweep) + repeats(sweep);
}

} // namespace nestbed::report
