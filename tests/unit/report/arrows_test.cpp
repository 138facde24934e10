#include "report/arrows.hpp"

#include <map>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::report {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// "0: 100+50 s 0": a slice of track 0 from 100 ns on for 50 ns, at the start of arrow 0.
std::vector<std::string> text_of(const std::vector<Arrow>& arrows) {
    std::vector<std::string> lines;
    for (const auto& slice : arrange(arrows))
        lines.push_back(fmt::format("{}: {}+{} {} {}", slice.track, slice.start_ns, slice.duration_ns,
                                    slice.is_start ? "s" : "f", fmt::join(slice.arrows, ",")));
    return lines;
}

TEST(Arrows, HaveASliceAtEachEnd) {
    EXPECT_THAT(text_of({{0, 1, 100, 5'000}}), ElementsAre("0: 100+4900 s 0", "1: 5000+1000 f 0"));
    EXPECT_THAT(text_of({{0, 1, 100, 100}}), ElementsAre("0: 100+0 s 0", "1: 100+1000 f 0"));
    EXPECT_THAT(text_of({}), IsEmpty());
}

TEST(Arrows, EndWhereThereIsRoom) {
    // Track 1 is under way from 1000 to 5300 and starts anew at 9400.
    EXPECT_THAT(text_of({{0, 1, 100, 5'000}, {1, 0, 1'000, 5'300}, {2, 1, 100, 9'000}, {1, 2, 9'400, 9'999}}),
                ElementsAre("0: 100+4900 s 0", "2: 100+8900 s 2", "1: 1000+4300 s 1", "1: 5000+300 f 0",
                            "0: 5300+1000 f 1", "1: 9000+400 f 2", "1: 9400+599 s 3", "2: 9999+1000 f 3"));
    EXPECT_THAT(text_of({{0, 2, 100, 5'000}, {1, 2, 100, 5'001}}),
                ElementsAre("0: 100+4900 s 0", "1: 100+4901 s 1", "2: 5000+1 f 0", "2: 5001+1000 f 1"));
}

TEST(Arrows, ThatStartTogetherShareASlice) {
    EXPECT_THAT(text_of({{0, 1, 100, 300}, {0, 2, 100, 700}, {0, 3, 100, 500}}),
                ElementsAre("0: 100+600 s 0,1,2", "1: 300+1000 f 0", "3: 500+1000 f 2", "2: 700+1000 f 1"));
}

TEST(Arrows, ThatCannotBeDrawnAreLeftOut) {
    EXPECT_THAT(text_of({{0, 1, 100, 99}}), IsEmpty()) << "ends before it starts";
    EXPECT_THAT(text_of({{0, 1, 100, 500}, {0, 2, 400, 900}}),
                ElementsAre("0: 100+400 s 0", "1: 500+1000 f 0"));
    EXPECT_THAT(text_of({{0, 2, 100, 500}, {1, 2, 100, 500}}),
                ElementsAre("0: 100+400 s 0", "2: 500+1000 f 0"));
    EXPECT_THAT(text_of({{0, 1, 100, 500}, {1, 2, 500, 600}}),
                ElementsAre("1: 500+100 s 1", "2: 600+1000 f 1"));
}

// Whatever a guest says, slices of a track lie within or beside one another, and each arrow has two ends.
TEST(Arrows, AlwaysNest) {
    std::mt19937 random{1};
    for (int round = 0; round < 300; ++round) {
        std::vector<Arrow> arrows;
        const auto span = 1 + random() % 20'000;
        for (unsigned i = 0; i < 60; ++i)
            arrows.push_back({static_cast<std::uint32_t>(random() % 4),
                              static_cast<std::uint32_t>(random() % 4), random() % span, random() % span});
        std::map<std::uint32_t, std::vector<ArrowSlice>> tracks;
        std::map<std::uint32_t, int> ends;
        for (const auto& slice : arrange(arrows)) {
            tracks[slice.track].push_back(slice);
            for (const auto arrow : slice.arrows)
                ends[arrow] += slice.is_start ? 1 : 100;
        }
        for (const auto& [arrow, count] : ends)
            EXPECT_EQ(count, 101) << arrow;
        for (const auto& [track, slices] : tracks)
            for (std::size_t i = 0; i < slices.size(); ++i)
                for (std::size_t j = i + 1; j < slices.size(); ++j) {
                    const auto end = slices[i].start_ns + slices[i].duration_ns;
                    ASSERT_LT(slices[i].start_ns, slices[j].start_ns);
                    ASSERT_TRUE(end <= slices[j].start_ns ||
                                slices[j].start_ns + slices[j].duration_ns <= end);
                }
    }
}

} // namespace
} // namespace nestbed::report
