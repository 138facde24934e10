#include "report/html/page.hpp"

#include <fmt/format.h>

#include "report/html/charts.hpp"
#include "report/html/escape.hpp"
#include "report/html/sections.hpp"

// report/web/report.js and report.css, and uPlot's own; the last two empty where the build could not have it.
// NOLINTBEGIN(*-avoid-c-arrays)
extern "C" const char report_script_text[];
extern "C" const char report_script_text_end[];
extern "C" const char report_style_text[];
extern "C" const char report_style_text_end[];
extern "C" const char uplot_script_text[];
extern "C" const char uplot_script_text_end[];
extern "C" const char uplot_style_text[];
extern "C" const char uplot_style_text_end[];
// NOLINTEND(*-avoid-c-arrays)

namespace nestbed::report {

namespace {

std::string_view between(const char* first, const char* last) {
    return {first, static_cast<std::size_t>(last - first)};
}

std::string_view uplot_script() {
    return between(&uplot_script_text[0], &uplot_script_text_end[0]);
}

// What the script draws, run by run.
nlohmann::ordered_json pictures(std::span<const ReportedRun> runs) {
    // A byte each, and a third more in base64: two runs with a matrix of 1024 by 1024 are shown as they are.
    constexpr std::size_t most_levels = 2'097'152;
    auto json = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < runs.size(); ++i)
        if (const auto& sweep = runs[i].document.run.sweep)
            json.push_back({{"prefix", fmt::format("run{}", i)},
                            {"curves", scaling_charts(*sweep)},
                            {"maps", heat_maps(*sweep, most_levels / runs.size())},
                            {"histograms", histograms(*sweep)}});
    return json;
}

} // namespace

bool has_uplot() {
    return !uplot_script().empty();
}

std::string page(std::span<const ReportedRun> runs, const std::optional<Comparison>& comparison,
                 std::string_view nonce) {
    std::string text = fmt::format(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'nonce-{0}'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n<title>nestbed: {1}</title>\n<style>\n",
        nonce, html(runs.empty() ? "no run" : runs.front().document.name));
    text += between(&uplot_style_text[0], &uplot_style_text_end[0]);
    text += between(&report_style_text[0], &report_style_text_end[0]);
    text +=
        "</style></head><body>\n<header><h1>nestbed report</h1></header><main>\n"
        "<noscript><p>Curves, histograms and heat maps need JavaScript; the tables do not.</p></noscript>\n";
    if (comparison)
        text += comparison_html(*comparison);
    for (std::size_t i = 0; i < runs.size(); ++i)
        text += run_html(runs[i], fmt::format("run{}", i));
    text += fmt::format("</main><footer>nestbed {}{}</footer>\n", html(program_version()),
                        has_uplot() ? "" : "; curves without uPlot, which the build could not fetch");
    text +=
        "<script type=\"application/json\" id=\"pictures\">" + script_json(pictures(runs)) + "</script>\n";
    for (const auto script : {uplot_script(), between(&report_script_text[0], &report_script_text_end[0])})
        if (!script.empty())
            text += fmt::format("<script nonce=\"{}\">\n{}\n</script>\n", nonce, script);
    return text + "</body></html>\n";
}

} // namespace nestbed::report
