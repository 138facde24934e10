#include "cli/bench_command.hpp"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/output.hpp"
#include "cli/progress_line.hpp"
#include "cli/seconds.hpp"
#include "report/host_facts.hpp"
#include "report/json_file.hpp"
#include "stress/bench/bench.hpp"

namespace nestbed::cli {

namespace {

struct BenchOptions {
    bench::BenchRequest request;
    double timeout_s = 300;
    bool json = false;
    std::string directory;
};

struct ChildOptions {
    std::string mode;
    std::uint64_t number = 0;
};

int run_bench(const BenchOptions& options) {
    auto request = options.request;
    std::error_code error;
    request.program = std::filesystem::read_symlink("/proc/self/exe", error).string();
    request.timeout = milliseconds_of(options.timeout_s);
    const auto facts = report::gather_host_facts(nullptr, nullptr);
    std::vector<bench::Figure> figures;
    ProgressLine line{STDERR_FILENO, false};
    const auto ran = bench::run_bench(
        request, [&](const std::string& what, double fraction) { line.show(what, fraction); },
        [&](const bench::Figure& figure) {
            figures.push_back(figure);
            line.clear();
            if (!options.json)
                print(bench::to_text(figure));
        });
    line.clear();
    // What was measured before something went wrong is kept.
    const auto document = bench::to_json(figures, facts, ran ? nullptr : &ran.error());
    if (options.json)
        print(report::dump(document));
    if (!options.directory.empty())
        if (auto written =
                report::write_json_file(std::filesystem::path{options.directory} / "bench.json", document);
            !written)
            return complain(written.error());
    return ran ? 0 : complain(ran.error());
}

} // namespace

void add_bench_command(CLI::App& app, Action& action) {
    auto options = std::make_shared<BenchOptions>();
    auto* const command =
        app.add_subcommand("bench", "Measure nestbed next to a program that does only the least");
    command
        ->add_option("names", options->request.names,
                     "bringup, exit, memory, plan, race [all; race where there are --command]")
        ->type_name("NAME");
    command->add_option("--vcpus", options->request.vcpus, "For bringup")
        ->capture_default_str()
        ->check(CLI::Range(1, 65535));
    command->add_option("--repeat", options->request.repeat, "Pairs, run in turn")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000));
    command
        ->add_option("--against", options->request.against,
                     "A shell command that ends with 0, to time in turn with bringup")
        ->type_name("COMMAND");
    command
        ->add_option(
            "--command", options->request.commands,
            "For race: a shell command to start in turn with the others; the first is compared with each")
        ->type_name("COMMAND")
        ->allow_extra_args(false);
    command
        ->add_option(
            "--line", options->request.lines,
            "For race: a regular expression for a line of their stdout, in the order in which they come; "
            "at the last they are ended")
        ->type_name("REGEX")
        ->allow_extra_args(false);
    command->add_option("--timeout", options->timeout_s, "Seconds that one child may take")
        ->capture_default_str()
        ->check(some_seconds());
    command->add_option("-o,--output", options->directory, "Folder for bench.json")->type_name("DIR");
    command->add_flag("--json", options->json, "The figures as JSON");
    command->footer(
        "A benchmark informs: the exit code is 0 whether a target holds or not. Where a round fails, the "
        "rounds\n"
        "before it are reported with the error.\n\n"
        "Examples:\n"
        "  nestbed bench\n"
        "  nestbed bench bringup --vcpus 1024 --repeat 3\n"
        "  nestbed bench bringup --against 'qemu-system-x86_64 -accel kvm -smp 288 -kernel test.flat \\\n"
        "      -device isa-debug-exit; test $? -eq 1'\n"
        "  nestbed bench race --line 'Linux version' --line 'Run /init' \\\n"
        "      --command 'nestbed boot bzImage --vcpus 64 --timeout 0' \\\n"
        "      --command 'lkvm run -k bzImage -c 64 --console serial -p console=ttyS0'");
    command->callback([options, &action] { action = [options] { return run_bench(*options); }; });
}

void add_bench_child_command(CLI::App& app, Action& action) {
    auto child = std::make_shared<ChildOptions>();
    auto* const hidden = app.add_subcommand("bench-child", "")->group("");
    hidden->add_option("mode", child->mode)->required()->check(CLI::IsMember({"bringup", "exit", "memory"}));
    hidden->add_option("number", child->number)->required()->check(CLI::Range(1, 10'000'000));
    hidden->callback([child, &action] {
        action = [child] {
            const auto ran = bench::run_bench_child(child->mode, child->number);
            return ran ? 0 : complain(ran.error());
        };
    });
}

} // namespace nestbed::cli
