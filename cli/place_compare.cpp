#include "cli/place_compare.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "base/units.hpp"
#include "cli/growing_document.hpp"
#include "cli/output.hpp"
#include "cli/placement_options.hpp"
#include "cli/progress_line.hpp"
#include "cli/results.hpp"
#include "cli/run_in_lab.hpp"
#include "cli/seconds.hpp"
#include "cli/stress_options.hpp"
#include "cli/stress_text.hpp"
#include "core/kvm/kvm.hpp"
#include "core/supervise/supervisor.hpp"
#include "stress/drivers/registry.hpp"
#include "stress/sweep/place_questions.hpp"

namespace nestbed::cli {

namespace {

constexpr std::size_t most_configurations = 64;
constexpr std::uint32_t most_vcpus = topology::max_traffic_vcpus;

Result<std::vector<stress::SweepConfiguration>> read_configurations(const PlaceCompareOptions& options) {
    std::vector<stress::SweepConfiguration> configurations;
    for (const auto& policy : split_list(options.policies))
        for (const auto& topology : split_list(options.topologies)) {
            // What everything else does too is not worth a word.
            const report::Configuration asked{policy, options.pages, "auto",
                                              options.topologies == "matching" ? "" : topology};
            if (std::ranges::any_of(configurations, [&](const auto& c) { return c.asked == asked; }))
                return fail(ErrorKind::bad_input,
                            fmt::format("compare {} with itself", configuration_text(asked)),
                            "it is named twice", "name each policy and each topology once");
            if (configurations.size() == most_configurations)
                return fail(ErrorKind::bad_input, "compare all these placements",
                            fmt::format("there are more than {}", most_configurations),
                            "compare some of them at a time");
            auto read = read_configuration(asked, options.memory);
            if (!read)
                return tl::unexpected{read.error()};
            configurations.push_back(*std::move(read));
        }
    return configurations;
}

std::string verdict_text(const report::PlaceVerdict& verdict) {
    auto text = fmt::format("\n{}: {}, {}; predicted cost: {}\n", verdict.driver, verdict.figure,
                            verdict.unit, verdict.predictor);
    for (const auto& place : verdict.places)
        text += fmt::format("  {:<28} {:>9}  {:>3} rounds  predicted {}\n",
                            configuration_text(place.configuration),
                            place.rounds > 0 ? rate_text(place.median) : "-", place.rounds,
                            place.predicted_cost ? fmt::format("{:.3g}", *place.predicted_cost) : "-");
    text += verdict.why_no_winner.empty()
                ? fmt::format("  winner: {}", configuration_text(verdict.places.front().configuration))
                : fmt::format("  no winner: {}", verdict.why_no_winner);
    if (verdict.lead && verdict.lead->ci95)
        text += fmt::format("; first to second {:.3f} ({:.3f} to {:.3f}, {} rounds)", verdict.lead->ratio,
                            verdict.lead->ci95->low, verdict.lead->ci95->high, verdict.lead->rounds);
    text += verdict.spearman && verdict.kendall
                ? fmt::format("\n  prediction: Spearman {:.2f}, Kendall {:.2f}\n", *verdict.spearman,
                              *verdict.kendall)
                : fmt::format("\n  prediction: not defined, {}\n", verdict.why_no_correlation);
    return text;
}

std::optional<std::string> why_in_lab(const PlaceCompareOptions& options) {
    if (options.where == "lab")
        return "as asked";
    if (options.where == "host")
        return std::nullopt;
    const auto kvm = kvm::Kvm::open();
    return kvm ? std::nullopt : std::optional{kvm.error().message()};
}

lab::LabRequest lab_request(const PlaceCompareOptions& options, const PlaceRequest& place) {
    lab::LabRequest request;
    const auto points =
        static_cast<double>(place.sweep.drivers.size() * place.sweep.configurations.size()) * options.repeat;
    const auto seconds = std::min(points * (options.duration_s + 10) * 4, 7 * 86400.0);
    request.timeout = std::chrono::minutes{30} + milliseconds_of(seconds);
    request.arguments.assign(options.command_line.begin() + 1, options.command_line.end());
    // Once more, and the last one counts.
    request.arguments.insert(request.arguments.end(), {"--where", "host"});
    return request;
}

// All plans are made before anything runs.
Result<std::vector<report::PlaceQuestion>> prepare(PlaceRequest& request) {
    const auto host = topology::discover("auto");
    if (!host)
        return tl::unexpected{host.error()};
    const auto kvm = kvm::Kvm::open();
    if (!kvm)
        return tl::unexpected{kvm.error()};
    const auto most = static_cast<std::uint32_t>(std::max(kvm->check_extension(KVM_CAP_MAX_VCPUS), 1));
    const auto vcpus = request.vcpus.value_or(place_vcpus(*host, most));
    for (const auto* const driver : request.sweep.drivers)
        if (vcpus < driver->least_vcpus)
            return fail(ErrorKind::bad_input, fmt::format("compare placements by {}", driver->name),
                        fmt::format("it needs {} vCPUs or more", driver->least_vcpus),
                        "ask for more with --vcpus, or for other --drivers");
    request.sweep.vcpus = std::to_string(vcpus);
    return stress::place_questions(request.sweep.drivers, request.sweep.configurations, vcpus, *host,
                                   request.traffic);
}

report::PlaceComparison judge(const std::vector<report::PlaceQuestion>& questions,
                              const report::RunResult& run) {
    report::PlaceComparison comparison;
    for (const auto& question : questions)
        comparison.drivers.push_back(report::judge_places(question, run.sweep->points, run.seed.value_or(0)));
    return comparison;
}

} // namespace

Result<PlaceRequest> read_place_options(const PlaceCompareOptions& options) {
    auto drivers = stress::select_drivers(split_list(options.drivers));
    if (!drivers)
        return tl::unexpected{drivers.error()};
    auto configurations = read_configurations(options);
    if (!configurations)
        return tl::unexpected{configurations.error()};
    const auto duration = static_cast<std::int64_t>(options.duration_s * 1000);
    PlaceRequest request{.sweep = {.drivers = *std::move(drivers),
                                   .vcpus = {},
                                   .configurations = *std::move(configurations),
                                   .duration = std::chrono::milliseconds{duration},
                                   .repeat = options.repeat,
                                   .seed = options.seed,
                                   .balanced = true,
                                   .mix = false,
                                   .timeout = {}},
                         .vcpus = {},
                         .traffic = {}};
    if (!options.vcpus.empty()) {
        const auto count = parse_count(options.vcpus, "--vcpus", most_vcpus);
        if (!count)
            return tl::unexpected{count.error()};
        request.vcpus = static_cast<std::uint32_t>(*count);
    }
    if (!options.traffic.empty()) {
        auto traffic =
            topology::parse_traffic_source(options.traffic).and_then(topology::read_traffic_source);
        if (!traffic)
            return tl::unexpected{traffic.error()};
        request.traffic = *std::move(traffic);
    }
    return request;
}

std::uint32_t place_vcpus(const topology::Host& host, std::uint32_t most) {
    const auto pus = static_cast<std::uint32_t>(topology::allowed_pus(host).size());
    return std::min(std::max(pus, 2U), std::min(most, most_vcpus));
}

std::string place_text(const report::PlaceComparison& comparison) {
    std::string text;
    for (const auto& verdict : comparison.drivers)
        text += verdict_text(verdict);
    return text;
}

int compare_places(const PlaceCompareOptions& options) {
    auto request = read_place_options(options);
    if (!request)
        return complain(request.error());
    const auto path = document_path(options.directory);
    if (!path)
        return complain(path.error());
    auto supervisor = supervise::Supervisor::create();
    if (!supervisor)
        return complain(supervisor.error());
    if (const auto why = why_in_lab(options)) {
        if (!options.json)
            print(fmt::format("in the lab, an emulated AMD machine: {}\n", *why));
        return run_in_lab(lab_request(options, *request), **supervisor);
    }
    const auto questions = prepare(*request);
    if (!questions)
        return complain(questions.error());
    ProgressLine progress{is_terminal(STDOUT_FILENO) && !options.json ? STDOUT_FILENO : STDERR_FILENO,
                          options.json && !is_terminal(STDERR_FILENO)};
    const auto as_comparison = [&](report::RunResult run) {
        run.kind = "place";
        run.command_line = options.command_line;
        run.place_comparison = judge(*questions, run);
        return run;
    };
    GrowingDocument document{*path, as_comparison};
    std::optional<Error> unwritten;
    auto result = as_comparison(stress::sweep(
        request->sweep, **supervisor,
        {.started = {},
         .progress = [&](const stress::Progress& now) { progress.show(now.what, now.fraction); },
         .finished =
             [&](const report::SweepPoint& point, const report::RunResult& so_far) {
                 progress.clear();
                 if (!options.json)
                     print(point_lines(point, is_terminal(STDOUT_FILENO)));
                 if (auto written = document.write_now_and_then(so_far); !written && !unwritten)
                     unwritten = written.error();
             }}));
    progress.clear();
    if (unwritten) // in between; the end is another matter
        complain(*unwritten);
    return conclude(result, *path, options.json, [&] {
        if (!result.sweep->points.empty())
            print(place_text(*result.place_comparison) + sweep_conclusion(result, path->string()));
    });
}

} // namespace nestbed::cli
