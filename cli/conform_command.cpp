#include "cli/conform_command.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/lab_options.hpp"
#include "cli/output.hpp"
#include "cli/progress_line.hpp"
#include "cli/seconds.hpp"
#include "cli/verdict_text.hpp"
#include "core/supervise/supervisor.hpp"
#include "nested/conform/builtin_baseline.hpp"
#include "nested/conform/conform.hpp"
#include "nested/conform/in_lab.hpp"
#include "nested/conform/payload.hpp"
#include "nested/conform/place.hpp"
#include "nested/conform/stream.hpp"
#include "report/json.hpp"
#include "report/json_file.hpp"
#include "report/junit.hpp"
#include "report/tap.hpp"

namespace nestbed::cli {

namespace {

struct ConformOptions {
    std::vector<std::string> patterns;
    std::string where = "auto";
    std::string names_file;
    std::string baseline;
    std::string tap;
    std::string junit;
    std::string directory = "results";
    std::uint32_t jobs = 0;
    double timeout_s = std::chrono::duration<double>(conform::default_timeout).count();
    bool json = false;
    bool quiet = false;
    bool stream = false;
    LabOptions machine;
    std::string silicon; // of the lab, where nothing else says which tests
    std::vector<std::string> command_line;
};

int list(const ConformOptions& options) {
    const auto chosen = conform::all_cases().and_then(
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
        ++groups[fmt::format("{}.{}", conform::extension_of(test.name), conform::group_of(test.name))];
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
                                                const std::vector<conform::Case>& cases,
                                                std::string_view extension) {
    // Without a word on which, those that can run there.
    if (options.names_file.empty() && options.patterns.empty())
        return conform::select(cases, std::vector{fmt::format("{}.*", extension)});
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

// Which command repeats a test, seen from where the user is.
std::string repeating_command(conform::Where where, const LabOptions& machine) {
    if (where == conform::Where::host)
        return conform::runs_on_bochs() ? "nestbed lab --silicon intel -- conform run"
                                        : "nestbed conform run --where host";
    std::string text = "nestbed conform run --where lab";
    for (const auto& word : to_words(machine))
        text += word.find(' ') == std::string::npos ? " " + word : fmt::format(" '{}'", word);
    return text;
}

Result<conform::ConformRequest> request_of(const ConformOptions& options, const conform::Place& place) {
    const auto where = place.where;
    auto cases = conform::all_cases();
    if (!cases)
        return tl::unexpected{cases.error()};
    auto chosen = chosen_cases(options, *cases, place.extension);
    if (!chosen)
        return tl::unexpected{chosen.error()};
    std::vector<std::string> names;
    for (const auto& test : *cases)
        names.push_back(test.name);
    conform::Baseline baseline;
    const auto add = [&](Result<conform::Baseline> other) -> Status {
        if (!other)
            return tl::unexpected{other.error()};
        for (auto& [name, known] : other->known)
            baseline.known[name] = std::move(known);
        return {};
    };
    Status added;
    const bool in_lab = where == conform::Where::lab;
    if (in_lab || conform::runs_on_tcg())
        added = add(conform::tcg_baseline(names));
    if (added && (in_lab || conform::runs_on_bochs()))
        added = add(conform::bochs_baseline(names));
    if (added && !options.baseline.empty())
        added = add(read_file(options.baseline).and_then([&](const std::string& text) {
            return conform::parse_baseline(text, names);
        }));
    if (!added)
        return tl::unexpected{added.error()};
    return conform::ConformRequest{.cases = std::move(*chosen),
                                   .jobs = options.jobs,
                                   .timeout = milliseconds_of(options.timeout_s),
                                   .baseline = std::move(baseline),
                                   .command = repeating_command(where, options.machine)};
}

Status write_text(const std::string& path, const std::string& text) {
    std::ofstream file{path, std::ios::binary | std::ios::trunc};
    file << text;
    if (!file.flush())
        return fail_errno(ErrorKind::bad_input, "write " + path);
    return {};
}

Status write_documents(const ConformOptions& options, const report::RunResult& run,
                       const nlohmann::ordered_json& document, const std::filesystem::path& path) {
    auto written = report::write_json_file(path, document);
    if (written && !options.tap.empty())
        written = write_text(options.tap, report::to_tap(run));
    if (written && !options.junit.empty())
        written = write_text(options.junit, report::to_junit(run));
    return written;
}

// Inside an emulated machine: events for the one who runs it, no document.
int run_stream(const conform::ConformRequest& request, supervise::Supervisor& supervisor) {
    const auto run = conform::conform_here(
        request, supervisor,
        {.began = {},
         .started = [](const conform::Case& test) { print(conform::started_line(test.name)); },
         .finished = [](const report::CheckResult& check) { print(conform::result_line(check)); }});
    if (run.error)
        complain(*run.error);
    return report::exit_code(run.outcome);
}

const char* machines_of(const std::vector<conform::Case>& cases) {
    const auto of = [&](std::string_view extension) {
        return std::ranges::any_of(
            cases, [&](const auto& test) { return conform::extension_of(test.name) == extension; });
    };
    return !of("vmx")  ? "in the lab, an emulated AMD machine"
           : of("svm") ? "in the lab, emulated AMD and Intel machines"
                       : "in the lab, an emulated Intel machine";
}

int run(const ConformOptions& options) {
    const auto wanted = conform::parse_where(options.where);
    if (!wanted)
        return complain(wanted.error());
    auto place = conform::choose_place(*wanted, conform::extensions_of(options.patterns));
    if (place.where == conform::Where::lab && options.silicon == "intel")
        place.extension = "vmx";
    if (place.where == conform::Where::host && !to_words(options.machine).empty())
        return complain({ErrorKind::bad_input, "run tests on this host with " + to_words(options.machine)[0],
                         "that is for the lab", "add --where lab"});
    const auto request = request_of(options, place);
    if (!request)
        return complain(request.error());
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    if (options.stream)
        return run_stream(*request, **supervisor);

    ProgressLine progress{is_terminal(STDOUT_FILENO) && !options.json ? STDOUT_FILENO : STDERR_FILENO,
                          options.json && !is_terminal(STDERR_FILENO)};
    const auto say = [&](const std::string& text) {
        progress.clear();
        if (!options.json)
            print(text);
    };
    say(fmt::format("{} tests {}: {}\n\n", request->cases.size(),
                    place.where == conform::Where::lab ? machines_of(request->cases) : "on this host",
                    place.why));
    const bool colour = is_terminal(STDOUT_FILENO);
    std::size_t done = 0;
    const auto fraction = [&] {
        return static_cast<double>(done) /
               static_cast<double>(std::max<std::size_t>(request->cases.size(), 1));
    };
    const conform::ConformObserver observer{
        .began = {},
        .started = [&](const conform::Case& test) { progress.show(test.name, fraction()); },
        .finished =
            [&](const report::CheckResult& check) {
                ++done;
                if (!options.quiet || (report::is_bad(check.verdict) && check.known.empty()))
                    say(case_lines(check, colour));
            }};
    auto result =
        place.where == conform::Where::host
            ? conform::conform_here(*request, **supervisor, observer)
            : conform::conform_in_lab(*request, to_request(options.machine), **supervisor,
                                      {.conform = observer, .progress = [&](const std::string& what) {
                                           progress.show(what, fraction());
                                       }});
    progress.clear();
    result.command_line = options.command_line;
    const auto document = report::to_json(result);
    const auto path = std::filesystem::path{options.directory} / "run.json";
    if (auto written = write_documents(options, result, document, path); !written)
        return complain(written.error());
    if (options.json)
        print(report::dump(document));
    else
        print(conform_conclusion(result, path.string()));
    if (result.error)
        complain(*result.error);
    return report::exit_code(result.outcome);
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
    runner
        ->add_option("--where", options->where,
                     "host, lab (emulated machines, AMD for svm.* and Intel for vmx.*), or auto: the lab "
                     "where this host offers its guests neither, or not what the tests are about")
        ->check(CLI::IsMember({"auto", "host", "lab"}))
        ->capture_default_str();
    runner
        ->add_option("--jobs", options->jobs,
                     "Tests at a time, in the lab each in a machine of its own [one for\nevery two "
                     "processors, in the lab one for each]")
        ->check(CLI::Range(1, 1024));
    runner->add_option("--timeout", options->timeout_s, "Seconds that a test may take")
        ->check(some_seconds())
        ->capture_default_str();
    runner
        ->add_option("--baseline", options->baseline,
                     "Known results: a failure that stands there with its reason does not count")
        ->type_name("FILE.json");
    runner->add_option("--tap", options->tap, "Write the results as TAP, too")->type_name("FILE");
    runner->add_option("--junit", options->junit, "Write the results as JUnit's XML, too")->type_name("FILE");
    runner->add_option("-o,--output", options->directory, "Folder for run.json, the result document")
        ->type_name("DIR")
        ->capture_default_str();
    runner->add_flag("-q,--quiet", options->quiet, "Print only the verdicts that count as failures");
    runner->add_flag("--json", options->json, "Print the result document instead of the verdicts");
    add_lab_options(*runner, options->machine, "In the lab");
    // What an emulated machine is told; see nested/conform/in_lab.cpp.
    runner->add_option("--names", options->names_file)->group("");
    runner->add_flag("--stream", options->stream)->group("");
    // What `nestbed lab --silicon` asks for, see lab_command.cpp.
    runner->add_option("--silicon", options->silicon)->group("");
    runner->footer(
        "Verdicts: pass, fail, hang, crash, and n/a where the feature is not offered.\n"
        "Exit code: 0 all held, 1 one did not, 2 bad usage or input, 3 the host lacks what was asked.\n\n"
        "Examples:\n"
        "  nestbed conform run\n"
        "  nestbed conform run 'svm.npt.*' --where lab\n"
        "  nestbed conform run 'vmx.*'\n"
        "  nestbed conform run --where lab --kernel arch/x86/boot/bzImage --modules . 'svm.npt.*'\n"
        "  nestbed conform run --baseline known.json --junit results.xml\n"
        "  nestbed conform run svm.vmrun_checks.asid_zero");
    runner->callback([options, &action] { action = [options] { return run(*options); }; });
}

} // namespace nestbed::cli
