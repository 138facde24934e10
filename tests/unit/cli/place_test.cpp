#include <cerrno>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/place_compare.hpp"
#include "cli/place_watch.hpp"

namespace nestbed::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(PlaceOptions, AreEveryPolicyWithEveryTopology) {
    PlaceCompareOptions options;
    options.policies = "compact,numa";
    options.topologies = "matching,flat,lying,2x2";
    options.repeat = 7;
    options.seed = 5;
    const auto request = read_place_options(options);
    ASSERT_TRUE(request) << request.error().message();
    const auto& all = request->sweep.configurations;
    ASSERT_EQ(all.size(), 8U);
    EXPECT_EQ(all[0].asked, (report::Configuration{"compact", "4K", "auto", "matching"}));
    EXPECT_FALSE(all[0].machine.lying_shape || all[0].machine.flat_shape);
    EXPECT_TRUE(all[1].machine.flat_shape);
    EXPECT_TRUE(all[6].machine.lying_shape);
    EXPECT_EQ(all[7].asked, (report::Configuration{"numa", "4K", "auto", "2x2"}));
    EXPECT_TRUE(request->sweep.balanced);
    EXPECT_EQ(request->sweep.repeat, 7U);
    EXPECT_EQ(request->sweep.seed, 5U);
    EXPECT_FALSE(request->vcpus);
    std::vector<std::string_view> drivers;
    for (const auto* driver : request->sweep.drivers)
        drivers.push_back(driver->name);
    EXPECT_THAT(drivers, testing::UnorderedElementsAre("c2c", "ipi.pairs", "memory", "lock.ticket"));
}

TEST(PlaceOptions, SayNothingOfATopologyThatAllHave) {
    EXPECT_EQ(read_place_options({})->sweep.configurations.front().asked.topology, "");
}

TEST(PlaceOptions, AreRefusedWhereTheyMeanNothing) {
    const auto refused = [](auto change) {
        PlaceCompareOptions options;
        change(options);
        const auto request = read_place_options(options);
        return request ? std::string{"taken"} : request.error().message();
    };
    EXPECT_EQ(refused([](auto&) {}), "taken");
    EXPECT_THAT(refused([](auto& o) { o.policies = "compact,compact"; }), HasSubstr("compact with itself"));
    EXPECT_THAT(refused([](auto& o) { o.policies = "fastest"; }), HasSubstr("fastest"));
    EXPECT_THAT(refused([](auto& o) { o.drivers = "none.such"; }), HasSubstr("none.such"));
    EXPECT_THAT(refused([](auto& o) { o.vcpus = "many"; }), HasSubstr("many"));
    EXPECT_THAT(refused([](auto& o) { o.traffic = "jam"; }), HasSubstr("jam"));
    EXPECT_THAT(refused([](auto& o) { o.topologies = "round"; }), HasSubstr("round"));
}

TEST(PlaceVcpus, AreAsManyAsPus) {
    struct Case {
        std::string host;
        std::uint32_t most, vcpus;
    };
    for (const auto& [source, most, vcpus] : std::vector<Case>{{"core:1 pu:1", 1024, 2},
                                                               {"core:4 pu:2", 1024, 8},
                                                               {"pack:8 core:36 pu:1", 1024, 288},
                                                               {"pack:8 core:36 pu:1", 254, 254},
                                                               {"core:1 pu:1", 1, 1}}) {
        const auto host = topology::discover(source);
        ASSERT_TRUE(host);
        EXPECT_EQ(place_vcpus(*host, most), vcpus) << source;
    }
}

TEST(PlaceText, NamesTheWinnerOrWhyThereIsNone) {
    report::PlaceVerdict won{
        .driver = "c2c",
        .figure = "throughput",
        .unit = "passes/s",
        .predictor = "traffic all to all",
        .places = {{.configuration = {"numa", "4K", "auto", "lying"},
                    .predicted_cost = 12.5,
                    .rounds = 8,
                    .median = 2.5e6},
                   {.configuration = {"none", "4K", "auto", ""}, .predicted_cost = {}}},
        .lead = report::PairedRatio{.ratio = 1.25, .rounds = 8, .ci95 = report::Interval{1.2, 1.3}},
        .why_no_winner = "",
        .spearman = 0.5,
        .kendall = 0.25,
        .why_no_correlation = ""};
    auto open = won;
    open.why_no_winner = "the differences are within the noise";
    open.spearman.reset();
    open.why_no_correlation = "all scores are the same";
    const auto text = place_text({{won}});
    for (const auto* part : {"c2c: throughput, passes/s; predicted cost: traffic all to all", "numa lying",
                             "2.5 M", "  8 rounds  predicted 12.5",
                             "winner: numa lying; first to second 1.250 (1.200 to "
                             "1.300, 8 rounds)",
                             "Spearman 0.50, Kendall 0.25", "0 rounds  predicted -"})
        EXPECT_THAT(text, HasSubstr(part));
    EXPECT_THAT(place_text({{open}}), HasSubstr("no winner: the differences are within the noise; first"));
    EXPECT_THAT(place_text({{open}}), HasSubstr("prediction: not defined, all scores are the same"));
}

