#include "cli/conform_command.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>

#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

#include "cli/output.hpp"
#include "cli/progress_line.hpp"
#include "core/supervise/supervisor.hpp"
#include "nested/conform/conform.hpp"
#include "nested/conform/payload.hpp"
#include "report/json.hpp"
#include "report/json_file.hpp"

namespace nestbed::cli {

namespace {

struct ConformOptions {
    std::vector<std::string> patterns;
    std::string where = "auto";
    std::string names_file;
    std::string baseline;
    std::string directory = "results";
    std::uint32_t jobs = 0;
    double timeout_s = std::chrono::duration<double>(conform::default_timeout).count();
    bool json = false;
    bool stream = false;
    std::vector<std::string> command_line;
};

Result<std::vector<conform::Case>> all_cases() {
    return conform::svm_payload().and_then(
        [](const boot::Payload& payload) { return conform::cases_of(payload); });
}

int list(const ConformOptions& options) {
    const auto chosen = all_cases().and_then(
        [&](const std::vector<conform::Case>& cases) { return conform::select(cases, options.patterns); });
    if (!chosen)
        return complain(chosen.error());
    if (options.json) {
        auto document = nlohmann::ordered_json::array();
        for (const auto& test : *chosen)
            document.push_back({{"name", test.name},
                                {"title", test.title},
                                {"reference", test.reference},
                                {"needs", test.needs},
                                {"vcpus", test.vcpus}});
        return print(report::dump({{"suite", conform::suite_version}, {"tests", std::move(document)}}));
    }
    std::string text;
    std::map<std::string, int, std::less<>> groups;
    for (const auto& test : *chosen) {
        text += fmt::format("{:<46} {} [{}]\n", test.name, test.title, test.reference);
        ++groups[std::string{conform::group_of(test.name)}];
    }
    return print(text + fmt::format("\n{} tests in {} groups\n", chosen->size(), groups.size()));
}

Result<std::string> read_file(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    std::string text{std::istreambuf_iterator<char>{file}, {}};
    if (!file)
        return fail_errno(ErrorKind::bad_input, "read " + path);
    return text;
}

// The tests that the options name, one way or the other.
Result<std::vector<conform::Case>> chosen_cases(const ConformOptions& options,
                                                const std::vector<conform::Case>& cases) {
    if (options.names_file.empty())
        return conform::select(cases, options.patterns);
    return read_file(options.names_file).and_then([&](const std::string& text) {
        std::vector<std::string> names;
        for (std::size_t at = 0; at < text.size();) {
            const auto end = std::min(text.find('\n', at), text.size());
            if (end > at)
                names.push_back(text.substr(at, end - at));
            at = end + 1;
        }
        return conform::select(cases, names);
    });
}

std::string verdict_line(const report::CheckResult& check, bool colour) {
    using report::Verdict;
    auto word = std::string{report::to_string(check.verdict)};
    if (check.verdict == Verdict::not_applicable)
        word = "n/a";
    const bool bad = report::is_bad(check.verdict) && check.known.empty();
    auto padded = fmt::format("{:<6}", bad ? fmt::format("{}", word) : word);
    if (colour && bad)
        padded = fmt::format(fg(fmt::terminal_color::red), "{}", padded);
    else if (colour && check.verdict == Verdict::pass)
        padded = fmt::format(fg(fmt::terminal_color::green), "{}", padded);
    auto line =
        fmt::format("{} {:<44} {}", padded, check.name, check.reason.empty() ? check.summary : check.reason);
    if (!check.known.empty())
        line += fmt::format("  (known: {})", check.known);
    line += "\n";
    if (bad && check.verdict != Verdict::not_run) {
        line += fmt::format("       {}\n", check.title);
        for (const auto& detail : check.details)
            line += fmt::format("       {}\n", detail);
        line += fmt::format("       repeat: {}\n", check.repeat);
    }
    return line;
}

std::string conclusion(const report::RunResult& run, const std::string& document) {
    std::map<report::Verdict, std::size_t> counts;
    std::size_t known = 0;
    for (const auto& check : run.checks)
        if (check.known.empty())
            ++counts[check.verdict];
        else
            ++known;
    using report::Verdict;
    return fmt::format(
        "\n{}: {} passed, {} failed, {} hung, {} crashed, {} known, {} not applicable, {} not run, "
        "in {:.1f} s; details in {}\n",
        report::to_string(run.outcome), counts[Verdict::pass], counts[Verdict::fail], counts[Verdict::hang],
        counts[Verdict::crash], known, counts[Verdict::not_applicable], counts[Verdict::not_run],
        run.duration_s, document);
}

Result<conform::ConformRequest> request_of(const ConformOptions& options) {
    auto cases = all_cases();
    if (!cases)
        return tl::unexpected{cases.error()};
    auto chosen = chosen_cases(options, *cases);
    if (!chosen)
        return tl::unexpected{chosen.error()};
    conform::ConformRequest request{
        .cases = std::move(*chosen),
        .jobs = options.jobs,
        .timeout = std::chrono::milliseconds{static_cast<std::int64_t>(options.timeout_s * 1000)},
        .baseline = {},
        .where = options.where};
    if (!options.baseline.empty()) {
        std::vector<std::string> names;
        for (const auto& test : *cases)
            names.push_back(test.name);
        auto baseline = read_file(options.baseline).and_then([&](const std::string& text) {
            return conform::parse_baseline(text, names);
        });
        if (!baseline)
            return tl::unexpected{baseline.error()};
        request.baseline = std::move(*baseline);
    }
    return request;
}

int run(const ConformOptions& options) {
    auto request = request_of(options);
    if (!request)
        return complain(request.error());
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    request->where = "host";
    const bool quiet = options.json || options.stream;
    ProgressLine progress{is_terminal(STDOUT_FILENO) && !quiet ? STDOUT_FILENO : STDERR_FILENO,
                          options.stream || (options.json && !is_terminal(STDERR_FILENO))};
    const bool colour = is_terminal(STDOUT_FILENO);
    std::size_t done = 0;
    const auto run = conform::conform_here(
        *request, **supervisor,
        {.began = {},
         .started =
             [&](const conform::Case& test) {
                 progress.show(test.name,
                               static_cast<double>(done) / static_cast<double>(request->cases.size()));
             },
         .finished =
             [&](const report::CheckResult& check) {
                 ++done;
                 progress.clear();
                 if (!quiet)
                     print(verdict_line(check, colour));
             }});
    progress.clear();
    const auto path = std::filesystem::path{options.directory} / "run.json";
    auto kept = run;
    kept.command_line = options.command_line;
    const auto document = report::to_json(kept);
    if (auto written = report::write_json_file(path, document); !written)
        return complain(written.error());
    if (options.json)
        print(report::dump(document));
    else
        print(conclusion(run, path.string()));
    if (run.error)
        complain(*run.error);
    return report::exit_code(run.outcome);
}

} // namespace

void add_conform_command(CLI::App& app, Action& action, std::vector<std::string> command_line) {
    auto options = std::make_shared<ConformOptions>();
    options->command_line = std::move(command_line);
    auto* const command = app.add_subcommand("conform", "Hold KVM's nested virtualization to the manuals");
    command->require_subcommand(1);

    auto* const lister = command->add_subcommand("list", "The tests by name, with the section each is about");
    lister->add_option("PATTERN", options->patterns, "Shell patterns over the names [all]");
    lister->add_flag("--json", options->json, "As JSON");
    lister->callback([options, &action] { action = [options] { return list(*options); }; });

    auto* const runner = command->add_subcommand("run", "Run tests, each on a machine of its own");
    runner->add_option("PATTERN", options->patterns, "Shell patterns over the names [all]");
    runner->add_option("--jobs", options->jobs, "Tests at a time [one for every two processors]")
        ->check(CLI::Range(1, 1024));
    runner->add_option("--timeout", options->timeout_s, "Seconds that a test may take")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    runner
        ->add_option("--baseline", options->baseline,
                     "Known results: a failure that stands there with its reason does not count")
        ->type_name("FILE.json");
    runner->add_option("-o,--output", options->directory, "Folder for run.json, the result document")
        ->type_name("DIR")
        ->capture_default_str();
    runner->add_flag("--json", options->json, "Print the result document instead of the verdicts");
    runner->footer(
        "Verdicts: pass, fail, hang, crash, and n/a where the feature is not offered.\n"
        "Exit code: 0 all held, 1 one did not, 2 bad usage or input, 3 the host lacks what was asked.\n\n"
        "Examples:\n"
        "  nestbed conform run\n"
        "  nestbed conform run 'svm.npt.*' --jobs 4\n"
        "  nestbed conform run svm.vmrun_checks.asid_zero");
    runner->callback([options, &action] { action = [options] { return run(*options); }; });
}

} // namespace nestbed::cli
