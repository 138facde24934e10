#include "stress/bench/rounds.hpp"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::bench {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Answers 1, 2, 3, ... times `unit`, and fails from the answer `fails_at` on.
Sampler counting(double unit, unsigned fails_at, std::string& trace, char name) {
    return [=, &trace, calls = 0U]() mutable -> Result<double> {
        trace += name;
        if (++calls >= fails_at)
            return fail(ErrorKind::deadline, std::string{"run "} + name, "no end");
        return unit * calls;
    };
}

TEST(TakeInTurn, TakesOneOfEachARound) {
    std::string trace;
    std::vector<unsigned> announced;
    const std::vector<Sampler> samplers{counting(1, 99, trace, 'a'), counting(10, 99, trace, 'b')};
    const auto taken = take_in_turn(3, samplers, [&](unsigned round) { announced.push_back(round); });
    EXPECT_EQ(trace, "ababab");
    EXPECT_THAT(announced, ElementsAre(1, 2, 3));
    EXPECT_THAT(taken.samples, ElementsAre(ElementsAre(1, 2, 3), ElementsAre(10, 20, 30)));
    EXPECT_TRUE(taken.status());
}

TEST(TakeInTurn, KeepsWhatCameBeforeAnError) {
    std::string trace;
    const std::vector<Sampler> samplers{counting(1, 99, trace, 'a'), counting(10, 3, trace, 'b'),
                                        counting(100, 99, trace, 'c')};
    const auto taken = take_in_turn(5, samplers, [](unsigned) {});
    EXPECT_EQ(trace, "abcabcab") << "nothing runs after the error";
    EXPECT_THAT(taken.samples, ElementsAre(ElementsAre(1, 2, 3), ElementsAre(10, 20), ElementsAre(100, 200)));
    ASSERT_FALSE(taken.status());
    EXPECT_EQ(taken.status().error().asked, "run b");
    EXPECT_EQ(taken.status().error().kind, ErrorKind::deadline);
}

TEST(TakeInTurn, HasAListForEachSamplerHoweverEarlyItEnds) {
    std::string trace;
    const std::vector<Sampler> samplers{counting(1, 1, trace, 'a'), counting(1, 1, trace, 'b')};
    EXPECT_THAT(take_in_turn(2, samplers, [](unsigned) {}).samples, ElementsAre(IsEmpty(), IsEmpty()));
    EXPECT_THAT(take_in_turn(0, samplers, [](unsigned) {}).samples, ElementsAre(IsEmpty(), IsEmpty()));
}

TEST(PairwiseRatios, AreOfThePairsThereAre) {
    const std::vector<double> a{6, 8, 10};
    const std::vector<double> b{2, 4};
    EXPECT_THAT(pairwise_ratios(a, b), ElementsAre(3, 2));
    EXPECT_THAT(pairwise_ratios(b, a), ElementsAre(2.0 / 6, 4.0 / 8));
    EXPECT_THAT(pairwise_ratios(a, {}), IsEmpty());
}

} // namespace
} // namespace nestbed::bench
