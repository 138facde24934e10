#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <malloc.h>
#include <spdlog/cfg/env.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "cli/bench_command.hpp"
#include "cli/boot_command.hpp"
#include "cli/check_command.hpp"
#include "cli/command.hpp"
#include "cli/compare_command.hpp"
#include "cli/conform_command.hpp"
#include "cli/lab_command.hpp"
#include "cli/place_command.hpp"
#include "cli/plan_command.hpp"
#include "cli/report_command.hpp"
#include "cli/stress_command.hpp"
#include "cli/tower_command.hpp"
#include "cli/usage_error.hpp"
#include "cli/validate_command.hpp"
#include "lab/inside/init.hpp"
#include "report/run_result.hpp"

namespace {

int run(const std::vector<std::string>& line) {
    using namespace nestbed;

    CLI::App app{"nestbed: a testbed for huge and nested KVM guests"};
    app.set_version_flag("--version", "nestbed " + std::string{report::program_version()});
    std::string level = "warn";
    app.add_option("--log-level", level, "Of the log on stderr: trace, debug, info, warn, error or off")
        ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
        ->capture_default_str();
    app.require_subcommand(1);
    app.failure_message(cli::usage_error);
    app.footer("`nestbed COMMAND --help` has the options and examples of each.");

    cli::Action action;
    const std::pair<const char*, std::function<void()>> commands[] = {
        {"validate", [&] { cli::add_validate_command(app, action, line); }},
        {"boot", [&] { cli::add_boot_command(app, action, line); }},
        {"tower", [&] { cli::add_tower_command(app, action, line); }},
        {"conform", [&] { cli::add_conform_command(app, action, line); }},
        {"stress", [&] { cli::add_stress_command(app, action, line); }},
        {"check", [&] { cli::add_check_command(app, action); }},
        {"plan", [&] { cli::add_plan_command(app, action); }},
        {"place", [&] { cli::add_place_command(app, action, line); }},
        {"bench", [&] { cli::add_bench_command(app, action); }},
        {"bench-child", [&] { cli::add_bench_child_command(app, action); }},
        {"report", [&] { cli::add_report_command(app, action); }},
        {"compare", [&] { cli::add_compare_command(app, action); }},
        {"lab", [&] { cli::add_lab_command(app, action, line, run); }},
    };
    // Where the line names a command, that one alone: all of them are 70 ms on an emulated host.
    const auto named = std::find_first_of(
        line.begin() + (line.empty() ? 0 : 1), line.end(), std::begin(commands), std::end(commands),
        [](const auto& word, const auto& one) { return word == one.first; });
    for (const auto& [name, add] : commands)
        if (named == line.end() || *named == name)
            add();
    try {
        std::vector<const char*> words;
        words.reserve(line.size());
        for (const auto& word : line)
            words.push_back(word.c_str());
        app.parse(static_cast<int>(words.size()), words.data());
    } catch (const CLI::ParseError& error) {
        // Help and version are "errors" of status 0; all others are bad usage.
        return app.exit(error) == 0 ? 0 : exit_code(ErrorKind::bad_input);
    }
    spdlog::set_level(spdlog::level::from_str(level));
    return action();
}

// One arena for each of a thousand vCPU threads, as the C library makes on hosts of many CPUs, would be 18
// KiB a vCPU for nothing: these threads hardly allocate, and not while the guest runs.
constexpr int most_malloc_arenas = 8;

} // namespace

int main(int argc, char** argv) {
    if (nestbed::lab::is_init())
        nestbed::lab::run_as_init();
    ::mallopt(M_ARENA_MAX, most_malloc_arenas);
    // A reader that goes away ends in a failed write, which is handled, and not in a machine left behind.
    // Nor does a file that may not grow (RLIMIT_FSIZE).
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
    try {
        spdlog::set_default_logger(spdlog::stderr_color_mt("nestbed"));
        spdlog::set_level(spdlog::level::warn);
        return run({argv, argv + argc});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "nestbed: %s\n", error.what());
    } catch (...) {
        std::fputs("nestbed: an unknown exception\n", stderr);
    }
    return 1;
}
