#include "cli/stress_command.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/growing_document.hpp"
#include "cli/output.hpp"
#include "cli/progress_line.hpp"
#include "cli/results.hpp"
#include "cli/run_in_lab.hpp"
#include "cli/seconds.hpp"
#include "cli/seed.hpp"
#include "cli/stress_options.hpp"
#include "cli/stress_text.hpp"
#include "cli/stress_watch.hpp"
#include "core/kvm/kvm.hpp"
#include "core/supervise/supervisor.hpp"
#include "report/json_file.hpp"
#include "report/nested_offer.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::cli {

namespace {

struct ListOptions {
    std::vector<std::string> patterns;
    bool json = false;
};

int list(const ListOptions& options) {
    const auto chosen = stress::select_drivers(options.patterns);
    if (!chosen)
        return complain(chosen.error());
    if (!options.json)
        return print(driver_list(*chosen));
    auto document = nlohmann::ordered_json::array();
    for (const auto* const driver : *chosen)
        document.push_back({{"name", driver->name},
                            {"title", driver->title},
                            {"invariant", driver->invariant},
                            {"unit", driver->unit},
                            {"least_vcpus", driver->least_vcpus},
                            {"nested", driver->nested}});
    return print(report::dump({{"drivers", std::move(document)}}));
}

// Why all of it runs in the lab; empty where it does not.
std::optional<std::string> why_in_lab(const StressOptions& options, const stress::SweepRequest& request) {
    if (options.where != "auto")
        return options.where == "lab" ? std::optional<std::string>{"as asked"} : std::nullopt;
    const auto kvm = kvm::Kvm::open();
    if (!kvm)
        return kvm.error().message();
    const auto offer = report::nested_offer(*kvm);
    if (offer.extension == nested::Extension::none &&
        std::ranges::all_of(request.drivers, [](const auto* driver) { return driver->nested; }))
        return offer.reason;
    return {};
}

// A dozen vCPU counts, machines that take as long as the work, and slower ones there.
std::chrono::milliseconds patience(const StressOptions& options, const stress::SweepRequest& request) {
    const auto points = request.mix ? 1.0
                                    : 12.0 * static_cast<double>(request.drivers.size()) *
                                          static_cast<double>(request.configurations.size()) * options.repeat;
    const auto seconds = std::min(points * (options.duration_s + 10) * 4, 7 * 86400.0);
    return std::chrono::minutes{30} + milliseconds_of(seconds);
}

lab::LabRequest lab_request(const StressOptions& options, const stress::SweepRequest& sweep) {
    lab::LabRequest request;
    request.timeout = patience(options, sweep);
    request.arguments.assign(options.command_line.begin() + 1, options.command_line.end());
    // Once more, and the last one counts.
    request.arguments.insert(request.arguments.end(), {"--where", "host"});
    return request;
}

int run(const StressOptions& options) {
    const auto request = read_stress_options(options);
    if (!request)
        return complain(request.error());
    const auto path = document_path(options.directory);
    if (!path)
        return complain(path.error());
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    if (const auto why = why_in_lab(options, *request)) {
        if (!options.json)
            print(fmt::format("in the lab, an emulated AMD machine: {}\n", *why));
        return run_in_lab(lab_request(options, *request), **supervisor);
    }
    auto watch = StressWatch::start(options.trace, options.metrics);
    if (!watch)
        return complain(watch.error());
    if (const auto port = (*watch)->port())
        remark(fmt::format("metrics at port {}, under /metrics\n", *port));
    ProgressLine progress{is_terminal(STDOUT_FILENO) && !options.json ? STDOUT_FILENO : STDERR_FILENO,
                          options.json && !is_terminal(STDERR_FILENO)};
    const auto complete = [&](report::RunResult run) {
        run.command_line = options.command_line;
        return run;
    };
    GrowingDocument document{*path, complete};
    const bool colour = is_terminal(STDOUT_FILENO);
    const auto say = [&](const std::string& text) {
        progress.clear();
        if (!options.json)
            print(text);
    };
    std::optional<Error> unwritten;
    const stress::SweepObserver observer{
        .started = {},
        .progress =
            [&](const stress::Progress& now) {
                progress.show(now.what, now.fraction);
                (*watch)->progress(now);
            },
        .finished =
            [&](const report::SweepPoint& point, const report::RunResult& so_far) {
                say(point_lines(point, colour));
                (*watch)->finished(point);
                if (auto written = document.write_now_and_then(so_far); !written && !unwritten)
                    unwritten = written.error();
            },
        .phase = [&](const stress::SweepPhase& phase) { (*watch)->phase(phase); },
        .sampled = [&](const stress::SweepSample& sample) { (*watch)->sampled(sample); },
        .exits = [&](const stress::SweepExits& exits) { (*watch)->exits(exits); },
        .ipis = [&](const stress::SweepIpis& ipis) { (*watch)->ipis(ipis); }};
    const auto result = complete(stress::sweep(*request, **supervisor, observer));
    progress.clear();
    const auto closed = (*watch)->close();
    if (!closed)
        complain(closed.error());
    if (unwritten) // in between; the end is another matter
        complain(*unwritten);
    const int status = conclude(result, *path, options.json, [&] {
        if (!result.sweep->points.empty())
            print(fit_lines(result.sweep->fits) + sweep_conclusion(result, path->string()));
    });
    return status == 0 && !closed ? exit_code(closed.error().kind) : status;
}

void add_run(CLI::App& command, Action& action, const std::shared_ptr<StressOptions>& options) {
    auto* const runner = command.add_subcommand(
        "run", "Run drivers, each vCPU count and configuration on a machine of its own");
    runner->add_option("DRIVER", options->drivers, "Shell patterns over the names; all: a mix of all of them")
        ->required();
    runner
        ->add_option("--vcpus", options->vcpus,
                     "Counts such as 1,2,4..max or 8..64:8; a range doubles, or has a step [1..288]")
        ->type_name("LIST");
    runner
        ->add_option("--duration", options->duration_s,
                     "Seconds that a driver works at each point; of `all`, seconds in total")
        ->check(seconds_from(0.01))
        ->capture_default_str();
    runner
        ->add_option("--repeat", options->repeat,
                     "Times that each point is measured, in turn with the others")
        ->check(CLI::Range(1, 10000))
        ->capture_default_str();
    runner->add_option("--seed", options->seed, "The same seed gives the same work")
        ->check(seed())
        ->capture_default_str();
    runner->add_option("--policy", options->policies, "Placements, see `nestbed plan --help`")
        ->type_name("NAME,...")
        ->capture_default_str();
    runner->add_option("--pages", options->pages, "Pages behind the guest's memory: 4K, thp, 2M, 1G")
        ->type_name("SIZE,...")
        ->capture_default_str();
    runner
        ->add_option("--nested", options->profiles,
                     "What the guest is shown of VMX and SVM, see `nestbed validate --help`")
        ->type_name("PROFILE,...")
        ->capture_default_str();
    runner
        ->add_option("--topology", options->topologies,
                     "Shapes that the guest is shown; one each time it is given")
        ->type_name("SHAPE")
        ->allow_extra_args(false);
    runner->add_option("--memory", options->memory, "Guest memory [what vCPUs and driver need]")
        ->type_name("SIZE");
    runner
        ->add_option("--timeout", options->timeout_s,
                     "Seconds beyond its duration after which a point has hung [60, and 0.15 for each vCPU]")
        ->check(no_or_more_seconds());
    runner
        ->add_option(
            "--where", options->where,
            "host, lab (an emulated AMD machine), or auto: the lab where there is no KVM to use, and for "
            "drivers of L2 guests where KVM offers neither SVM nor VMX")
        ->check(CLI::IsMember({"auto", "host", "lab"}))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
        ->capture_default_str();
    runner->add_option("-o,--output", options->directory, "Folder for run.json, the result document")
        ->type_name("DIR")
        ->capture_default_str();
    runner
        ->add_option("--trace", options->trace,
                     "Write a timeline of machines and vCPUs, which Perfetto (ui.perfetto.dev) opens")
        ->type_name("FILE");
    runner
        ->add_option("--metrics", options->metrics,
                     "Answer with OpenMetrics while the sweep is on; a port alone is one of loopback")
        ->type_name("ADDR:PORT");
    runner
        ->add_option("--sample", options->sample_s,
                     "Seconds between samples of KVM's statistics for these two; 0: once each machine has "
                     "ended")
        ->check(CLI::Range(0.0, 3600.0))
        ->capture_default_str();
    runner->add_flag("--json", options->json, "Print the result document instead of the verdicts");
    runner->footer(
        "Exit code: 0 all held, 1 an invariant did not or a machine hung, 2 bad usage or input, 3 the host\n"
        "lacks what was asked, 130 interrupted. What was measured until then is in run.json.\n\n"
        "Examples:\n"
        "  nestbed stress run ipi.unicast --vcpus 1,2,4..max\n"
        "  nestbed stress run 'lock.*' --vcpus 8..64:8 --repeat 5 --policy compact,scatter\n"
        "  nestbed stress run memory --pages 4K,2M,thp --duration 5\n"
        "  nestbed stress run all --duration 600 --seed 7");
    runner->callback([options, &action] { action = [options] { return run(*options); }; });
}

} // namespace

void add_stress_command(CLI::App& app, Action& action, std::vector<std::string> command_line) {
    auto* const command =
        app.add_subcommand("stress", "Load many vCPUs, see that nothing is lost, and how it scales");
    command->require_subcommand(1);

    auto listed = std::make_shared<ListOptions>();
    auto* const lister = command->add_subcommand("list", "The drivers by name, and what each proves");
    lister->add_option("PATTERN", listed->patterns, "Shell patterns over the names [all]");
    lister->add_flag("--json", listed->json, "As JSON");
    lister->callback([listed, &action] { action = [listed] { return list(*listed); }; });

    auto options = std::make_shared<StressOptions>();
    options->command_line = std::move(command_line);
    add_run(*command, action, options);
}

} // namespace nestbed::cli
