#include "cli/report_command.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "cli/output.hpp"
#include "report/comparison.hpp"
#include "report/document.hpp"
#include "report/html/host_of_run.hpp"
#include "report/html/page.hpp"
#include "report/json_file.hpp"
#include "report/usl.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::cli {

namespace {

struct ReportOptions {
    std::vector<std::string> files;
    std::string output = "report.html";
    double threshold_percent = 5;
};

Result<report::ReportedRun> read_run(const std::string& path) {
    return report::read_document(path).map([](report::Document document) {
        report::ReportedRun run{.document = std::move(document), .host = {}, .why_no_host = {}};
        // A run that was ended early has its points all the same.
        if (auto& sweep = run.document.run.sweep; sweep && sweep->fits.empty())
            sweep->fits = report::fit_sweep(sweep->points, {}, stress::not_parallel_drivers());
        const auto& facts = run.document.run.host;
        if (run.document.run.plan && facts) {
            if (auto host = report::host_of(*facts))
                run.host = *std::move(host);
            else
                run.why_no_host = host.error().message();
        } else {
            run.why_no_host = "the document does not describe the host";
        }
        return run;
    });
}

std::string make_nonce() {
    std::random_device source;
    std::string nonce;
    for (int i = 0; i < 4; ++i)
        nonce += fmt::format("{:08x}", static_cast<std::uint32_t>(source()));
    return nonce;
}

int report(const ReportOptions& options) {
    for (const auto& path : options.files)
        if (std::error_code no_such_file; std::filesystem::equivalent(path, options.output, no_such_file))
            return complain({ErrorKind::bad_input, "write " + options.output,
                             "it is one of the runs to report", "name another file with -o"});
    std::vector<report::ReportedRun> runs;
    for (const auto& path : options.files) {
        auto run = read_run(path);
        if (!run)
            return complain(run.error());
        runs.push_back(*std::move(run));
    }
    std::optional<report::Comparison> comparison;
    if (runs.size() == 2) {
        auto compared = report::compare(runs[0].document, runs[1].document, options.threshold_percent);
        if (compared)
            comparison = *std::move(compared);
        else // two runs of different kinds are still two runs
            remark(fmt::format("nestbed: no comparison: {}\n", compared.error().message()));
    }
    const auto text = report::page(runs, comparison, make_nonce());
    if (auto written = report::write_text_file(options.output, text); !written)
        return complain(written.error());
    if (!report::has_uplot())
        remark("nestbed: curves are drawn plainly, this build could not fetch uPlot\n");
    return print(options.output + '\n');
}

} // namespace

void add_report_command(CLI::App& app, Action& action) {
    auto options = std::make_shared<ReportOptions>();
    auto* const command =
        app.add_subcommand("report", "Make one HTML file of runs, which opens without a network");
    command->add_option("files", options->files, "run.json or bench.json; of two, the second is compared")
        ->required()
        ->expected(1, 16)
        ->type_name("RUN.json");
    command->add_option("-o,--output", options->output, "The file to write")
        ->capture_default_str()
        ->type_name("FILE");
    command->add_option("--threshold", options->threshold_percent, "As that of nestbed compare")
        ->check(CLI::Range(0.0, 10000.0))
        ->capture_default_str();
    command->footer("Examples:\n"
                    "  nestbed report results/run.json\n"
                    "  nestbed report before/run.json after/run.json -o difference.html");
    command->callback([options, &action] { action = [options] { return report(*options); }; });
}

} // namespace nestbed::cli
