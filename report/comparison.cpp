#include "report/comparison.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/printable.hpp"
#include "report/comparison_contents.hpp"
#include "report/comparison_figures.hpp"
#include "report/rank_test.hpp"

namespace nestbed::report {

namespace {

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
                add(figure_of_measurements(key.first, *a, *b->second));
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
