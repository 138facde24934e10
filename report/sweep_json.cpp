#include "report/sweep_json.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "report/base64.hpp"
#include "report/stats_json.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::ordered_json;

// Far more than any sweep has; a document that says more is damaged or meant to do harm.
constexpr std::uint32_t most_vcpus = 65'536;
constexpr std::size_t most_points = 100'000;
constexpr std::size_t most_kinds = 4096; // of distributions, matrices, facts, lines
constexpr std::size_t most_buckets = 4096;
constexpr std::uint64_t most_pairs = 4096ULL * 4096;

template<typename Rows, typename Field>
Json column(const Rows& rows, Field field) {
    auto values = Json::array();
    for (const auto& row : rows)
        values.push_back(field(row));
    return values;
}

Json to_json(const Distribution& distribution) {
    Json json{{"name", distribution.name}};
    json["summary"] = to_json(distribution.summary);
    json["histogram"] = {{"bounds", column(distribution.histogram.bounds, number)},
                         {"counts", distribution.histogram.counts}};
    return json;
}

Json to_json(const Matrix& matrix) {
    return {{"name", matrix.name},
            {"unit", matrix.unit},
            {"rows", matrix.rows},
            {"columns", matrix.columns},
            {"values_f32", floats_to_base64(matrix.values)}};
}

Json to_json(const UslCoefficient& coefficient) {
    return {{"value", number(coefficient.value)}, {"ci95", to_json(coefficient.ci95)}};
}

// A member for each entry of a map, the names in their order.
template<typename Map, typename Value>
Json by_name(const Map& map, Value value) {
    auto json = Json::object();
    for (const auto& [name, each] : map)
        json[name] = value(each);
    return json;
}

Histogram read_histogram(const Field& field) {
    Histogram histogram;
    const auto bounds = field.member("bounds");
    histogram.bounds = bounds.numbers(most_buckets + 1);
    histogram.counts = field.member("counts").counts(most_buckets);
    const auto is_disorder = [](double a, double b) { return !(a < b); };
    if (std::adjacent_find(histogram.bounds.begin(), histogram.bounds.end(), is_disorder) !=
            histogram.bounds.end() ||
        !std::all_of(histogram.bounds.begin(), histogram.bounds.end(),
                     [](double bound) { return std::isfinite(bound); }))
        bounds.object("bounds that ascend");
    const bool is_empty = histogram.bounds.empty() && histogram.counts.empty();
    if (!is_empty && histogram.bounds.size() != histogram.counts.size() + 1)
        bounds.object(fmt::format("one more bound than the {} counts", histogram.counts.size()));
    return histogram;
}

Distribution read_distribution(const Field& field) {
    return {.name = field.member("name").text(),
            .summary = read_summary(field.member("summary")),
            .histogram = read_histogram(field.member("histogram"))};
}

Matrix read_matrix(const Field& field) {
    Matrix matrix{.name = field.member("name").text(),
                  .unit = field.member("unit").text(),
                  .rows = field.member("rows").small_count(most_vcpus),
                  .columns = field.member("columns").small_count(most_vcpus),
                  .values = {}};
    const auto pairs = std::uint64_t{matrix.rows} * matrix.columns;
    if (pairs > most_pairs) {
        field.object(fmt::format("at most {} pairs of vCPUs", most_pairs),
                     fmt::format("{} by {}", matrix.rows, matrix.columns));
        return matrix;
    }
    const auto values = field.member("values_f32");
    if (auto decoded = floats_from_base64(values.text()); decoded && decoded->size() == pairs)
        matrix.values = *std::move(decoded);
    else
        values.object(fmt::format("base64 of {} numbers of 4 bytes", pairs));
    return matrix;
}

StuckVcpu read_stuck(const Field& field) {
    return {.vcpu = field.member("vcpu").small_count(most_vcpus),
            .lines = field.member("lines").texts(most_kinds)};
}

Verdict read_verdict(const Field& field) {
    if (const auto verdict = parse_verdict(field.text()))
        return *verdict;
    field.object("a verdict");
    return Verdict::not_run;
}

template<typename Value>
auto read_all(const Field& field, std::size_t most, Value value) {
    std::vector<decltype(value(field))> values;
    for (const auto& element : field.elements(most))
        values.push_back(value(element));
    return values;
}

