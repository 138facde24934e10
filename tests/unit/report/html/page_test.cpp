#include "report/html/page.hpp"

#include <array>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/html/host_of_run.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

using testing::HasSubstr;
using testing::Not;

ReportedRun run_of(RunResult result, std::string name = "run.json") {
    ReportedRun run{.document = {.name = std::move(name), .run = std::move(result), .figures = {}},
                    .host = test::example_host(2, 4),
                    .why_no_host = ""};
    return run;
}

std::string page_of(RunResult result) {
    const std::array runs{run_of(std::move(result))};
    return page(runs, {}, "abc123");
}

std::size_t count(std::string_view text, std::string_view word) {
    std::size_t found = 0;
    for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1))
        ++found;
    return found;
}

TEST(Page, HasWhatTheRunHas) {
    const auto text = page_of(test::full_result());
    for (const auto* words : {"nestbed validate --vcpus 8", "6.1.0-18-amd64", "ipi.broadcast",
                              "vCPU 3 got none", "nestbed validate --only ipi.broadcast --seed 7",
                              "contention", "no fit: no point passed", "vCPU 3 was late", "rip=0x1000",
                              "data:image/svg+xml;base64,", "remote_tlb_flush", "kvm_amd.nested"})
        EXPECT_THAT(text, HasSubstr(words));
}

TEST(Page, HasFailuresFirst) {
    auto result = test::full_result();
    CheckResult good;
    good.name = "a.good.one";
    good.verdict = Verdict::pass;
    result.checks.insert(result.checks.begin(), good);
    const auto text = page_of(result);
    const auto failed = text.find("ipi.broadcast"), skipped = text.find("this KVM has no NMI"),
               passed = text.find("a.good.one");
    EXPECT_LT(failed, skipped);
    EXPECT_LT(skipped, passed);
    EXPECT_NE(passed, std::string::npos);
}

// Wherever a document can put text.
TEST(Page, TakesNoMarkupFromADocument) {
    const std::string evil =
        "\"'></script></pre></style><script>alert(1)</script><img src=x onerror=alert(1)>";
    auto result = test::full_result();
    result.kind = evil;
    result.version = evil;
    result.command_line = {evil};
    result.error = Error{.kind = ErrorKind::check_failed, .asked = evil, .found = evil, .remedy = evil};
    auto& host = *result.host;
    host.kernel = host.cpu_model = host.microcode = host.kvm_module = evil;
    host.module_parameters = {{evil, evil}};
    host.kvm_capabilities = {{evil, 1}};
    host.limits = {{evil, 1}};
    host.topology->source = evil;
    result.plan->notes = {evil};
    auto& check = result.checks[0];
    check.name = check.title = check.reference = check.summary = check.reason = check.known = check.repeat =
        evil;
    check.details = {evil};
    check.measurements[0].name = check.measurements[0].summary.unit = evil;
    auto& sweep = *result.sweep;
    for (auto& point : sweep.points) {
        point.driver = point.summary = point.reason = point.unit = point.repeat = evil;
        point.configuration = {.policy = evil, .page_size = evil, .nested = evil, .topology = evil};
        point.details = {evil};
        for (auto& stuck : point.stuck)
            stuck.lines = {evil};
        for (auto& distribution : point.distributions)
            distribution.name = distribution.summary.unit = evil;
        for (auto& matrix : point.matrices)
            matrix.name = matrix.unit = evil;
    }
    for (auto& fit : sweep.fits) {
        fit.driver = evil;
        fit.configuration = sweep.points[0].configuration;
    }
    sweep.fits[1].why_not = evil;
    result.kvm_stats->vcpu[evil] = {.unit = evil, .values = {1}};
    result.kvm_stats->vm[evil] = {.unit = evil, .value = 1};
    result.timings = {{.phase = evil, .seconds = 1}};

    auto one = run_of(result, evil);
    one.document.figures = {{.name = evil,
                             .what = evil,
                             .unit = evil,
                             .ours = {},
                             .other = {},
                             .ratio = {},
                             .at_most = true,
                             .target = 1,
                             .holds = true}};
    auto without_host = one;
    without_host.host.reset();
    without_host.why_no_host = evil;
    const std::array runs{one, without_host};
    const auto comparison = compare(one.document, without_host.document, 5);
    ASSERT_TRUE(comparison) << comparison.error().message();
    const auto text = page(runs, *comparison, "abc123");
    EXPECT_THAT(text, Not(HasSubstr("<script>alert")));
    EXPECT_THAT(text, Not(HasSubstr("<img src=x")));
    EXPECT_THAT(text, HasSubstr("&lt;script&gt;alert(1)"));
    // The pictures' data, uPlot and the page's own.
    const auto plain = page(std::array{run_of(test::full_result())}, {}, "abc123");
    EXPECT_EQ(count(text, "<script"), count(plain, "<script"));
    EXPECT_EQ(count(text, "</script"), count(plain, "</script"));
}

TEST(Page, AllowsNoRequestAndNoScriptButItsOwn) {
    const auto text = page_of(test::full_result());
    EXPECT_THAT(text, HasSubstr("content=\"default-src 'none'; script-src 'nonce-abc123'; style-src "
                                "'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\""));
    EXPECT_THAT(text, HasSubstr("<script nonce=\"abc123\">"));
    for (const auto* words : {"<link", " src=\"http", "@import", "url(", "fetch(", "XMLHttpRequest"})
        EXPECT_THAT(text, Not(HasSubstr(words))) << words;
}

TEST(Page, SaysWhyThereIsNoPicture) {
    auto run = run_of(test::full_result());
    run.host.reset();
    run.why_no_host = "damaged";
    const auto text = page(std::array{run}, {}, "a");
    EXPECT_THAT(text, HasSubstr("No picture: damaged."));
    EXPECT_THAT(text, Not(HasSubstr("svg+xml")));
}

TEST(Page, HasTheComparisonFirst) {
    auto worse = test::full_result();
    worse.checks[1].verdict = Verdict::crash;
    const std::array runs{run_of(test::full_result(), "a.json"), run_of(worse, "b.json")};
    const auto comparison = compare(runs[0].document, runs[1].document, 5);
    ASSERT_TRUE(comparison);
    const auto text = page(runs, *comparison, "a");
    EXPECT_LT(text.find("b.json compared with a.json"), text.find("id=\"run0\""));
    EXPECT_THAT(text, HasSubstr("1 worse, 0 better"));
    EXPECT_THAT(text, HasSubstr("id=\"run1\""));
}

TEST(Page, SaysWhenItLacksUplot) {
    EXPECT_EQ(page_of(test::full_result()).find("curves without uPlot") == std::string::npos, has_uplot());
}

TEST(HostOfRun, ComesFromTheDocumentAndFromNoFileOfTheReader) {
    HostFacts facts;
    EXPECT_FALSE(host_of(facts));
    facts.topology.emplace();
    facts.topology->source = "pack:2 [numa] core:2 pu:2";
    const auto synthetic = host_of(facts);
    ASSERT_TRUE(synthetic) << synthetic.error().message();
    EXPECT_EQ(synthetic->pus.size(), 8U);
    for (const auto* source : {"auto", "/etc/passwd", "x:.xml", "", "this host"}) {
        facts.topology->source = source;
        EXPECT_FALSE(host_of(facts)) << source;
    }
    facts.topology->xml = "<topology version=\"2.0\"/>";
    const auto damaged = host_of(facts);
    ASSERT_FALSE(damaged);
    EXPECT_EQ(damaged.error().kind, ErrorKind::bad_input);
}

} // namespace
} // namespace nestbed::report
