// `nestbed report` and `nestbed compare` on documents of 1024 vCPUs, and the page in a browser.
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/json.hpp"
#include "report/json_file.hpp"
#include "report/normal_noise.hpp"
#include "report/usl.hpp"
#include "stress/bench/child_process.hpp"

namespace nestbed {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::uint32_t most_vcpus = 1024;

// A sweep up to 1024 vCPUs, with a matrix of all pairs and text that would be a script if it could.
report::RunResult sweep(double speed, std::uint64_t seed) {
    report::NormalNoise noise{seed};
    report::RunResult run;
    run.kind = "stress";
    run.outcome = report::Outcome::passed;
    run.command_line = {"nestbed", "stress", "run", "ipi"};
    run.sweep.emplace();
    for (std::uint32_t vcpus = 1; vcpus <= most_vcpus; vcpus *= 2) {
        for (std::uint32_t repetition = 0; repetition < 4; ++repetition) {
            report::SweepPoint point;
            point.driver = "ipi.unicast";
            point.configuration.policy = "numa";
            point.vcpus = vcpus;
            point.repetition = repetition;
            point.verdict = report::Verdict::pass;
            point.summary = "</script><script>document.title='taken'</script>";
            point.unit = "interrupts";
            point.seconds = 1;
            point.operations =
                speed * report::usl_throughput(1000, 0.02, 1e-5, vcpus) * std::exp(0.02 * noise.next());
            point.per_vcpu.assign(vcpus, point.operations / vcpus);
            if (vcpus == most_vcpus && repetition == 0) {
                report::Matrix matrix{
                    .name = "latency", .unit = "us", .rows = vcpus, .columns = vcpus, .values = {}};
                for (std::uint32_t i = 0; i < vcpus * vcpus; ++i)
                    matrix.values.push_back(static_cast<float>(std::exp(noise.next())));
                point.matrices = {matrix};
            }
            run.sweep->points.push_back(point);
        }
    }
    run.sweep->fits = report::fit_sweep(run.sweep->points, {.seed = 1, .trials = 100});
    return run;
}

std::string chromium() {
    for (const auto* path : {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"})
        if (std::filesystem::exists(path))
            return path;
    return {};
}

std::string text_of(const std::string& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

class Report : public testing::Test {
protected:
    void SetUp() override {
        auto pattern = (std::filesystem::temp_directory_path() / "nestbed-report-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        _folder = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(_folder); }

    [[nodiscard]] std::string path(const std::string& name) const { return (_folder / name).string(); }
    std::string write(const std::string& name, const report::RunResult& run) {
        EXPECT_TRUE(report::write_json_file(path(name), report::to_json(run)));
        return path(name);
    }
    static int run(std::vector<std::string> arguments) {
        const auto child = bench::run_child(arguments, 100s);
        EXPECT_TRUE(child) << child.error().message();
        return child ? child->exit_code : -1;
    }

private:
    std::filesystem::path _folder;
};

TEST_F(Report, ComparesWithExitCodes) {
    const auto a = write("a.json", sweep(1, 1)), same = write("b.json", sweep(1, 2)),
               slow = write("c.json", sweep(0.7, 3));
    EXPECT_EQ(run({NESTBED_PROGRAM, "compare", a, a}), 0);
    EXPECT_EQ(run({NESTBED_PROGRAM, "compare", a, same, "--threshold", "20"}), 0);
    EXPECT_EQ(run({NESTBED_PROGRAM, "compare", a, slow}), 1);
    EXPECT_EQ(run({NESTBED_PROGRAM, "compare", slow, a}), 0); // faster
    EXPECT_EQ(run({NESTBED_PROGRAM, "compare", a, slow, "--threshold", "60"}), 0);
    EXPECT_EQ(run({NESTBED_PROGRAM, "compare", a, path("none.json")}), 2);
    auto other = sweep(1, 1);
    other.kind = "validate";
    EXPECT_EQ(run({NESTBED_PROGRAM, "compare", a, write("d.json", other)}), 2);
}

TEST_F(Report, IsSmallAndIsDrawnWithoutAskingForAnything) {
    const auto a = write("a.json", sweep(1, 1)), b = write("b.json", sweep(0.7, 2)),
               page = path("report.html");
    ASSERT_EQ(run({NESTBED_PROGRAM, "report", a, b, "-o", page}), 0);
    EXPECT_LT(std::filesystem::file_size(page), 5'000'000U);
    EXPECT_GT(std::filesystem::file_size(page), 2 * 4 * most_vcpus * most_vcpus / 3); // both matrices, whole

    const auto browser = chromium();
    if (browser.empty())
        GTEST_SKIP() << "the page was not looked at: chromium is not installed";
    const auto child = bench::run_child(
        {"/bin/sh", "-c",
         browser + " --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir=" +
             path("profile") + " --virtual-time-budget=20000 --dump-dom file://" + page + " >" +
             path("dom.html") + " 2>" + path("said")},
        300s);
    ASSERT_TRUE(child) << child.error().message();
    const auto dom = text_of(path("dom.html"));
    SCOPED_TRACE("the browser ended with " + std::to_string(child->exit_code) +
                 " and said: " + text_of(path("said")));
    EXPECT_THAT(dom, HasSubstr("data-drawn=\"yes\"")); // the script came to its end
    EXPECT_THAT(dom, HasSubstr("<canvas width=\"1024\" height=\"1024\""));
    EXPECT_THAT(dom, HasSubstr("ipi.unicast: throughput over vCPUs"));
    EXPECT_THAT(dom, testing::Not(HasSubstr("<title>taken")));
    // A figure to look up, no limit: it is the machine's as much as the page's. A browser that drew all
    // before its first frame has none.
    const std::string painted = "data-painted=\"";
    if (const auto at = dom.find(painted); at != std::string::npos)
        RecordProperty("first_paint_ms", dom.substr(at + painted.size(), dom.find('"', at + painted.size()) -
                                                                             at - painted.size()));
}

} // namespace
} // namespace nestbed
