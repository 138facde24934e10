#include "cli/place_command.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "cli/place_compare.hpp"
#include "cli/place_watch.hpp"
#include "cli/seconds.hpp"
#include "cli/seed.hpp"

namespace nestbed::cli {

namespace {

void add_compare(CLI::App& command, Action& action, const std::shared_ptr<PlaceCompareOptions>& options) {
    auto* const compare =
        command.add_subcommand("compare", "Measure placements in rounds, and say which is best for what");
    compare->add_option("--policies", options->policies, "Placements, see `nestbed plan --help`")
        ->type_name("POLICY,...")
        ->capture_default_str();
    compare
        ->add_option("--topologies", options->topologies,
                     "What the guest is shown: matching, flat, lying, or shapes such as 2x8x2")
        ->type_name("SHAPE,...")
        ->capture_default_str();
    compare
        ->add_option("--drivers", options->drivers,
                     "Shell patterns over the names, see `nestbed stress list`")
        ->type_name("DRIVER,...")
        ->capture_default_str();
    compare->add_option("--vcpus", options->vcpus, "Number of vCPUs [one for each PU that may be used]")
        ->type_name("N");
    compare->add_option("--memory", options->memory, "Guest memory [what vCPUs and driver need]")
        ->type_name("SIZE");
    compare->add_option("--pages", options->pages, "Pages behind the guest's memory: 4K, thp, 2M or 1G")
        ->type_name("SIZE")
        ->capture_default_str();
    compare
        ->add_option("--traffic", options->traffic,
                     "What plans are scored by: ring, pairs, groups:K, client-server:S or FILE.csv [each "
                     "driver's own]")
        ->type_name("TRAFFIC");
    compare->add_option("--repeat", options->repeat, "Rounds; fewer than 6 tell no winner")
        ->check(CLI::Range(1, 10000))
        ->capture_default_str();
    compare->add_option("--duration", options->duration_s, "Seconds that a driver works at each point")
        ->check(seconds_from(0.01))
        ->capture_default_str();
    compare->add_option("--seed", options->seed, "Of the order of rounds and of the drivers' work")
        ->check(seed())
        ->capture_default_str();
    compare
        ->add_option("--where", options->where,
                     "host, lab (an emulated AMD machine), or auto: the lab where there is no KVM to use")
        ->check(CLI::IsMember({"auto", "host", "lab"}))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
        ->capture_default_str();
    compare->add_option("-o,--output", options->directory, "Folder for run.json, the result document")
        ->type_name("DIR")
        ->capture_default_str();
    compare->add_flag("--json", options->json, "Print the result document instead of the verdicts");
    compare->footer(
        "Exit code: 0 all was measured, whoever won; 1 an invariant did not hold or a machine hung, 2 bad\n"
        "usage or input, 3 the host lacks what was asked, 130 interrupted.\n\n"
        "Examples:\n"
        "  nestbed place compare --policies compact,scatter,numa,traffic:pairs\n"
        "  nestbed place compare --policies numa --topologies matching,flat,lying --drivers "
        "memory,ipi.pairs\n"
        "  nestbed lab --cpus 4 --nodes 4 -- place compare --drivers memory --repeat 6");
    compare->callback([options, &action] { action = [options] { return compare_places(*options); }; });
}

void add_watch(CLI::App& command, Action& action, std::vector<std::string> line) {
    auto options = std::make_shared<PlaceWatchOptions>();
    auto* const watch = command.add_subcommand(
        "watch", "See where the vCPU threads and pages of a nestbed that runs really are");
    auto* const pid =
        watch->add_option("--pid", options->pid, "Its process [the only one that has a machine]")
            ->check(CLI::PositiveNumber)
            ->type_name("PID");
    watch->add_option("--duration", options->duration_s, "Seconds to watch [until the process ends]")
        ->check(no_or_more_seconds());
    watch->add_option("--interval", options->interval_s, "Seconds between samples")
        ->check(CLI::Range(0.01, 10.0))
        ->check(seconds_from(0.01))
        ->capture_default_str();
    watch->add_flag("--json", options->json, "Nothing while it is on; at the end, all of it as JSON");
    watch->add_option("args", options->arguments, "A command of nestbed to start and watch, after --")
        ->type_name("-- ARGS")
        ->excludes(pid);
    watch->footer(
        "Ends with the process, after --duration, or by Ctrl-C; a command that was started ends with it,\n"
        "and what that prints goes to stderr.\n"
        "Exit code: 0 all was as planned, 1 something was not, 2 bad usage or nothing to watch,\n"
        "3 the process is not yours to look into; that of a command that was started where it fails.\n\n"
        "Examples:\n"
        "  nestbed place watch\n"
        "  nestbed place watch --pid 4711 --duration 10 --json\n"
        "  nestbed place watch -- validate --vcpus 64 --policy numa");
    watch->callback([options, &action, line = std::move(line)] {
        if (!options->arguments.empty()) {
            // As they stand, since CLI11 drops a further "--".
            const auto marker = std::ranges::find(line, "--");
            if (marker == line.end())
                throw CLI::ValidationError{
                    "args", "put -- before the command, as in: nestbed place watch -- validate"};
            options->arguments.assign(marker + 1, line.end());
        }
        action = [options] { return watch_places(*options); };
    });
}

} // namespace

void add_place_command(CLI::App& app, Action& action, std::vector<std::string> command_line) {
    auto* const command =
        app.add_subcommand("place", "Measure placements, and watch where guests really run");
    command->require_subcommand(1);
    auto options = std::make_shared<PlaceCompareOptions>();
    options->command_line = command_line;
    add_compare(*command, action, options);
    add_watch(*command, action, std::move(command_line));
}

} // namespace nestbed::cli
