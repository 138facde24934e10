#include "report/comparison.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "report/rank_test.hpp"

namespace nestbed::report {

namespace {

// ------ figures

// `change` of a figure whose ratio is known.
Change judge(const ComparedFigure& figure, double threshold_percent) {
    if (!figure.ratio_ci95)
        return Change::unknown;
    const auto [low, high] = *figure.ratio_ci95;
    if (low <= 1 && high >= 1)
        return Change::noise;
    const bool is_large = std::abs(figure.ratio - 1) * 100 > threshold_percent;
    if (!is_large || figure.better == Better::neither || figure.is_within_runs)
        return Change::difference;
    return (figure.ratio > 1) == (figure.better == Better::more) ? Change::improvement : Change::regression;
}

// Between the middle two where there are two.
double median_of(std::vector<double> values) {
    if (values.empty())
        return Summary::nothing;
    std::sort(values.begin(), values.end());
    const auto middle = values.size() / 2;
    return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

bool is_positive(double value) {
    return std::isfinite(value) && value > 0;
}

// Repetitions on both sides.
std::optional<ComparedFigure> figure_of_samples(ComparedFigure figure, const std::vector<double>& a,
                                                const std::vector<double>& b) {
    const auto estimate = estimate_ratio(a, b);
    if (!estimate)
        return std::nullopt;
    figure.a = median_of(a);
    figure.b = median_of(b);
    figure.a_count = a.size();
    figure.b_count = b.size();
    figure.ratio = estimate->ratio;
    figure.ratio_ci95 = estimate->ci95;
    return figure;
}

// One interval on each side.
std::optional<ComparedFigure> figure_of_intervals(ComparedFigure figure, const std::optional<Interval>& a,
                                                  const std::optional<Interval>& b) {
    if (!is_positive(figure.a) || !is_positive(figure.b))
        return std::nullopt;
    figure.ratio = figure.b / figure.a;
    if (a && b && is_positive(a->low) && is_positive(b->low) && a->high >= a->low && b->high >= b->low)
        figure.ratio_ci95 = Interval{.low = b->low / a->high, .high = b->high / a->low};
    return figure;
}

std::vector<double> samples_of(const Measurement& measurement) {
    const auto kept =
        without_warmup(measurement.samples, static_cast<std::size_t>(measurement.summary.warmup));
    return {kept.begin(), kept.end()};
}

std::optional<ComparedFigure> compare_measurements(const std::string& subject, const Measurement& a,
                                                   const Measurement& b) {
    ComparedFigure figure;
    figure.subject = subject;
    figure.name = a.name;
    figure.unit = a.summary.unit;
    figure.better = better_of(figure.unit);
    figure.is_within_runs = true;
    const auto a_samples = samples_of(a), b_samples = samples_of(b);
    if (!a_samples.empty() && !b_samples.empty())
        return figure_of_samples(figure, a_samples, b_samples);
    figure.a = a.summary.median;
    figure.b = b.summary.median;
    figure.a_count = a.summary.count;
    figure.b_count = b.summary.count;
    return figure_of_intervals(figure, a.summary.median_ci95, b.summary.median_ci95);
}

// ------ verdicts

// 0: as it should be.
int badness(Verdict verdict) {
    switch (verdict) {
    case Verdict::pass:
        return 0;
    case Verdict::not_applicable:
    case Verdict::skipped:
        return 1;
    case Verdict::not_run:
        return 2;
    case Verdict::fail:
        return 3;
    case Verdict::hang:
        return 4;
    case Verdict::crash:
        return 5;
    }
    return 5;
}

struct Judged {
    Verdict verdict = Verdict::not_run;
    bool is_known = false; // expected, and counts as held
    std::string summary;
    std::string repeat;
    std::uint64_t points = 1, bad = 0; // repetitions, and how many of them did not hold
};

bool is_as_often_bad(const Judged& a, const Judged& b) {
    return a.bad * b.points == b.bad * a.points;
}

Change judge(const Judged& a, const Judged& b) {
    const auto is_held = [](const Judged& each) { return each.is_known || !is_bad(each.verdict); };
    if (!is_held(b) && (is_held(a) || badness(b.verdict) > badness(a.verdict)))
        return Change::regression;
    if (!is_held(a) && (is_held(b) || badness(b.verdict) < badness(a.verdict)))
        return Change::improvement;
    return Change::difference;
}

// ------ what a document has, by what it is called

struct Repetitions {
    std::string unit;
    std::vector<double> values;
};

struct Contents {
    std::map<std::string, Judged> verdicts;
    std::map<std::pair<std::string, std::string>, Repetitions> repetitions; // by subject and name
    std::map<std::pair<std::string, std::string>, const Measurement*> measurements;
    std::map<std::string, const BenchFigure*> figures;
};

// The vCPUs with leading blanks, so that they sort as numbers.
std::string subject_of(const SweepPoint& point) {
    const auto& configuration = point.configuration;
    std::string words;
    for (const auto* word :
         {&configuration.policy, &configuration.page_size, &configuration.nested, &configuration.topology})
        if (!word->empty())
            words += (words.empty() ? ", " : " ") + *word;
    return fmt::format("{}{}, {:>4} vCPUs", point.driver, words, point.vcpus);
}

// `was_ended`: by a person, so that what was not run says nothing.
void add_sweep(Contents& contents, const Sweep& sweep, bool was_ended) {
    for (const auto& point : sweep.points) {
        if (was_ended && point.verdict == Verdict::not_run)
            continue;
        const auto subject = subject_of(point);
        const Judged judged{.verdict = point.verdict,
                            .is_known = false,
                            .summary = point.reason.empty() ? point.summary : point.reason,
                            .repeat = point.repeat,
                            .points = 0,
                            .bad = 0};
        auto& worst = contents.verdicts.try_emplace(subject, judged).first->second;
        const auto points = worst.points + 1, bad = worst.bad + (is_bad(point.verdict) ? 1U : 0U);
        if (badness(judged.verdict) > badness(worst.verdict))
            worst = judged;
        worst.points = points;
        worst.bad = bad;
        if (point.verdict != Verdict::pass)
            continue;
        const auto add = [&](const std::string& name, const std::string& unit, double value) {
            auto& repetitions = contents.repetitions[{subject, name}];
            if (repetitions.values.empty())
                repetitions.unit = unit;
            if (repetitions.unit == unit && is_positive(value))
                repetitions.values.push_back(value);
        };
        if (const auto speed = throughput(point))
            add("throughput", point.unit + "/s", *speed);
        for (const auto& distribution : point.distributions)
            add(distribution.name + " (median)", distribution.summary.unit, distribution.summary.median);
    }
}

Contents contents_of(const Document& document) {
    Contents contents;
    const bool was_ended = document.run.outcome == Outcome::cancelled;
    for (const auto& check : document.run.checks) {
        if (was_ended && check.verdict == Verdict::not_run)
            continue;
        contents.verdicts.emplace(check.name,
                                  Judged{.verdict = check.verdict,
                                         .is_known = !check.known.empty(),
                                         .summary = check.reason.empty() ? check.summary : check.reason,
                                         .repeat = check.repeat,
                                         .points = 1,
                                         .bad = is_bad(check.verdict) ? 1U : 0U});
        if (check.verdict == Verdict::pass)
            for (const auto& measurement : check.measurements)
                contents.measurements.emplace(std::pair{check.name, measurement.name}, &measurement);
    }
    if (document.run.sweep)
        add_sweep(contents, *document.run.sweep, was_ended);
    for (const auto& figure : document.figures)
        contents.figures.emplace(figure.name, &figure);
    return contents;
}

// ------ the two side by side

class Pairing {
public:
    Pairing(const Contents& a, const Contents& b, double threshold_percent) : _a{a}, _b{b} {
        _comparison.threshold_percent = threshold_percent;
    }

    Comparison pair() && {
        pair_verdicts();
        for (const auto& [key, a] : _a.repetitions)
            if (const auto b = _b.repetitions.find(key);
                b != _b.repetitions.end() && b->second.unit == a.unit) {
                ComparedFigure figure;
                std::tie(figure.subject, figure.name) = key;
                figure.unit = a.unit;
                figure.better = better_of(a.unit);
                add(figure_of_samples(figure, a.values, b->second.values));
            }
        for (const auto& [key, a] : _a.measurements)
            if (const auto b = _b.measurements.find(key);
                b != _b.measurements.end() && b->second->summary.unit == a->summary.unit)
                add(compare_measurements(key.first, *a, *b->second));
        for (const auto& [name, a] : _a.figures)
            if (const auto b = _b.figures.find(name);
                b != _b.figures.end() && b->second->unit == a->unit && b->second->at_most == a->at_most)
                pair_figures(*a, *b->second);
        note_missing_figures(_a, _b, _comparison.only_in_a);
        note_missing_figures(_b, _a, _comparison.only_in_b);
        note_missing(_a.figures, _b.figures, _comparison.only_in_a);
        note_missing(_b.figures, _a.figures, _comparison.only_in_b);
        sort();
        return std::move(_comparison);
    }

private:
    template<typename Map>
    static void note_missing(const Map& here, const Map& there, std::vector<std::string>& names) {
        for (const auto& [name, value] : here)
            if (!there.contains(name))
                names.push_back(name);
    }

    // Of what held on both sides: else the verdicts, or that it was not run, say why.
    static void note_missing_figures(const Contents& here, const Contents& there,
                                     std::vector<std::string>& names) {
        const auto holds = [](const Contents& contents, const std::string& subject) {
            const auto found = contents.verdicts.find(subject);
            return found != contents.verdicts.end() && found->second.verdict == Verdict::pass;
        };
        const auto note = [&](const auto& of_here, const auto& of_there) {
            for (const auto& [key, value] : of_here)
                if (!of_there.contains(key) && holds(here, key.first) && holds(there, key.first))
                    names.push_back(key.first + ": " + key.second);
        };
        note(here.repetitions, there.repetitions);
        note(here.measurements, there.measurements);
    }

    void add(std::optional<ComparedFigure> figure) {
        if (!figure)
            return;
        figure->change = judge(*figure, _comparison.threshold_percent);
        _comparison.figures.push_back(*std::move(figure));
    }

    void pair_verdicts() {
        note_missing(_a.verdicts, _b.verdicts, _comparison.only_in_a);
        note_missing(_b.verdicts, _a.verdicts, _comparison.only_in_b);
        for (const auto& [subject, a] : _a.verdicts) {
            const auto found = _b.verdicts.find(subject);
            if (found == _b.verdicts.end())
                continue;
            const auto& b = found->second;
            if (a.verdict == b.verdict && a.is_known == b.is_known && is_as_often_bad(a, b))
                ++_comparison.same_verdicts;
            else
                _comparison.verdicts.push_back({.subject = subject,
                                                .a = a.verdict,
                                                .b = b.verdict,
                                                .summary = b.summary,
                                                .repeat = b.repeat,
                                                .a_points = a.points,
                                                .a_bad = a.bad,
                                                .b_points = b.points,
                                                .b_bad = b.bad,
                                                .change = judge(a, b)});
        }
    }

    void pair_figures(const BenchFigure& a, const BenchFigure& b) {
        const auto compare = [&](std::string name, std::string unit, Better better, const BenchSummary& x,
                                 const BenchSummary& y) {
            ComparedFigure figure;
            figure.subject = a.name;
            figure.name = std::move(name);
            figure.unit = std::move(unit);
            figure.better = better;
            figure.a = x.median;
            figure.b = y.median;
            figure.a_count = x.count;
            figure.b_count = y.count;
            // Two groups in any order are as unlikely to lie apart as Mann and Whitney's test can tell.
            const bool is_enough = x.count < 1000 && y.count < 1000 && trimmed_pairs(x.count, y.count);
            const auto range = [&](const BenchSummary& each) {
                return is_enough ? std::optional{Interval{.low = each.min, .high = each.max}} : std::nullopt;
            };
            add(figure_of_intervals(figure, range(x), range(y)));
        };
        // Of seconds, ticks and KiB, all of which are better where they are less.
        compare("ours", a.unit, Better::less, a.ours, b.ours);
        if (a.ratio && b.ratio)
            compare("ratio", "", a.at_most ? Better::less : Better::more, *a.ratio, *b.ratio);
    }

    void sort() {
        const auto by_change = [](const auto& x, const auto& y) { return x.change < y.change; };
        std::stable_sort(_comparison.verdicts.begin(), _comparison.verdicts.end(), by_change);
        std::stable_sort(_comparison.figures.begin(), _comparison.figures.end(),
                         [](const ComparedFigure& x, const ComparedFigure& y) {
                             return std::pair{x.change, -std::abs(std::log(x.ratio))} <
                                    std::pair{y.change, -std::abs(std::log(y.ratio))};
                         });
    }

    const Contents& _a;
    const Contents& _b;
    Comparison _comparison;
};

std::vector<std::string> caveats_of(const Document& a, const Document& b) {
    std::vector<std::string> caveats;
    const auto differ = [&](const char* what, const std::string& x, const std::string& y) {
        if (x != y)
            caveats.push_back(
                fmt::format("{}: {} and {}", what, x.empty() ? "not known" : x, y.empty() ? "not known" : y));
    };
    differ("nestbed", a.run.version, b.run.version);
    const HostFacts nothing;
    const auto& x = a.run.host ? *a.run.host : nothing;
    const auto& y = b.run.host ? *b.run.host : nothing;
    differ("kernel", x.kernel, y.kernel);
    differ("CPU", x.cpu_model, y.cpu_model);
    differ("microcode", x.microcode, y.microcode);
    differ("KVM module", x.kvm_module, y.kvm_module);
    for (const auto& [name, value] : x.module_parameters)
        if (const auto other = y.module_parameters.find(name);
            other != y.module_parameters.end() && other->second != value)
            differ(name.c_str(), value, other->second);
    if (x.topology && y.topology)
        differ("host", fmt::format("{} nodes, {} cores", x.topology->nodes.size(), x.topology->cores),
               fmt::format("{} nodes, {} cores", y.topology->nodes.size(), y.topology->cores));
    return caveats;
}

} // namespace

std::string_view to_string(Change change) {
    switch (change) {
    case Change::regression:
        return "regression";
    case Change::improvement:
        return "improvement";
    case Change::difference:
        return "difference";
    case Change::noise:
        return "noise";
    case Change::unknown:
        return "unknown";
    }
    return "unknown";
}

Better better_of(std::string_view unit) {
    if (unit.ends_with("/s"))
        return Better::more;
    constexpr std::array<std::string_view, 10> costs{"s",     "ms",    "us",  "ns",  "cycles",
                                                     "ticks", "bytes", "KiB", "MiB", "bytes/vCPU"};
    return std::find(costs.begin(), costs.end(), unit) != costs.end() ? Better::less : Better::neither;
}

Result<Comparison> compare(const Document& a, const Document& b, double threshold_percent) {
    const auto refuse = [&](std::string found, std::string remedy) {
        return fail(ErrorKind::bad_input,
                    fmt::format("compare {} with {}", printable(a.name), printable(b.name)), std::move(found),
                    std::move(remedy));
    };
    if (a.run.kind != b.run.kind)
        return refuse(fmt::format("one is of nestbed {}, the other of nestbed {}", printable(a.run.kind),
                                  printable(b.run.kind)),
                      "compare runs of the same command");
    const auto in_a = contents_of(a), in_b = contents_of(b);
    auto comparison = Pairing{in_a, in_b, threshold_percent}.pair();
    if (comparison.verdicts.empty() && comparison.same_verdicts == 0 && comparison.figures.empty())
        return refuse("no check, driver or figure is in both", "compare runs with the same options");
    comparison.a = a.name;
    comparison.b = b.name;
    comparison.caveats = caveats_of(a, b);
    return comparison;
}

bool has_regression(const Comparison& comparison) {
    const auto is_one = [](const auto& each) { return each.change == Change::regression; };
    return std::any_of(comparison.verdicts.begin(), comparison.verdicts.end(), is_one) ||
           std::any_of(comparison.figures.begin(), comparison.figures.end(), is_one);
}

} // namespace nestbed::report
