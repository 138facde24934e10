#include "cli/validate_text.hpp"

#include <fmt/color.h>
#include <fmt/format.h>

#include "base/units.hpp"

namespace nestbed::cli {

std::string headline(const report::RunResult& run) {
    const auto& host = *run.host;
    const auto& plan = *run.plan;
    auto text =
        fmt::format("host: {}, Linux {}, {}\n", host.cpu_model.empty() ? "unknown CPU" : host.cpu_model,
                    host.kernel, host.kvm_module.empty() ? "KVM" : host.kvm_module);
    text += fmt::format(
        "plan: {} vCPUs shown as {} (sockets x dies x cores x threads), policy {}, {} on {} node{}",
        plan.vcpus.size(), topology::format_shape(plan.shape), topology::to_string(plan.policy),
        format_size(plan.memory_bytes()), plan.nodes.size(), plan.nodes.size() == 1 ? "" : "s");
    if (plan.max_vcpus_per_pu > 1)
        text += fmt::format(", up to {} vCPUs a PU", plan.max_vcpus_per_pu);
    return text + "\n\n";
}

std::string verdict_line(const report::CheckResult& check, bool colour) {
    const auto word = [&] {
        switch (check.verdict) {
        case report::Verdict::pass:
            return colour ? fmt::format(fg(fmt::terminal_color::green), "pass") : "pass";
        case report::Verdict::fail:
            return colour ? fmt::format(fg(fmt::terminal_color::red), "FAIL") : "FAIL";
        case report::Verdict::skipped:
            return std::string{"skip"};
        default:
            return std::string{"----"};
        }
    }();
    auto line =
        fmt::format("{}  {:<21} {}", word, check.name, check.reason.empty() ? check.summary : check.reason);
    if (check.seconds >= 0.1)
        line += fmt::format("  ({:.1f} s)", check.seconds);
    line += "\n";
    if (check.verdict == report::Verdict::fail) {
        for (const auto& detail : check.details)
            line += fmt::format("        {}\n", detail);
        if (!check.repeat.empty())
            line += fmt::format("        repeat: {}\n", check.repeat);
    }
    return line;
}

std::string conclusion(const report::RunResult& run, const std::string& document) {
    std::size_t passed = 0;
    std::size_t failed = 0;
    std::size_t other = 0;
    for (const auto& check : run.checks) {
        passed += check.verdict == report::Verdict::pass ? 1U : 0U;
        failed += check.verdict == report::Verdict::fail ? 1U : 0U;
        other +=
            check.verdict == report::Verdict::skipped || check.verdict == report::Verdict::not_run ? 1U : 0U;
    }
    return fmt::format("\n{}: {} checks held, {} failed, {} not judged, in {:.1f} s; details in {}\n",
                       report::to_string(run.outcome), passed, failed, other, run.duration_s, document);
}

} // namespace nestbed::cli