SweepPoint read_point(const Field& field) {
    SweepPoint point;
    point.driver = field.member("driver").text();
    point.configuration = read_configuration(field.member("configuration"));
    const auto vcpus = field.member("vcpus");
    point.vcpus = vcpus.small_count(most_vcpus);
    if (point.vcpus == 0)
        vcpus.object("at least one vCPU", "0");
    point.repetition = field.member("repetition").small_count();
    point.seed = field.member("seed").count();
    point.verdict = read_verdict(field.member("verdict"));
    point.summary = field.member("summary").text();
    if (const auto reason = field.find("reason"))
        point.reason = reason->text();
    point.details = field.member("details").texts(most_kinds);
    point.unit = field.member("unit").text();
    point.operations = field.member("operations").amount();
    point.seconds = field.member("seconds").amount();
    point.per_vcpu = field.member("per_vcpu").numbers(most_vcpus);
    point.distributions = read_all(field.member("distributions"), most_kinds, read_distribution);
    point.matrices = read_all(field.member("matrices"), most_kinds, read_matrix);
    for (const auto& [name, value] : field.member("facts").members(most_kinds))
        point.facts[name] = value.number();
    for (const auto& [name, value] : field.member("kvm_stats").members(most_kinds))
        point.kvm_stats[name] = value.count();
    point.stuck = read_all(field.member("stuck"), most_vcpus, read_stuck);
    point.repeat = field.member("repeat").text();
    return point;
}

UslCoefficient read_coefficient(const Field& field) {
    return {.value = field.member("value").number(), .ci95 = field.member("ci95").interval()};
}

UslFit read_fit(const Field& field) {
    UslFit fit;
    fit.driver = field.member("driver").text();
    fit.configuration = read_configuration(field.member("configuration"));
    fit.points = field.member("points").count();
    if (const auto why_not = field.find("why_not")) {
        fit.why_not = why_not->text();
        return fit;
    }
    fit.lambda = read_coefficient(field.member("lambda"));
    fit.sigma = read_coefficient(field.member("sigma"));
    fit.kappa = read_coefficient(field.member("kappa"));
    if (const auto knee = field.member("knee"); !knee.is_null())
        fit.knee = read_coefficient(knee);
    fit.r_squared = field.member("r_squared").number();
    return fit;
}

} // namespace

Json to_json(const Configuration& configuration) {
    return {{"policy", configuration.policy},
            {"page_size", configuration.page_size},
            {"nested", configuration.nested},
            {"topology", configuration.topology}};
}

Configuration read_configuration(const Field& field) {
    return {.policy = field.member("policy").text(),
            .page_size = field.member("page_size").text(),
            .nested = field.member("nested").text(),
            .topology = field.member("topology").text()};
}

Json to_json(const SweepPoint& point) {
    Json json{{"driver", point.driver},  {"configuration", to_json(point.configuration)},
              {"vcpus", point.vcpus},    {"repetition", point.repetition},
              {"seed", point.seed},      {"verdict", to_string(point.verdict)},
              {"summary", point.summary}};
    if (!point.reason.empty())
        json["reason"] = point.reason;
    json["details"] = point.details;
    json["unit"] = point.unit;
    json["operations"] = number(point.operations);
    json["seconds"] = number(point.seconds);
    json["per_vcpu"] = column(point.per_vcpu, number);
    json["distributions"] = column(point.distributions, [](const Distribution& d) { return to_json(d); });
    json["matrices"] = column(point.matrices, [](const Matrix& m) { return to_json(m); });
    json["facts"] = by_name(point.facts, number);
    json["kvm_stats"] = by_name(point.kvm_stats, [](std::uint64_t value) { return value; });
    json["stuck"] = column(point.stuck, [](const StuckVcpu& stuck) {
        return Json{{"vcpu", stuck.vcpu}, {"lines", stuck.lines}};
    });
    json["repeat"] = point.repeat;
    return json;
}

Json to_json(const UslFit& fit) {
    Json json{{"driver", fit.driver}, {"configuration", to_json(fit.configuration)}, {"points", fit.points}};
    if (!fit.why_not.empty()) {
        json["why_not"] = fit.why_not;
        return json;
    }
    json["lambda"] = to_json(fit.lambda);
    json["sigma"] = to_json(fit.sigma);
    json["kappa"] = to_json(fit.kappa);
    json["knee"] = fit.knee ? to_json(*fit.knee) : Json(nullptr);
    json["r_squared"] = number(fit.r_squared);
    return json;
}

Json to_json(const Sweep& sweep) {
    return {{"points", column(sweep.points, [](const SweepPoint& point) { return to_json(point); })},
            {"fits", column(sweep.fits, [](const UslFit& fit) { return to_json(fit); })}};
}

Summary read_summary(const Field& field) {
    Summary summary;
    summary.unit = field.member("unit").text();
    summary.warmup = field.member("warmup").count();
    summary.count = field.member("count").count();
    summary.min = field.member("min").number();
    summary.median = field.member("median").number();
    summary.p90 = field.member("p90").number();
    summary.p99 = field.member("p99").number();
    summary.max = field.member("max").number();
    summary.mean = field.member("mean").number();
    if (const auto interval = field.member("median_ci95"); !interval.is_null())
        summary.median_ci95 = interval.interval();
    return summary;
}

Sweep read_sweep(const Field& field) {
    return {.points = read_all(field.member("points"), most_points, read_point),
            .fits = read_all(field.member("fits"), most_points, read_fit)};
}

} // namespace nestbed::report
