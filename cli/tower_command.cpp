#include "cli/tower_command.hpp"

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>

#include <unistd.h>

#include "cli/output.hpp"
#include "cli/progress_line.hpp"
#include "cli/results.hpp"
#include "cli/seconds.hpp"
#include "cli/tower_text.hpp"
#include "core/supervise/supervisor.hpp"
#include "guests/tower.hpp"

namespace nestbed::cli {

namespace {

namespace fs = std::filesystem;

struct TowerOptions {
    guests::TowerRequest request;
    std::string kernel;
    std::string modules;
    double timeout_s = 900;
    std::string directory = "results";
    bool json = false;
    std::vector<std::string> command_line;
};

int run_tower(const TowerOptions& options) {
    const auto path = document_path(options.directory);
    if (!path)
        return complain(path.error());
    auto request = options.request;
    request.directory = fs::absolute(*path).lexically_normal().parent_path();
    request.timeout = milliseconds_of(options.timeout_s);
    if (!options.kernel.empty()) {
        request.kernel = lab::KernelFiles{.image = options.kernel, .modules = {}};
        if (!options.modules.empty())
            request.kernel->modules = options.modules;
    }
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());

    auto run =
        guests::build_tower(request, **supervisor,
                            {.progress = [&](const std::string& what) { remark("  ... " + what + "\n"); },
                             .inside =
                                 [&](std::string_view bytes) {
                                     if (!options.json)
                                         remark(bytes);
                                 }});
    run.command_line = options.command_line;
    return conclude(run, *path, options.json, [&] {
        if (!run.checks.empty())
            print("\n" + tower_text(run, request.levels, path->string(), is_terminal(STDOUT_FILENO)));
    });
}

} // namespace

void add_tower_command(CLI::App& app, Action& action, std::vector<std::string> command_line) {
    auto options = std::make_shared<TowerOptions>();
    options->command_line = std::move(command_line);
    auto& request = options->request;
    auto* const command = app.add_subcommand(
        "tower", "Stand guests on guests: Linux that runs nestbed, which runs its payload");
    command
        ->add_option("--levels", request.levels,
                     "Guests above each other: 2 is Linux and in it the payload, 3 Linux in Linux and in it "
                     "the payload")
        ->check(CLI::Range(guests::fewest_levels, guests::most_levels))
        ->capture_default_str();
    command->add_option("--vcpus", request.vcpus, "Of each of the guests")
        ->type_name("N")
        ->check(CLI::Range(1U, 255U))
        ->capture_default_str();
    auto* const kernel =
        command
            ->add_option("--kernel", options->kernel,
                         "A kernel of yours for the Linux levels [an installed one, or the distribution's]")
            ->type_name("BZIMAGE");
    command
        ->add_option("--modules", options->modules,
                     "Its modules: /lib/modules/VERSION, a folder with lib/modules/VERSION, or a build tree "
                     "[built in]")
        ->type_name("DIR")
        ->needs(kernel);
    command->add_option("--timeout", options->timeout_s, "Seconds that all of it may take")
        ->check(some_seconds())
        ->capture_default_str();
    command
        ->add_option("-o,--output", options->directory,
                     "Folder for run.json, the result document; level-1/ and inside/ get those of the levels")
        ->type_name("DIR")
        ->capture_default_str();
    command->add_flag("--json", options->json, "Print the result document instead of the report");
    command->footer(
        "Needs KVM that lets its guests be hypervisors. Elsewhere the lab is such a host, in minutes; its\n"
        "--kernel and --modules are then those of all levels.\n"
        "Exit code: 0 all held, 1 a check failed at some level, 2 bad usage or input, 3 the host lacks what\n"
        "was asked, 130 interrupted.\n\n"
        "Examples:\n"
        "  nestbed tower\n"
        "  nestbed tower --levels 3 --vcpus 4 -o /tmp/tower\n"
        "  nestbed tower --kernel arch/x86/boot/bzImage --modules .   # in a kernel's build tree\n"
        "  nestbed lab -- tower");
    command->callback([options, &action] { action = [options] { return run_tower(*options); }; });
}

} // namespace nestbed::cli