TEST(PlaceWatch, WatchesTheOnlyOne) {
    EXPECT_EQ(only_one(std::vector<pid_t>{42}), 42);
    EXPECT_THAT(only_one({}).error().message(), HasSubstr("none has a machine now"));
    EXPECT_THAT(only_one(std::vector<pid_t>{42, 4711}).error().message(), HasSubstr("there are 2: 42, 4711"));
}

topology::ThreadSample at(std::uint32_t pu, std::uint64_t run, std::uint64_t wait) {
    return {.processor = pu, .times = topology::SchedulerTimes{run, wait}, .migrations = {}, .affinity = {}};
}

// vCPU 1 is not on its PU, and 3 of 12 pages not on their node.
WatchedMachine example() {
    WatchedMachine machine;
    machine.record = {
        .threads = {{.tid = 10, .pus = {0}}, {.tid = 11, .pus = {1}}}, .host_nodes = {0}, .ranges = {}};
    machine.vcpus.resize(2);
    for (std::uint64_t i = 0; i < 4; ++i)
        for (std::size_t vcpu = 0; vcpu < 2; ++vcpu)
            machine.vcpus[vcpu] =
                topology::add_sample(machine.vcpus[vcpu], machine.record.threads[vcpu],
                                     at(vcpu == 1 && i == 3 ? 0 : static_cast<std::uint32_t>(vcpu),
                                        i * 500'000'000, i * 10'000'000));
    machine.memory = {{.virtual_node = 0, .pages = {{0, 9}, {1, 3}, {-ENOENT, 4}}, .pages_asked = 16}};
    machine.seconds = 2;
    return machine;
}

TEST(PlaceWatch, SaysInALineHowItIs) {
    EXPECT_EQ(watch_line(example()),
              "2 vCPUs on PUs 0-1, 1 migrations, run 1.50 PUs, steal 0.03; 9 of 12 pages on "
              "their nodes; 2 not as planned");
    auto good = example();
    good.vcpus.pop_back();
    good.record.threads.pop_back();
    good.memory.clear();
    EXPECT_THAT(watch_line(good), HasSubstr("no drift"));
    EXPECT_THAT(watch_line({}), HasSubstr("0 vCPUs on PUs none"));
}

TEST(PlaceWatch, HasWhoIsAstrayFirst) {
    const auto text = watch_table(example(), 1);
    EXPECT_THAT(text, testing::StartsWith(
                          "  vCPU 1     planned 1        run  75.0 %  steal   1.5 %     1 migrations  "
                          "on 0 (25 %), 1 (75 %)  NOT AS PLANNED\n  and 1 more\n"));
    EXPECT_THAT(text, HasSubstr("vCPU 1: where its thread ran: planned PU 1, found PU 0 in 1 of 4 samples"));
    EXPECT_THAT(watch_table(example(), 9), Not(HasSubstr("more")));
}

TEST(PlaceWatch, HasAllOfItAsJson) {
    const auto json = watch_json(example());
    EXPECT_EQ(json["vcpus"][1]["planned"], "1");
    EXPECT_EQ(json["vcpus"][1]["ran_on"].dump(), R"({"0":1,"1":3})");
    EXPECT_EQ(json["vcpus"][1]["migrations_from"], "samples");
    EXPECT_EQ(json["vcpus"][0]["run_ns"], 1'500'000'000);
    EXPECT_EQ(json["memory"][0]["pages"].dump(), R"({"0":9,"1":3})");
    EXPECT_EQ(json["memory"][0]["absent"], 4);
    EXPECT_EQ(json["drift"].size(), 2U);
}

} // namespace
} // namespace nestbed::cli
