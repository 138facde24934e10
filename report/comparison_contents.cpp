#include "report/comparison_contents.hpp"

#include <fmt/format.h>

#include "report/comparison_figures.hpp"
#include "report/sweep.hpp"

namespace nestbed::report {

namespace {

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

} // namespace

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

} // namespace nestbed::report
