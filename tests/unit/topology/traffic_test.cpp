#include "topology/traffic.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestbed::topology {
namespace {

using testing::HasSubstr;

double sum_of(const Traffic& traffic) {
    double sum = 0;
    for (const auto& edges : traffic.of)
        for (const auto& edge : edges)
            sum += edge.weight;
    return sum / 2;
}

TEST(TrafficSource, RoundTripAndRefusal) {
    for (const auto* text : {"ring", "pairs", "groups:8", "client-server:2", "ipis.csv", "./ring"})
        EXPECT_EQ(to_string(parse_traffic_source(text).value()), text);
    for (const auto* wrong : {"", "rings", "groups", "groups:", "groups:0", "groups:-1", "groups:5000",
                              "client-server:x", "matrix"}) {
        const auto parsed = parse_traffic_source(wrong);
        ASSERT_FALSE(parsed) << wrong;
        EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(parsed.error().remedy, HasSubstr("client-server:S"));
    }
    EXPECT_FALSE(read_traffic_source(*parse_traffic_source("/nonexistent/m.csv")));
}

TEST(TrafficOf, PatternsHaveThePairsThatTheyPromise) {
    struct Case {
        std::string text;
        std::uint32_t vcpus;
        double pairs;
    };
    for (const auto& [text, vcpus, pairs] : {Case{"ring", 1, 0},
                                             {"ring", 2, 1},
                                             {"ring", 3, 3},
                                             {"ring", 288, 288},
                                             {"pairs", 2, 1},
                                             {"pairs", 255, 127},
                                             {"pairs", 256, 128},
                                             {"groups:1", 257, 257 * 128},
                                             {"groups:3", 7, 3 + 1 + 1},
                                             {"groups:8", 1024, 8 * 64 * 127},
                                             {"client-server:2", 10, 16},
                                             {"client-server:1", 254, 253}}) {
        const auto traffic = traffic_of(*parse_traffic_source(text), vcpus);
        ASSERT_TRUE(traffic) << text;
        EXPECT_EQ(traffic->vcpus(), vcpus);
        EXPECT_EQ(sum_of(*traffic), pairs) << text << " " << vcpus;
        for (std::uint32_t a = 0; a < vcpus; ++a)
            for (const auto& edge : traffic->of[a]) {
                EXPECT_NE(edge.to, a);
                EXPECT_TRUE(std::any_of(traffic->of[edge.to].begin(), traffic->of[edge.to].end(),
                                        [&](const auto& back) { return back.to == a; }));
            }
    }
    EXPECT_FALSE(traffic_of(*parse_traffic_source("groups:8"), 7));
    EXPECT_FALSE(traffic_of(*parse_traffic_source("ring"), max_traffic_vcpus + 1));
    EXPECT_FALSE(traffic_of(*parse_traffic_source("never-read.csv"), 4));
}

TEST(TrafficCsv, BothDirectionsAreAddedAndTheDiagonalIsNot) {
    const auto traffic = parse_traffic_csv("# IPIs\n 7, 1.5 ,0\r\n\n2,9,0\n0,3e2,1");
    ASSERT_TRUE(traffic) << traffic.error().message();
    ASSERT_EQ(traffic->vcpus(), 3U);
    EXPECT_EQ(traffic->of[0], (std::vector<Traffic::Edge>{{1, 3.5}}));
    EXPECT_EQ(traffic->of[1], (std::vector<Traffic::Edge>{{0, 3.5}, {2, 300}}));
    EXPECT_EQ(traffic->of[2], (std::vector<Traffic::Edge>{{1, 300}}));
}

TEST(TrafficCsv, RefusesAndSaysWhere) {
    std::string wide, tall;
    for (std::uint32_t i = 0; i <= max_traffic_vcpus; ++i)
        wide += "0,";
    for (int i = 0; i < 3; ++i)
        tall += "0,0\n";
    struct Case {
        std::string text, found;
    };
    for (const auto& [text, found] : {Case{"", "no numbers"},
                                      {"# nothing\n\n", "no numbers"},
                                      {"0,1\n", "not square"},
                                      {tall, "more than 2 rows"},
                                      {"0,1\n1\n", "line 2: 1 numbers"},
                                      {"0,-1\n1,0", "line 1, column 2"},
                                      {"0,1\nnan,0", "line 2, column 1: \"nan\" is not finite"},
                                      {"0,inf\n1,0", "not finite"},
                                      {"0,1e16\n1,0", "above"},
                                      {"0,1e999\n1,0", "too large"},
                                      {"0,,1", "is no number"},
                                      {"0,1x\n1,0", "is no number"},
                                      {"0;1\n1;0", "is no number"},
                                      {std::string("0,\0\n0,0", 7), "no number"},
                                      {wide, "more than 4096 numbers"}}) {
        const auto parsed = parse_traffic_csv(text);
        ASSERT_FALSE(parsed) << found;
        EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input);
        EXPECT_THAT(parsed.error().found, HasSubstr(found));
        EXPECT_FALSE(parsed.error().remedy.empty());
    }
}

} // namespace
} // namespace nestbed::topology
