// Two documents of the same kind: what differs by more than noise, and in which direction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/document.hpp"
#include "report/stats.hpp"

namespace nestbed::report {

enum class Change {
    regression,  // worse by more than the noise and by more than the threshold; or a verdict that got worse
    improvement, // better, likewise
    difference,  // larger than the noise, but below the threshold, or with no better and worse
    noise,       // no larger than the noise
    unknown,     // too few samples to tell the noise
};

[[nodiscard]] std::string_view to_string(Change change); // "regression", ...

enum class Better { more, less, neither };

// Of figures of a unit: less of "us" and "bytes", more of "pages/s".
[[nodiscard]] Better better_of(std::string_view unit);

struct ComparedFigure {
    std::string subject; // "ipi.unicast, numa 2M, 64 vCPUs"
    std::string name;    // "throughput"
    std::string unit;
    Better better = Better::neither;
    double a = 0, b = 0; // medians
    std::uint64_t a_count = 0, b_count = 0;
    double ratio = 1; // of b to a
    std::optional<Interval> ratio_ci95;
    // Samples of one machine on each side: they tell the noise within a run, not that from run to run.
    bool is_within_runs = false;
    Change change = Change::unknown;
};

struct ComparedVerdict {
    std::string subject;
    Verdict a = Verdict::pass, b = Verdict::pass;
    std::string summary;                                            // of b
    std::string repeat;                                             // of b
    std::uint64_t a_points = 1, a_bad = 0, b_points = 1, b_bad = 0; // repetitions; those that did not hold
    Change change = Change::noise;
};

struct Comparison {
    std::string a, b; // the documents' names
    double threshold_percent = 0;
    std::vector<ComparedVerdict> verdicts; // those that are not the same, regressions first
    std::uint64_t same_verdicts = 0;
    std::vector<ComparedFigure> figures; // by change, and then the largest first
    std::vector<std::string> only_in_a, only_in_b;
    std::vector<std::string> caveats; // in what the two runs were not alike: "kernel: 6.1.0 and 6.8.0"
};

// Repetitions of a sweep are compared by Mann and Whitney's test (rank_test.hpp): throughputs, and the
// medians of each kind of latency. A check's measurement has one run on each side: by its samples where both
// kept them, else by the confidence intervals of the medians, which must not overlap; as runs differ by more
// than samples do, that is never a regression. Figures of `bench` have
// their extremes alone, which must not overlap, with rounds enough for that to be unlikely. Errors: bad_input
// for documents of different kinds and for those that have nothing in common.
[[nodiscard]] Result<Comparison> compare(const Document& a, const Document& b, double threshold_percent);

[[nodiscard]] bool has_regression(const Comparison& comparison);

// Figures whose noise is known on both sides: 1 in 20 of them differs by chance.
[[nodiscard]] std::uint64_t judged_figures(const Comparison& comparison);

// "4 of 4 did not hold, before 1 of 4"; empty where there was one repetition on both sides.
[[nodiscard]] std::string how_often_bad(const ComparedVerdict& verdict);

// For people: regressions first, what is within the noise as a number. No byte of the documents but printable
// ASCII.
[[nodiscard]] std::string format_comparison(const Comparison& comparison);

// Every figure; docs/result-format.md names the members.
[[nodiscard]] nlohmann::ordered_json to_json(const Comparison& comparison);

} // namespace nestbed::report
