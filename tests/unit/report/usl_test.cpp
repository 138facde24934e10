#include "report/usl.hpp"

#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/normal_noise.hpp"
#include "tests/unit/report/example.hpp"

namespace nestbed::report {
namespace {

struct Truth {
    const char* name;
    double lambda, sigma, kappa;
};

// Linear, contention alone, coherency alone, both, and one that is slower with 2 vCPUs than with 1.
const std::vector<Truth> truths{{"linear", 1e6, 0, 0},        {"contention", 2500, 0.05, 0},
                                {"coherency", 40, 0, 1e-4},   {"both", 1e9, 0.03, 2e-5},
                                {"early knee", 7, 0.1, 0.01}, {"retrograde", 1e5, 0.9, 0.05}};

const std::vector<double> counts{1, 2, 4, 8, 16, 32, 64, 128, 256, 288};

std::vector<UslSample> samples_of(const Truth& truth, double noise, std::uint64_t seed,
                                  unsigned repetitions = 5) {
    NormalNoise numbers{seed};
    std::vector<UslSample> samples;
    for (const double vcpus : counts)
        for (unsigned i = 0; i < repetitions; ++i)
            samples.push_back({.vcpus = vcpus,
                               .throughput = usl_throughput(truth.lambda, truth.sigma, truth.kappa, vcpus) *
                                             std::exp(noise * numbers.next())});
    return samples;
}

bool covers(const Interval& interval, double value) {
    return interval.low <= value && value <= interval.high;
}

TEST(Usl, IsFoundExactlyWithoutNoise) {
    for (const auto& truth : truths) {
        const auto fit = fit_usl(samples_of(truth, 0, 1, 1));
        ASSERT_EQ(fit.why_not, "") << truth.name;
        EXPECT_NEAR(fit.lambda.value, truth.lambda, 1e-6 * truth.lambda) << truth.name;
        EXPECT_NEAR(fit.sigma.value, truth.sigma, 1e-6) << truth.name;
        EXPECT_NEAR(fit.kappa.value, truth.kappa, 1e-8) << truth.name;
        EXPECT_NEAR(fit.r_squared, 1, 1e-9) << truth.name;
        EXPECT_EQ(fit.points, counts.size());
    }
}

// 5 % noise on each of 50 points. Up to 288 vCPUs tell little of a kappa far below 1 / 288^2.
TEST(Usl, IsRecoveredFromNoise) {
    for (const auto& truth : truths) {
        for (std::uint64_t seed = 1; seed <= 8; ++seed) {
            const auto fit = fit_usl(samples_of(truth, 0.05, seed), {.seed = seed, .trials = 200});
            ASSERT_EQ(fit.why_not, "") << truth.name;
            EXPECT_NEAR(fit.lambda.value / truth.lambda, 1, 0.12) << truth.name << ' ' << seed;
            EXPECT_NEAR(fit.sigma.value, truth.sigma, 0.004 + 0.2 * truth.sigma) << truth.name << ' ' << seed;
            EXPECT_NEAR(fit.kappa.value, truth.kappa, 1.5e-5 + 0.2 * truth.kappa)
                << truth.name << ' ' << seed;
            EXPECT_GE(fit.sigma.value, 0);
            EXPECT_GE(fit.kappa.value, 0);
            if (truth.kappa > 5e-5 && truth.sigma < 0.5) {
                ASSERT_TRUE(fit.knee) << truth.name;
                const double knee = std::sqrt((1 - truth.sigma) / truth.kappa);
                EXPECT_NEAR(fit.knee->value / knee, 1, 0.2) << truth.name << ' ' << seed;
            }
        }
    }
}

// 95 % of 100, with four standard deviations of a count to spare; at a bound of 0 one side of the interval
// cannot miss, so more are right there.
TEST(Usl, HasIntervalsThatCoverTheTruthAsOftenAsTheySay) {
    for (const auto& truth : truths) {
        constexpr int rounds = 100;
        int lambda = 0, sigma = 0, kappa = 0, knee = 0, knees = 0;
        for (std::uint64_t seed = 1; seed <= rounds; ++seed) {
            const auto fit = fit_usl(samples_of(truth, 0.05, seed * 977, 2), {.seed = seed, .trials = 100});
            ASSERT_EQ(fit.why_not, "") << truth.name;
            lambda += covers(fit.lambda.ci95, truth.lambda);
            sigma += covers(fit.sigma.ci95, truth.sigma);
            kappa += covers(fit.kappa.ci95, truth.kappa);
            if (fit.knee && truth.kappa > 0) {
                ++knees;
                knee += covers(fit.knee->ci95, *usl_knee(truth.sigma, truth.kappa));
            }
        }
        constexpr int fewest = 86;
        EXPECT_GE(lambda, fewest) << truth.name;
        EXPECT_GE(sigma, fewest) << truth.name;
        EXPECT_GE(kappa, fewest) << truth.name;
        EXPECT_GE(knee, knees * fewest / rounds) << truth.name;
        // Not by being endless: inside of the bounds they miss now and then.
        if (truth.sigma > 0.02 && truth.kappa > 0) {
            EXPECT_LT(lambda + sigma + kappa, 3 * rounds) << truth.name;
        }
    }
}

// Where four points are hardly more than unknowns, Student's allowance is what makes the interval honest.
TEST(Usl, HasHonestIntervalsOfFewPoints) {
    int covered = 0;
    constexpr int rounds = 150;
    for (std::uint64_t seed = 1; seed <= rounds; ++seed) {
        std::vector<UslSample> samples;
        NormalNoise noise{seed * 31};
        for (const double vcpus : {1.0, 4.0, 16.0, 64.0, 256.0})
            samples.push_back(
                {.vcpus = vcpus,
                 .throughput = usl_throughput(1000, 0.2, 0.001, vcpus) * std::exp(0.05 * noise.next())});
        const auto fit = fit_usl(samples, {.seed = seed, .trials = 100});
        covered += fit.why_not.empty() && covers(fit.lambda.ci95, 1000);
    }
    EXPECT_GE(covered, 131);
}

TEST(Usl, HasNoKneeWhereThroughputGrowsWithoutEnd) {
    EXPECT_FALSE(fit_usl(samples_of(truths[0], 0, 1)).knee);
    EXPECT_FALSE(usl_knee(0.5, 0));
    EXPECT_DOUBLE_EQ(*usl_knee(0.19, 0.0001), 90);
    EXPECT_DOUBLE_EQ(*usl_knee(2, 0.0001), 1); // nobody has less than one vCPU
    EXPECT_DOUBLE_EQ(*usl_knee(0, 10), 1);
}

TEST(Usl, SaysFromWhereOnAKneeIsNotExcluded) {
    UslFit fit;
    fit.sigma.value = 0.19;
    fit.kappa = {.value = 0, .ci95 = {.low = 0, .high = 0.0001}};
    EXPECT_DOUBLE_EQ(*knee_not_excluded(fit), 90);
    fit.kappa.ci95.high = 0;
    EXPECT_FALSE(knee_not_excluded(fit));
}

TEST(Usl, GivesAKneeThatMayBeAnywhereAnEndlessInterval) {
    // Coherency that is there, but may as well not be.
    bool was_seen = false;
    for (std::uint64_t seed = 1; seed <= 20 && !was_seen; ++seed) {
        const auto fit = fit_usl(samples_of({"", 100, 0.01, 1e-7}, 0.1, seed, 2));
        was_seen = fit.knee && std::isinf(fit.knee->ci95.high) && std::isfinite(fit.knee->ci95.low);
    }
    EXPECT_TRUE(was_seen);
}

TEST(Usl, IsTheSameForTheSameSeed) {
    const auto samples = samples_of(truths[3], 0.05, 3);
    const auto once = fit_usl(samples), again = fit_usl(samples), other = fit_usl(samples, {.seed = 2});
    EXPECT_EQ(once.sigma.ci95, again.sigma.ci95);
    EXPECT_NE(once.sigma.ci95, other.sigma.ci95);
    EXPECT_EQ(once.sigma.value, other.sigma.value);
}

TEST(Usl, SaysWhyNot) {
    const auto nan = std::nan("");
    struct Case {
        std::vector<UslSample> samples;
        const char* why_not;
    };
    for (const auto& [samples, why_not] : std::vector<Case>{
             {{}, "a curve needs 3 vCPU counts, 0 were measured"},
             {{{1, 5}, {1, 5}, {1, 6}, {1, 5}, {1, 5}}, "a curve needs 3 vCPU counts, 1 was measured"},
             {{{1, 5}, {2, 9}, {2, 9}, {1, 6}, {0, 4}, {4, 0}, {4, nan}, {nan, 4}},
              "a curve needs 3 vCPU counts, 2 were measured"},
             {{{1, 5}, {2, 9}, {4, 17}, {8, 30}}, "4 points leave too little"},
             // One operation takes time in proportion to N - 1: nothing is left for one vCPU alone.
             {{{101, 1.01}, {201, 1.005}, {301, 301.0 / 300}, {401, 1.0025}, {501, 1.002}},
              "what one vCPU does alone cannot be told"}}) {
        const auto fit = fit_usl(samples);
        EXPECT_THAT(fit.why_not, testing::StartsWith(why_not));
        EXPECT_FALSE(fit.knee);
    }
}

TEST(Usl, IsFittedToEachDriverAndConfiguration) {
    std::vector<SweepPoint> points;
    for (const std::string driver : {"locks", "exits"}) {
        for (const std::string policy : {"numa", "scatter"}) {
            for (const std::uint32_t vcpus : {1U, 2U, 4U, 8U, 16U}) {
                auto point = test::example_point(driver, vcpus, 0);
                point.configuration.policy = policy;
                point.seconds = 2;
                point.operations =
                    2 * usl_throughput(driver == "locks" ? 100 : 50, policy == "numa" ? 0 : 0.5, 0, vcpus);
                points.push_back(point);
                // What did not hold measures nothing.
                point.verdict = Verdict::fail;
                point.operations *= 1000;
                points.push_back(point);
            }
        }
    }
    const auto fits = fit_sweep(points);
    ASSERT_EQ(fits.size(), 4U);
    EXPECT_EQ(fits[0].driver, "locks");
    EXPECT_EQ(fits[1].configuration.policy, "scatter");
    EXPECT_EQ(fits[2].driver, "exits");
    EXPECT_EQ(fits[0].points, 5U);
    EXPECT_NEAR(fits[1].lambda.value, 100, 1e-3);
    EXPECT_NEAR(fits[1].sigma.value, 0.5, 1e-6);
    EXPECT_NEAR(fits[2].lambda.value, 50, 1e-3);
    EXPECT_NEAR(fits[2].sigma.value, 0, 1e-6);

    const auto some = fit_sweep(points, {}, {{"locks", "one works at a time"}});
    ASSERT_EQ(some.size(), 4U);
    for (const std::size_t i : {0U, 1U}) {
        EXPECT_EQ(some[i].driver, "locks");
        EXPECT_EQ(some[i].configuration, fits[i].configuration);
        EXPECT_EQ(some[i].why_not, "one works at a time");
        EXPECT_EQ(some[i].points, 5U);
        EXPECT_EQ(some[i].lambda.value, 0);
        EXPECT_FALSE(some[i].knee);
    }
    EXPECT_EQ(some[2].why_not, "");
    EXPECT_NEAR(some[2].lambda.value, 50, 1e-3);
}

} // namespace
} // namespace nestbed::report
