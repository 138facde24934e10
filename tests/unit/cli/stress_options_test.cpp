#include "cli/stress_options.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SplitProfiles, KeepsHiddenFeaturesWithTheirProfile) {
    EXPECT_THAT(split_profiles("auto"), ElementsAre("auto"));
    EXPECT_THAT(split_profiles("auto,svm:-npt,-vgif,off"), ElementsAre("auto", "svm:-npt,-vgif", "off"));
    EXPECT_THAT(split_profiles("-npt"), ElementsAre("-npt"));
    EXPECT_THAT(split_profiles(""), ElementsAre(""));
}

TEST(SplitList, KeepsEmptyWordsToBeRefused) {
    EXPECT_THAT(split_list("a,,b"), ElementsAre("a", "", "b"));
}

StressOptions options_for(std::vector<std::string> drivers) {
    StressOptions options;
    options.drivers = std::move(drivers);
    return options;
}

TEST(ReadStressOptions, MakesEveryCombination) {
    auto options = options_for({"ipi.unicast", "lock.*"});
    options.policies = "compact,scatter";
    options.pages = "4K,thp";
    options.profiles = "auto,svm:-npt,-vgif";
    options.topologies = {"flat", "2x2"};
    const auto request = read_stress_options(options);
    ASSERT_TRUE(request) << request.error().message();
    EXPECT_EQ(request->drivers.size(), 3U);
    ASSERT_EQ(request->configurations.size(), 16U);
    EXPECT_EQ(request->configurations[0].asked, (report::Configuration{"compact", "4K", "auto", "flat"}));
    EXPECT_TRUE(request->configurations[0].machine.flat_shape);
    const auto& last = request->configurations[15];
    EXPECT_EQ(last.asked, (report::Configuration{"scatter", "thp", "svm:-npt,-vgif", "2x2"}));
    EXPECT_EQ(last.machine.policy.kind, topology::Policy::scatter);
    EXPECT_EQ(last.machine.page_size, topology::PageSize::thp);
    EXPECT_THAT(last.machine.nested.without, ElementsAre("npt", "vgif"));
    EXPECT_TRUE(last.machine.shape);
    EXPECT_FALSE(request->mix);
}

TEST(ReadStressOptions, MixesWhereAllIsAskedFor) {
    EXPECT_TRUE(read_stress_options(options_for({"all"}))->mix);
    EXPECT_FALSE(read_stress_options(options_for({"*"}))->mix);
}

TEST(ReadStressOptions, TakesTimes) {
    auto options = options_for({"exits"});
    options.duration_s = 0.25;
    options.timeout_s = 3;
    const auto request = read_stress_options(options);
    ASSERT_TRUE(request);
    EXPECT_EQ(request->duration, std::chrono::milliseconds{250});
    EXPECT_EQ(request->timeout, std::chrono::milliseconds{3000});
}

// Nobody is sampled for, and nothing recorded, where nobody looks.
TEST(ReadStressOptions, RecordsForThoseWhoWatch) {
    auto options = options_for({"exits"});
    options.sample_s = 0.25;
    const auto none = read_stress_options(options);
    ASSERT_TRUE(none);
    EXPECT_EQ(none->sample.count(), 0);
    EXPECT_FALSE(none->record_exits);
    EXPECT_FALSE(none->record_ipis);
    options.metrics = "0";
    const auto measured = read_stress_options(options);
    ASSERT_TRUE(measured);
    EXPECT_EQ(measured->sample.count(), 250);
    EXPECT_FALSE(measured->record_exits);
    EXPECT_FALSE(measured->record_ipis);
    options.metrics = "";
    options.trace = "trace.json";
    const auto traced = read_stress_options(options);
    ASSERT_TRUE(traced);
    EXPECT_EQ(traced->sample.count(), 250);
    EXPECT_TRUE(traced->record_exits);
    EXPECT_TRUE(traced->record_ipis);
}

TEST(ReadStressOptions, RefusesWhatMeansNothing) {
    const auto refused = [](auto change) {
        auto options = options_for({"exits"});
        change(options);
        const auto request = read_stress_options(options);
        return request ? std::string{} : request.error().message();
    };
    EXPECT_THAT(refused([](auto& o) { o.drivers = {"nosuch"}; }), HasSubstr("nosuch"));
    EXPECT_THAT(refused([](auto& o) { o.policies = "numa,"; }), HasSubstr("polic"));
    EXPECT_THAT(refused([](auto& o) { o.pages = "3K"; }), HasSubstr("3K"));
    EXPECT_THAT(refused([](auto& o) { o.profiles = "svn"; }), HasSubstr("svn"));
    EXPECT_THAT(refused([](auto& o) { o.topologies = {"2x"}; }), HasSubstr("2x"));
    EXPECT_THAT(refused([](auto& o) { o.memory = "much"; }), HasSubstr("much"));
    EXPECT_THAT(refused([](auto& o) { o.topologies = std::vector<std::string>(300, "flat"); }),
                HasSubstr("256"));
}

} // namespace
} // namespace nestbed::cli
