// Runs as one HTML file that needs nothing else: it opens without a network and asks for nothing.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "report/comparison.hpp"
#include "report/document.hpp"
#include "topology/host.hpp"

namespace nestbed::report {

struct ReportedRun {
    Document document;
    // With its PUs, for the picture of the plan; empty: no picture, and why.
    std::optional<topology::Host> host;
    std::string why_no_host;
};

// `nonce` is letters and digits that the documents' authors could not know: the page's policy
// (Content-Security-Policy, CSP level 3, section 2.3) lets scripts run that carry it and no others, so that
// nothing in a document can become one. All text is escaped as well.
[[nodiscard]] std::string page(std::span<const ReportedRun> runs, const std::optional<Comparison>& comparison,
                               std::string_view nonce);

// Whether the build had uPlot; without it curves are drawn plainly.
[[nodiscard]] bool has_uplot();

} // namespace nestbed::report
