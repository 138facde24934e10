#include <algorithm>
#include <cmath>
#include <span>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.hpp"
#include "report/base64.hpp"
#include "report/html/escape.hpp"
#include "report/html/sections.hpp"
#include "report/json.hpp"
#include "report/plan_svg.hpp"

namespace nestbed::report {

namespace {

std::string fact(std::string_view name, std::string_view value) {
    return value.empty() ? std::string{}
                         : fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", html(name), html(value));
}

// As a shell takes it.
std::string quoted(const std::vector<std::string>& words) {
    std::string line;
    for (const auto& word : words) {
        constexpr std::string_view plain =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
        const bool is_plain = !word.empty() && word.find_first_not_of(plain) == std::string::npos;
        std::string safe = word;
        for (std::size_t at = 0; (at = safe.find('\'', at)) != std::string::npos; at += 4)
            safe.replace(at, 1, "'\\''");
        line += (line.empty() ? "" : " ") + (is_plain ? word : "'" + safe + "'");
    }
    return line;
}

std::string host_table(const HostFacts& host) {
    std::string text = "<h3>Host</h3><table class=\"facts\">" + fact("CPU", host.cpu_model) +
                       fact("kernel", host.kernel) + fact("microcode", host.microcode) +
                       fact("KVM module", host.kvm_module);
    if (host.topology) {
        const auto& topology = *host.topology;
        text += fact("topology", fmt::format("{}: {} packages, {} nodes, {} cores", topology.source,
                                             topology.packages, topology.nodes.size(), topology.cores));
    }
    text += "</table>\n";
    std::string rows;
    for (const auto& [name, value] : host.module_parameters)
        rows += fact(name, value);
    for (const auto& [name, value] : host.kvm_capabilities)
        rows += fact(name, fmt::format("{}", value));
    for (const auto& [name, value] : host.limits)
        rows += fact(name, value ? fmt::format("{}", *value) : "unlimited");
    return rows.empty() ? text
                        : text +
                              "<details><summary>Module parameters, capabilities, limits</summary>"
                              "<table class=\"facts\">" +
                              rows + "</table></details>\n";
}

std::string plan_part(const ReportedRun& run) {
    const auto& plan = *run.document.run.plan;
    std::string text = fmt::format(
        "<h3>Plan</h3><p>{}{} vCPUs by policy {}, {} on {} virtual node{}, shown as "
        "{}.</p>\n",
        run.document.run.sweep ? "Of the largest machine, the first of its size: " : "", plan.vcpus.size(),
        html(topology::to_string(plan.policy)), html(format_size(plan.memory_bytes())), plan.nodes.size(),
        plan.nodes.size() == 1 ? "" : "s", html(topology::format_shape(plan.shape)));
    for (const auto& note : plan.notes)
        text += "<p><small>" + html(note) + "</small></p>\n";
    if (!run.host)
        return text + "<p>No picture: " + html(run.why_no_host) + ".</p>\n";
    // As an image it can neither run scripts nor ask for anything.
    const auto picture = format_svg(plan, *run.host);
    return text + fmt::format("<img class=\"plan\" alt=\"The plan over the host's topology\" "
                              "src=\"data:image/svg+xml;base64,{}\">\n",
                              to_base64(std::as_bytes(std::span{picture})));
}

std::string statistics(const KvmStatistics& stats) {
    std::string rows;
    for (const auto& [name, stat] : stats.vcpu) {
        auto values = stat.values;
        std::sort(values.begin(), values.end());
        if (values.empty() || values.back() == 0)
            continue;
        double sum = 0;
        for (const auto value : values)
            sum += static_cast<double>(value);
        rows += "<tr>" + cell(name) + cell(stat.unit) + cell(sum) +
                cell(static_cast<double>(values.front())) +
                cell(static_cast<double>(values[(values.size() - 1) / 2])) +
                cell(static_cast<double>(values.back())) + "</tr>\n";
    }
    for (const auto& [name, stat] : stats.vm)
        if (stat.value != 0)
            rows += "<tr>" + cell(name) + cell(stat.unit) + cell(static_cast<double>(stat.value)) + cell("") +
                    cell("") + cell("") + "</tr>\n";
    if (rows.empty())
        return {};
    return "<h3>KVM's statistics</h3><details><summary>Those that are not 0</summary><table>" +
           head({"name", "unit", "all vCPUs", "least vCPU", "median vCPU", "most vCPU"}) + rows +
           "</table></details>\n";
}

std::string bench_cells(const BenchSummary& summary) {
    return cell(summary.median) + cell(fmt::format("{:.4g} to {:.4g}", summary.min, summary.max));
}

} // namespace

std::string cell(std::string_view text) {
    return "<td>" + html(text) + "</td>";
}

std::string cell(double number) {
    if (!std::isfinite(number))
        return "<td class=\"n\">-</td>";
    constexpr double most_exact = 1e7;
    return number == std::floor(number) && std::abs(number) < most_exact
               ? fmt::format("<td class=\"n\">{:.0f}</td>", number)
               : fmt::format("<td class=\"n\">{:.4g}</td>", number);
}

std::string badge(Verdict verdict) {
    return fmt::format("<span class=\"badge {0}\">{0}</span>", to_string(verdict));
}

std::string head(std::initializer_list<std::string_view> titles) {
    std::string text = "<tr>";
    for (const auto title : titles)
        text += "<th>" + html(title) + "</th>";
    return text + "</tr>\n";
}

std::string command_html(std::string_view command) {
    return command.empty() ? std::string{} : "<pre class=\"command\">" + html(command) + "</pre>";
}

std::string figures_html(std::span<const BenchFigure> figures) {
    if (figures.empty())
        return {};
    std::string text = "<h3>Benchmark</h3><table>" + head({"figure", "what", "unit", "ours", "range", "other",
                                                           "range", "ratio", "range", "target", "holds"});
    for (const auto& figure : figures) {
        const auto cells = [](const std::optional<BenchSummary>& summary) {
            return summary ? bench_cells(*summary) : cell("") + cell("");
        };
        text += "<tr>" + cell(figure.name) + cell(figure.what) + cell(figure.unit) + cells(figure.ours) +
                cells(figure.other) + cells(figure.ratio) +
                cell(fmt::format("at {} {:g}", figure.at_most ? "most" : "least", figure.target)) +
                cell(figure.holds ? "yes" : "no") + "</tr>\n";
    }
    return text + "</table>\n";
}

std::string run_html(const ReportedRun& reported, const std::string& prefix) {
    const auto& run = reported.document.run;
    std::string text =
        fmt::format("<section id=\"{}\"><h2>{} <span class=\"badge {}\">{}</span></h2>\n<p>nestbed {} {}",
                    prefix, html(reported.document.name), run.outcome == Outcome::passed ? "pass" : "fail",
                    to_string(run.outcome), html(run.version), html(run.kind));
    if (run.started_at != std::chrono::system_clock::time_point{})
        text += fmt::format(", {}, {:.1f} s", format_utc(run.started_at), run.duration_s);
    if (run.machine)
        text += fmt::format(", {}{} vCPUs, {} in {} pages", run.sweep ? "up to " : "", run.machine->vcpus,
                            format_size(run.machine->memory_bytes), to_string(run.machine->page_size));
    text += "</p>\n" + command_html(quoted(run.command_line));
    if (run.error)
        text += "<p class=\"regression\">" + html(run.error->message()) + "</p>\n";
    text += checks_html(run.checks) + figures_html(reported.document.figures);
    if (run.place_comparison)
        text += place_html(*run.place_comparison);
    if (run.sweep)
        text += sweep_html(*run.sweep, prefix);
    if (run.plan)
        text += plan_part(reported);
    if (run.host)
        text += host_table(*run.host);
    if (run.kvm_stats)
        text += statistics(*run.kvm_stats);
    if (!run.timings.empty()) {
        text += "<details><summary>Time by phase</summary><table>" + head({"phase", "seconds"});
        for (const auto& timing : run.timings)
            text += "<tr>" + cell(timing.phase) + cell(timing.seconds) + "</tr>\n";
        text += "</table></details>\n";
    }
    return text + "</section>\n";
}

} // namespace nestbed::report
