#include "cli/compare_command.hpp"

#include <memory>
#include <string>
#include <vector>

#include "base/first_error.hpp"
#include "cli/output.hpp"
#include "report/comparison.hpp"
#include "report/document.hpp"
#include "report/json_file.hpp"

namespace nestbed::cli {

namespace {

struct CompareOptions {
    std::vector<std::string> files;
    double threshold_percent = 5;
    bool json = false;
};

int compare(const CompareOptions& options) {
    const auto a = report::read_document(options.files[0]);
    const auto b = report::read_document(options.files[1]);
    if (auto both = first_error(a, b); !both)
        return complain(both.error());
    const auto comparison = report::compare(*a, *b, options.threshold_percent);
    if (!comparison)
        return complain(comparison.error());
    const int status = print(options.json ? report::dump(report::to_json(*comparison))
                                          : report::format_comparison(*comparison));
    if (status != 0)
        return status;
    return report::has_regression(*comparison) ? exit_code(ErrorKind::check_failed) : 0;
}

} // namespace

void add_compare_command(CLI::App& app, Action& action) {
    auto options = std::make_shared<CompareOptions>();
    auto* const command =
        app.add_subcommand("compare", "Say what two runs differ in by more than their noise");
    command->add_option("files", options->files, "run.json or bench.json of the same command: before, after")
        ->required()
        ->expected(2)
        ->type_name("A.json B.json");
    command
        ->add_option(
            "--threshold", options->threshold_percent,
            "Percent by which a figure may be worse, or more than the noise, before it is a regression")
        ->check(CLI::Range(0.0, 10000.0))
        ->capture_default_str();
    command->add_flag("--json", options->json, "Every figure as JSON");
    command->footer(
        "Exit code: 0 without a regression; 1 where a figure is worse by more than the threshold and by "
        "more\n"
        "than the noise, or a verdict got worse; 2 for documents that cannot be compared.\n"
        "A sweep needs 4 repetitions on both sides to tell its noise, and of 20 figures 1 differs by "
        "chance:\n"
        "where many are compared, a larger --threshold or more repetitions make a better gate. What one run\n"
        "measured by itself, such as the costs of `validate`, is told, and is no regression.\n\n"
        "Examples:\n"
        "  nestbed compare before/run.json after/run.json\n"
        "  nestbed compare --threshold 10 --json a.json b.json | jq '.figures[] | select(.change == "
        "\"regression\")'");
    command->callback([options, &action] { action = [options] { return compare(*options); }; });
}

} // namespace nestbed::cli
