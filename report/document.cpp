#include "report/document.hpp"

#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "base/units.hpp"
#include "report/fields.hpp"
#include "report/place_comparison_json.hpp"
#include "report/plan_json.hpp"
#include "report/sweep_json.hpp"
#include "topology/text_file.hpp"

namespace nestbed::report {

namespace {

constexpr std::size_t most_bytes = 256 * MiB;
constexpr std::size_t most_entries = 100'000; // checks, names, lines
constexpr std::size_t most_samples = 4'000'000;

Measurement read_measurement(const Field& field) {
    Measurement measurement{
        .name = field.member("name").text(), .summary = read_summary(field), .samples = {}};
    if (const auto samples = field.find("samples"))
        measurement.samples = samples->numbers(most_samples);
    return measurement;
}

CheckResult read_check(const Field& field) {
    CheckResult check;
    check.name = field.member("name").text();
    check.title = field.member("title").text();
    const auto verdict = field.member("verdict");
    if (const auto parsed = parse_verdict(verdict.text()))
        check.verdict = *parsed;
    else
        verdict.object("a verdict");
    check.seconds = field.member("seconds").amount();
    check.summary = field.member("summary").text();
    for (const auto& [name, text] :
         {std::pair{"reason", &check.reason}, {"reference", &check.reference}, {"known", &check.known}})
        if (const auto member = field.find(name))
            *text = member->text();
    check.details = field.member("details").texts(most_entries);
    check.repeat = field.member("repeat").text();
    for (const auto& measurement : field.member("measurements").elements(most_entries))
        check.measurements.push_back(read_measurement(measurement));
    if (const auto facts = field.member("facts"); facts.json().is_object())
        check.facts = facts.json();
    else
        facts.object("an object");
    return check;
}

Error read_error(const Field& field) {
    Error error{.kind = ErrorKind::check_failed,
                .asked = field.member("asked").text(),
                .found = field.member("found").text(),
                .remedy = field.member("remedy").text()};
    const auto kind = field.member("kind");
    const auto word = kind.text();
    for (const auto each : {ErrorKind::check_failed, ErrorKind::bad_input, ErrorKind::host_lacks,
                            ErrorKind::cancelled, ErrorKind::deadline})
        if (nestbed::to_string(each) == word) {
            error.kind = each;
            return error;
        }
    kind.object("a kind of error");
    return error;
}

std::string read_known(const Field& field) {
    return field.is_null() ? std::string{} : field.text();
}

HostFacts read_host(const Field& field) {
    HostFacts host;
    host.kernel = read_known(field.member("kernel"));
    host.cpu_model = read_known(field.member("cpu_model"));
    host.microcode = read_known(field.member("microcode"));
    host.kvm_module = read_known(field.member("kvm_module"));
    for (const auto& [name, value] : field.member("module_parameters").members(most_entries))
        host.module_parameters[name] = value.text();
    for (const auto& [name, value] : field.member("kvm_capabilities").members(most_entries))
        host.kvm_capabilities[name] = value.integer();
    for (const auto& [name, value] : field.member("limits").members(most_entries))
        host.limits[name] = value.is_null() ? std::optional<std::uint64_t>{} : std::optional{value.count()};
    if (const auto topology = field.find("topology")) {
        host.topology = read_host_topology(*topology);
        if (const auto xml = field.find("topology_xml"))
            host.topology->xml = xml->text();
    }
    return host;
}

MachineFacts read_machine(const Field& field) {
    return {.vcpus = field.member("vcpus").small_count(),
            .shape = read_shape(field.member("shape")),
            .memory_bytes = field.member("memory_bytes").count(),
            .page_size = read_page_size(field.member("page_size"))};
}

KvmStatistics read_kvm_statistics(const Field& field) {
    KvmStatistics statistics;
    for (const auto& [name, stat] : field.member("vcpu").members(most_entries))
        statistics.vcpu[name] = {.unit = stat.member("unit").text(),
                                 .values = stat.member("values").counts(most_entries)};
    for (const auto& [name, stat] : field.member("vm").members(most_entries))
        statistics.vm[name] = {.unit = stat.member("unit").text(), .value = stat.member("value").count()};
    return statistics;
}

RunResult read_run(const Field& field) {
    RunResult run;
    run.version = field.member("program").member("version").text();
    run.kind = field.member("kind").text();
    const auto started_at = field.member("started_at");
    if (const auto time = parse_utc(started_at.text()))
        run.started_at = *time;
    else
        started_at.object("a time such as 2026-11-22T03:11:04.250Z");
    run.duration_s = field.member("duration_s").amount();
    run.command_line = field.member("command_line").texts(most_entries);
    if (const auto seed = field.member("seed"); !seed.is_null())
        run.seed = seed.count();
    const auto outcome = field.member("outcome");
    if (const auto parsed = parse_outcome(outcome.text()))
        run.outcome = *parsed;
    else
        outcome.object("an outcome");
    if (const auto error = field.find("error"))
        run.error = read_error(*error);
    if (const auto host = field.find("host"))
        run.host = read_host(*host);
    if (const auto machine = field.find("machine"))
        run.machine = read_machine(*machine);
    if (const auto plan = field.find("plan"))
        run.plan = read_plan(*plan);
    for (const auto& check : field.member("checks").elements(most_entries))
        run.checks.push_back(read_check(check));
    if (const auto sweep = field.find("sweep"))
        run.sweep = read_sweep(*sweep);
    if (const auto comparison = field.find("place_comparison"))
        run.place_comparison = read_place_comparison(*comparison);
    if (const auto statistics = field.find("kvm_stats"))
        run.kvm_stats = read_kvm_statistics(*statistics);
    for (const auto& timing : field.member("timings").elements(most_entries))
        run.timings.push_back(
            {.phase = timing.member("phase").text(), .seconds = timing.member("seconds").amount()});
    return run;
}

BenchSummary read_bench_summary(const Field& field) {
    return {.count = field.member("count").count(),
            .min = field.member("min").number(),
            .median = field.member("median").number(),
            .max = field.member("max").number()};
}

BenchFigure read_figure(const Field& field) {
    BenchFigure figure;
    figure.name = field.member("name").text();
    figure.what = field.member("what").text();
    figure.unit = field.member("unit").text();
    figure.ours = read_bench_summary(field.member("ours"));
    if (const auto other = field.find("other")) {
        figure.other = read_bench_summary(*other);
        figure.ratio = read_bench_summary(field.member("ratio"));
    }
    const auto target = field.member("target");
    const auto at_least = target.find("at_least");
    figure.at_most = !at_least;
    figure.target = at_least ? at_least->number() : target.member("at_most").number();
    figure.holds = field.member("holds").truth();
    return figure;
}

Document read_bench(const Field& field) {
    Document document;
    document.run.kind = "bench";
    document.run.outcome = Outcome::passed;
    document.run.version = field.member("program").member("version").text();
    const auto host = field.member("host");
    document.run.host.emplace();
    document.run.host->kernel = read_known(host.member("kernel"));
    document.run.host->cpu_model = read_known(host.member("cpu_model"));
    for (const auto& figure : field.member("figures").elements(most_entries))
        document.figures.push_back(read_figure(figure));
    if (const auto error = field.find("error")) {
        document.run.error = read_error(*error);
        document.run.outcome = outcome_of(document.run.error->kind);
    }
    return document;
}

tl::unexpected<Error> refuse(const std::string& name, std::string found) {
    return fail(ErrorKind::bad_input, fmt::format("read {}", printable(name)), std::move(found),
                "name a run.json, or what nestbed bench --json has printed");
}

} // namespace

Result<Document> parse_document(std::string_view text, std::string name) {
    const auto json = parse_bounded_json(text, name);
    if (!json)
        return tl::unexpected{json.error()};
    Objection objection;
    const Field root{*json, "", objection};
    const auto version = root.member("schema_version").count();
    if (!objection.text.empty())
        return refuse(name, objection.text);
    if (version != static_cast<std::uint64_t>(schema_version))
        return refuse(name, fmt::format("version {} of the format, this program reads version {}", version,
                                        schema_version));
    const bool is_bench = !json->contains("kind") && json->contains("figures");
    auto document = is_bench ? read_bench(root) : Document{.name = {}, .run = read_run(root), .figures = {}};
    if (!objection.text.empty())
        return refuse(name, objection.text);
    document.name = std::move(name);
    return document;
}

Result<Document> read_document(const std::string& path) {
    return topology::read_text_file(path, most_bytes).and_then([&](const std::string& text) {
        return parse_document(text, path);
    });
}

std::optional<std::chrono::system_clock::time_point> parse_utc(std::string_view text) {
    constexpr std::string_view form = "dddd-dd-ddTdd:dd:dd.dddZ";
    if (text.size() != form.size())
        return std::nullopt;
    for (std::size_t i = 0; i < form.size(); ++i)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return std::nullopt;
    const auto digits = [&](std::size_t at, std::size_t count) {
        int value = 0;
        std::from_chars(text.data() + at, text.data() + at + count, value);
        return value;
    };
    const std::chrono::year_month_day date{std::chrono::year{digits(0, 4)},
                                           std::chrono::month{static_cast<unsigned>(digits(5, 2))},
                                           std::chrono::day{static_cast<unsigned>(digits(8, 2))}};
    if (!date.ok() || digits(11, 2) > 23 || digits(14, 2) > 59 || digits(17, 2) > 60)
        return std::nullopt;
    // Nanoseconds in 64 bits, as the clock counts them, end in 2262.
    if (digits(0, 4) < 1970 || digits(0, 4) > 2261)
        return std::nullopt;
    return std::chrono::sys_days{date} + std::chrono::hours{digits(11, 2)} +
           std::chrono::minutes{digits(14, 2)} + std::chrono::seconds{digits(17, 2)} +
           std::chrono::milliseconds{digits(20, 3)};
}

} // namespace nestbed::report
