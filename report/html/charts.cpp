#include "report/html/charts.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "report/html/heat_map.hpp"
#include "report/stats_json.hpp"
#include "report/usl.hpp"

namespace nestbed::report {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t most_charts = 60;
constexpr std::size_t most_series = 12; // in one chart; more lines are no picture
constexpr std::size_t most_histograms = 120;
constexpr std::size_t most_maps = 24;
constexpr std::size_t most_bars = 64;

// Throughputs of the repetitions that passed.
using Curve = std::map<std::uint32_t, std::vector<double>>;

Json points_of(const Curve& curve) {
    auto json = Json::array();
    for (auto [vcpus, speeds] : curve) {
        std::sort(speeds.begin(), speeds.end());
        json.push_back({vcpus, *percentile(speeds, 50), speeds.front(), speeds.back()});
    }
    return json;
}

Json fitted_curve(const UslFit& fit, double first, double last) {
    auto json = Json::array();
    if (!fit.why_not.empty() || !(fit.lambda.value > 0) || !(last > first))
        return json;
    constexpr int steps = 80;
    for (int step = 0; step <= steps; ++step) {
        const double vcpus = first * std::pow(last / first, static_cast<double>(step) / steps);
        json.push_back(
            {vcpus, number(usl_throughput(fit.lambda.value, fit.sigma.value, fit.kappa.value, vcpus))});
    }
    return json;
}

Json series_of(const Configuration& configuration, const Curve& curve, const UslFit* fit) {
    Json series{{"name", label_of(configuration)}, {"points", points_of(curve)}};
    series["curve"] =
        fit == nullptr ? Json::array() : fitted_curve(*fit, curve.begin()->first, curve.rbegin()->first);
    if (fit != nullptr && fit->knee)
        series["knee"] = {number(fit->knee->value), number(fit->knee->ci95.low),
                          number(fit->knee->ci95.high)};
    return series;
}

using Key = std::pair<std::string, Configuration>;

// The points of each driver and configuration that have the most vCPUs.
std::map<Key, std::vector<const SweepPoint*>> largest_points(const Sweep& sweep) {
    std::map<Key, std::vector<const SweepPoint*>> largest;
    for (const auto& point : sweep.points) {
        if (point.verdict != Verdict::pass)
            continue;
        auto& points = largest[{point.driver, point.configuration}];
        if (!points.empty() && points.front()->vcpus > point.vcpus)
            continue;
        if (!points.empty() && points.front()->vcpus < point.vcpus)
            points.clear();
        points.push_back(&point);
    }
    return largest;
}

std::string title_of(const SweepPoint& point, const std::string& name) {
    return fmt::format("{}: {}, {} vCPUs, {}", point.driver, name, point.vcpus,
                       label_of(point.configuration));
}

// Neighbouring buckets put together until there are few enough to be seen.
void coarsen(Histogram& histogram) {
    while (histogram.counts.size() > most_bars) {
        Histogram half;
        half.bounds.push_back(histogram.bounds.front());
        for (std::size_t i = 0; i < histogram.counts.size(); i += 2) {
            const auto last = std::min(i + 1, histogram.counts.size() - 1);
            half.counts.push_back(histogram.counts[i] + (last > i ? histogram.counts[last] : 0));
            half.bounds.push_back(histogram.bounds[last + 1]);
        }
        histogram = std::move(half);
    }
}

// Buckets of drivers are of one grid, but each histogram has those alone that its samples fell into. The
// upper bound tells which one it is: the lowest bucket may reach down to what was least.
void merge(Histogram& into, const Histogram& from) {
    struct Bucket {
        double low = 0;
        std::uint64_t count = 0;
    };
    std::map<double, Bucket> buckets; // by upper bound
    for (const Histogram* const each : {static_cast<const Histogram*>(&into), &from})
        for (std::size_t i = 0; i < each->counts.size(); ++i) {
            auto& bucket =
                buckets.try_emplace(each->bounds[i + 1], Bucket{.low = each->bounds[i]}).first->second;
            bucket.low = std::min(bucket.low, each->bounds[i]);
            bucket.count += each->counts[i];
        }
    Histogram merged;
    for (const auto& [high, bucket] : buckets) {
        if (merged.bounds.empty())
            merged.bounds.push_back(bucket.low);
        if (bucket.low > merged.bounds.back()) { // nothing fell in between
            merged.bounds.push_back(bucket.low);
            merged.counts.push_back(0);
        }
        merged.bounds.push_back(high);
        merged.counts.push_back(bucket.count);
    }
    into = std::move(merged);
}

Json to_json(const Histogram& histogram) {
    return {{"bounds", histogram.bounds}, {"counts", histogram.counts}};
}

} // namespace

