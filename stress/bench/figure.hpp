// One figure of a benchmark: samples, what they are compared with, and the target.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "report/run_result.hpp"
#include "report/stats.hpp"

namespace nestbed::bench {

struct Figure {
    std::string name;    // "bringup/floor"
    std::string unit;    // of both summaries
    std::string what;    // what is compared with what, in words
    double target = 0;   // of the ratio's median; without a ratio, of ours
    bool at_most = true; // is to be at most the target; else at least
    report::Summary ours = {};
    std::optional<report::Summary> other = {};
    std::optional<report::Summary> ratio =
        {}; // pair by pair: ours / other, or other / ours where not at_most

    [[nodiscard]] bool holds() const;
};

// `about` with the summary of the samples; empty where there is none.
[[nodiscard]] std::optional<Figure> figure_of(Figure about, std::span<const double> ours);

// `about` with the summaries of as many pairs as there are; empty where there is none.
[[nodiscard]] std::optional<Figure> figure_of_pairs(Figure about, std::span<const double> ours,
                                                    std::span<const double> other);

// Two lines for people.
[[nodiscard]] std::string to_text(const Figure& figure);

// The document that docs/bench.schema.json describes. `error` is what ended the benchmark early, a null
// pointer where nothing did.
[[nodiscard]] nlohmann::ordered_json to_json(std::span<const Figure> figures, const report::HostFacts& host,
                                             const Error* error);

} // namespace nestbed::bench
