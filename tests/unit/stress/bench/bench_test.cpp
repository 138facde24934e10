#include "stress/bench/bench.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::bench {
namespace {

using testing::HasSubstr;

TEST(ParseFigure, TakesANumberAndNothingElse) {
    EXPECT_DOUBLE_EQ(parse_figure("1234.5").value(), 1234.5);
    EXPECT_DOUBLE_EQ(parse_figure("-3").value(), -3);
    for (const auto* const line : {"", "answered", "12 KiB", " 12", "nan", "inf", "1e999", "\x1b[2J"}) {
        const auto figure = parse_figure(line);
        ASSERT_FALSE(figure) << line;
        EXPECT_EQ(figure.error().kind, ErrorKind::check_failed);
    }
    EXPECT_THAT(parse_figure("\x1b[2J").error().found, HasSubstr("\"?[2J\""));
}

TEST(ChosenBenches, AreAllButARaceOfNobody) {
    using testing::ElementsAre;
    BenchRequest request;
    EXPECT_THAT(chosen_benches(request), ElementsAre("bringup", "exit", "memory", "plan"));
    request.commands = {"a"};
    EXPECT_THAT(chosen_benches(request), ElementsAre("bringup", "exit", "memory", "plan", "race"));
    request.names = {"plan"};
    EXPECT_THAT(chosen_benches(request), ElementsAre("plan"));
}

TEST(RunBench, RefusesANameThatIsNoneBeforeAnythingRuns) {
    BenchRequest request;
    request.names = {"plan", "frobnicate"};
    std::size_t calls = 0;
    const auto ran = run_bench(
        request, [&](const std::string&, double) { ++calls; }, [&](const Figure&) { ++calls; });
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(ran.error().asked, HasSubstr("frobnicate"));
    EXPECT_THAT(ran.error().remedy, HasSubstr("bringup, exit, memory, plan, race"));
    EXPECT_EQ(calls, 0U);
}

TEST(RunBench, HasOneFigureForEachPolicy) {
    BenchRequest request;
    request.names = {"plan"};
    std::vector<std::string> names;
    const auto ran = run_bench(
        request, [](const std::string&, double) {},
        [&](const Figure& figure) { names.push_back(figure.name); });
    ASSERT_TRUE(ran) << ran.error().message();
    EXPECT_THAT(names, testing::ElementsAre("plan/none", "plan/compact", "plan/scatter", "plan/numa",
                                            "plan/llc", "plan/smt-avoid", "plan/smt-pair", "plan/interleave",
                                            "plan/random:1", "plan/traffic:ring"));
}

TEST(RunBench, SaysWhatAChildEndedWith) {
    BenchRequest request;
    request.names = {"exit"};
    request.program = "/bin/false"; // as good as a nestbed that fails
    std::size_t figures = 0;
    const auto ran = run_bench(
        request, [](const std::string&, double) {}, [&](const Figure&) { ++figures; });
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().kind, ErrorKind::check_failed);
    EXPECT_EQ(ran.error().asked, "run /bin/false bench-child exit 5000");
    EXPECT_THAT(ran.error().found, HasSubstr("exit code 1 after"));
    EXPECT_EQ(figures, 0U) << "without a pair there is no figure";
}

} // namespace
} // namespace nestbed::bench