std::string label_of(const Configuration& configuration) {
    std::string label;
    for (const auto* word :
         {&configuration.policy, &configuration.page_size, &configuration.nested, &configuration.topology})
        if (!word->empty())
            label += (label.empty() ? "" : " ") + *word;
    return label;
}

Json scaling_charts(const Sweep& sweep) {
    std::map<std::string, std::map<Configuration, Curve>> drivers;
    std::map<std::string, std::string> units;
    for (const auto& point : sweep.points)
        if (const auto speed = throughput(point); speed && point.verdict == Verdict::pass) {
            drivers[point.driver][point.configuration][point.vcpus].push_back(*speed);
            units.emplace(point.driver, point.unit);
        }
    auto charts = Json::array();
    for (const auto& [driver, curves] : drivers) {
        if (charts.size() == most_charts)
            break;
        auto series = Json::array();
        for (const auto& [configuration, curve] : curves) {
            if (series.size() == most_series)
                break;
            const auto fit = std::find_if(sweep.fits.begin(), sweep.fits.end(),
                                          [&, &its = configuration, &name = driver](const UslFit& each) {
                                              return each.driver == name && each.configuration == its;
                                          });
            series.push_back(series_of(configuration, curve, fit == sweep.fits.end() ? nullptr : &*fit));
        }
        charts.push_back({{"title", driver},
                          {"x", "vCPUs"},
                          {"y", units[driver] + "/s"},
                          {"left_out", curves.size() - series.size()},
                          {"series", std::move(series)}});
    }
    return charts;
}

Json histograms(const Sweep& sweep) {
    auto json = Json::array();
    for (const auto& [key, points] : largest_points(sweep)) {
        std::vector<std::string> names; // in the driver's order
        std::map<std::string, Histogram> merged;
        std::map<std::string, std::string> units;
        for (const auto* point : points)
            for (const auto& distribution : point->distributions) {
                const auto [at, is_new] = merged.emplace(distribution.name, distribution.histogram);
                if (is_new)
                    names.push_back(distribution.name);
                units.emplace(distribution.name, distribution.summary.unit);
                if (!is_new)
                    merge(at->second, distribution.histogram);
            }
        for (const auto& name : names) {
            auto& histogram = merged[name];
            if (json.size() == most_histograms || histogram.counts.empty())
                continue;
            coarsen(histogram);
            auto one = to_json(histogram);
            one["title"] = title_of(*points.front(), name);
            one["repetitions"] = points.size();
            one["unit"] = units[name];
            json.push_back(std::move(one));
        }
    }
    return json;
}

Json heat_maps(const Sweep& sweep, std::size_t most_levels) {
    std::vector<std::pair<std::string, const Matrix*>> matrices;
    for (const auto& [key, points] : largest_points(sweep)) {
        const auto with = std::find_if(points.begin(), points.end(),
                                       [](const SweepPoint* point) { return !point->matrices.empty(); });
        if (with == points.end())
            continue;
        for (const auto& matrix : (*with)->matrices)
            if (matrices.size() < most_maps)
                matrices.emplace_back(title_of(**with, matrix.name), &matrix);
    }
    auto json = Json::array();
    for (const auto& [title, matrix] : matrices) {
        auto one = to_json(heat_map(*matrix, most_levels / matrices.size()));
        one["vcpus"] = matrix->columns;
        one["title"] = title;
        one["unit"] = matrix->unit;
        json.push_back(std::move(one));
    }
    return json;
}

} // namespace nestbed::report
