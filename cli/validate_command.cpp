#include "cli/validate_command.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/output.hpp"
#include "cli/placement_options.hpp"
#include "cli/progress_line.hpp"
#include "cli/results.hpp"
#include "cli/run_in_lab.hpp"
#include "cli/seconds.hpp"
#include "cli/seed.hpp"
#include "cli/validate_text.hpp"
#include "core/kvm/kvm.hpp"
#include "core/supervise/supervisor.hpp"
#include "lab/lab.hpp"
#include "stress/validate.hpp"

namespace nestbed::cli {

namespace {

struct ValidateOptions {
    PlacementOptions placement;
    std::vector<std::string> only;
    std::string directory = "results";
    std::uint64_t seed = 1;
    double timeout_s = 0; // 0: scaled with the vCPUs
    std::string where = "auto";
    bool json = false;
    std::vector<std::string> command_line;
};

stress::ValidateRequest to_request(const ValidateOptions& options, const stress::MachineRequest& machine) {
    stress::ValidateRequest request{.machine = machine,
                                    .only = options.only,
                                    .timeout = {},
                                    .seed = options.seed,
                                    .lab = options.where == "auto"};
    if (options.timeout_s > 0)
        request.timeout = milliseconds_of(options.timeout_s);
    return request;
}

// Why all of it runs in the lab; empty where it does not.
std::optional<std::string> why_in_lab(const ValidateOptions& options) {
    if (options.where == "lab")
        return "as asked";
    if (const auto kvm = kvm::Kvm::open(); !kvm)
        return kvm.error().message();
    return {};
}

lab::LabRequest lab_request(const ValidateOptions& options) {
    lab::LabRequest request;
    request.arguments.assign(options.command_line.begin() + 1, options.command_line.end());
    // Once more, and the last one counts.
    request.arguments.insert(request.arguments.end(), {"--where", "host"});
    return request;
}

int run_validate(const ValidateOptions& options) {
    const auto values = options.placement.read();
    if (!values)
        return complain(values.error());
    const auto path = document_path(options.directory);
    if (!path)
        return complain(path.error());

    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    if (options.where != "host")
        if (const auto why = why_in_lab(options)) {
            if (!options.json)
                print(fmt::format("in the lab, an emulated AMD machine: {}\n", *why));
            return run_in_lab(lab_request(options), **supervisor);
        }
    ProgressLine progress{is_terminal(STDOUT_FILENO) && !options.json ? STDOUT_FILENO : STDERR_FILENO,
                          options.json && !is_terminal(STDERR_FILENO)};
    const auto say = [&](const std::string& text) {
        progress.clear();
        if (!options.json)
            print(text);
    };
    const bool colour = is_terminal(STDOUT_FILENO);
    auto run = stress::validate(
        to_request(options, *values), **supervisor,
        {.planned = [&](const report::RunResult& so_far) { say(headline(so_far)); },
         .progress = [&](const stress::Progress& now) { progress.show(now.what, now.fraction); },
         .checked =
             [&](const report::CheckResult& check) {
                 // When nothing could start, the error alone says it.
                 if (check.verdict != report::Verdict::not_run)
                     say(verdict_line(check, colour));
             }});
    progress.clear();
    run.command_line = options.command_line;

    return conclude(run, *path, options.json, [&] {
        if (run.machine)
            print(conclusion(run, path->string()));
    });
}

} // namespace

void add_validate_command(CLI::App& app, Action& action, std::vector<std::string> command_line) {
    auto options = std::make_shared<ValidateOptions>();
    options->command_line = std::move(command_line);
    auto* const command =
        app.add_subcommand("validate", "Boot a guest with many vCPUs and check that all of it works");
    options->placement.add_to(*command);
    options->placement.add_nested_to(*command);
    command
        ->add_option("--only", options->only, "Run only the checks whose name matches one of these patterns")
        ->type_name("PATTERN");
    command->add_option("--seed", options->seed, "Of the random pairings; the same seed gives the same ones")
        ->check(seed())
        ->capture_default_str();
    command
        ->add_option("--timeout", options->timeout_s,
                     "Seconds that a check may take [60, and 0.15 for each vCPU]")
        ->check(no_or_more_seconds());
    command
        ->add_option("--where", options->where,
                     "host, lab (an emulated AMD machine), or auto: the lab for all of it where there is no "
                     "KVM to use, and for the L2 guests where KVM offers no SVM")
        ->check(CLI::IsMember({"auto", "host", "lab"}))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
        ->capture_default_str();
    command->add_option("-o,--output", options->directory, "Folder for run.json, the result document")
        ->type_name("DIR")
        ->capture_default_str();
    command->add_flag("--json", options->json, "Print the result document instead of the verdicts");
    command->footer(
        "288 vCPUs are booted unless told otherwise, or as many as this host's KVM allows.\n"
        "Exit code: 0 all held, 1 a check failed, 2 bad usage or input, 3 the host lacks what was asked,\n"
        "130 interrupted.\n\n"
        "Examples:\n"
        "  nestbed validate\n"
        "  nestbed validate --vcpus max --hugepages 2M\n"
        "  nestbed validate --topology 8x18x2 --policy scatter -o /tmp/run\n"
        "  nestbed validate --vcpus 64 --only 'ipi.*'");
    command->callback([options, &action] { action = [options] { return run_validate(*options); }; });
}

} // namespace nestbed::cli
