#include "stress/drivers/distribution.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace nestbed::stress {
namespace {

void expect_sound(const report::Histogram& histogram, const std::vector<double>& samples) {
    ASSERT_EQ(histogram.bounds.size(), histogram.counts.size() + 1);
    EXPECT_TRUE(std::is_sorted(histogram.bounds.begin(), histogram.bounds.end(), std::less_equal<>{}))
        << "strictly ascending";
    for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
        const auto own = std::count_if(samples.begin(), samples.end(), [&](double s) {
            return histogram.bounds[i] <= s && s < histogram.bounds[i + 1];
        });
        EXPECT_EQ(histogram.counts[i], static_cast<std::uint64_t>(own))
            << "from " << histogram.bounds[i] << " to " << histogram.bounds[i + 1];
    }
    EXPECT_EQ(std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::uint64_t{0}),
              samples.size());
}

TEST(Histogram, OfNothingIsEmpty) {
    EXPECT_TRUE(histogram_of({}).counts.empty());
    EXPECT_TRUE(histogram_of({}).bounds.empty());
    const std::vector<double> none{std::nan(""), std::numeric_limits<double>::infinity()};
    EXPECT_TRUE(histogram_of(none).counts.empty());
}

TEST(Histogram, CountsEachSampleInItsClass) {
    for (const std::vector<double>& samples : {std::vector{1.0},
                                               {0.0},
                                               {0.0, 1e-9, 0.0009765625},
                                               {8.0, 8.0, std::nextafter(8.0, 0.0)},
                                               {1.0, 1e6},
                                               {3.0, 4.0, 5.0, 1024.0, 1023.9},
                                               {-1.0, 2.0},
                                               {1e300, 1.0}})
        expect_sound(histogram_of(samples), samples);
}

TEST(Histogram, HoldsForManyRandomSamples) {
    std::mt19937_64 random{1};
    std::lognormal_distribution<double> draw{3, 2};
    std::vector<double> samples(2000);
    std::generate(samples.begin(), samples.end(), [&] { return draw(random); });
    expect_sound(histogram_of(samples), samples);
}

TEST(Distribution, HasSummaryAndUnit) {
    const std::vector<double> samples{1, 2, 3};
    const auto made = distribution("latency", "us", samples);
    EXPECT_EQ(made.name, "latency");
    EXPECT_EQ(made.summary.unit, "us");
    EXPECT_EQ(made.summary.median, 2);
    EXPECT_EQ(made.summary.count, 3U);
}

} // namespace
} // namespace nestbed::stress
