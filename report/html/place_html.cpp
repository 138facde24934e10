#include <cmath>

#include <fmt/format.h>

#include "report/html/charts.hpp"
#include "report/html/escape.hpp"
#include "report/html/sections.hpp"

namespace nestbed::report {

namespace {

std::string conclusion(const PlaceVerdict& verdict) {
    std::string text = "<p>";
    if (!verdict.why_no_winner.empty())
        text += "No winner: " + html(verdict.why_no_winner);
    else if (!verdict.places.empty())
        text += "Best: " + html(label_of(verdict.places.front().configuration));
    if (const auto& lead = verdict.lead) {
        text += fmt::format("; the first has {:.4g} times the second's figure", lead->ratio);
        if (lead->ci95)
            text += fmt::format(" (95 % confidence: {:.4g} to {:.4g})", lead->ci95->low, lead->ci95->high);
        text += fmt::format(", in {} rounds", lead->rounds);
    }
    text += ".</p>\n<p>Foretold by the score (" + html(verdict.predictor) + "): ";
    if (verdict.spearman && verdict.kendall)
        return text +
               fmt::format("Spearman {:.2f}, Kendall {:.2f}.</p>\n", *verdict.spearman, *verdict.kendall);
    return text + "not defined, " + html(verdict.why_no_correlation) + ".</p>\n";
}

} // namespace

std::string place_html(const PlaceComparison& comparison) {
    std::string text = "<h3>Placements</h3>\n";
    for (const auto& verdict : comparison.drivers) {
        text += fmt::format("<h4>{}: {}, {}</h4>\n", html(verdict.driver), html(verdict.figure),
                            html(verdict.unit)) +
                conclusion(verdict) + "<table>" + head({"placement", "rounds", "median", "predicted cost"});
        for (const auto& place : verdict.places)
            text += "<tr>" + cell(label_of(place.configuration)) + cell(static_cast<double>(place.rounds)) +
                    cell(place.median) + cell(place.predicted_cost.value_or(std::nan(""))) + "</tr>\n";
        text += "</table>\n";
    }
    return text;
}

} // namespace nestbed::report
