#include "stress/sweep/place_questions.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::stress {
namespace {

SweepConfiguration configuration(topology::Policy policy, bool lying = false) {
    SweepConfiguration made{{topology::to_string(policy), "4K", "auto", lying ? "lying" : ""}, {}};
    made.machine.policy = std::move(policy);
    made.machine.lying_shape = lying;
    return made;
}

std::vector<const StressDriver*> drivers(const std::string& name) {
    return *select_drivers({name});
}

// Of one driver, the costs by configuration.
std::vector<std::optional<double>> costs(const std::string& driver,
                                         const std::vector<SweepConfiguration>& configurations,
                                         std::optional<topology::TrafficSource> traffic = {}) {
    const auto host = topology::discover("pack:2 [numa(memory=8GB)] l3:1 core:4 pu:1");
    EXPECT_TRUE(host);
    const auto questions = place_questions(drivers(driver), configurations, 8, *host, traffic);
    EXPECT_TRUE(questions) << questions.error().message();
    std::vector<std::optional<double>> found;
    for (const auto& candidate : questions->front().candidates)
        found.push_back(candidate.predicted_cost);
    return found;
}

TEST(PlaceQuestions, ForetellByWhatTheDriverDoes) {
    using topology::Policy;
    const std::vector<SweepConfiguration> all{configuration(Policy::compact),
                                              configuration(Policy::interleave), configuration(Policy::none)};
    // Pairs are within a package, or on two nodes; all to all does not care.
    EXPECT_THAT(costs("ipi.pairs", all), testing::ElementsAre(5, 20, std::nullopt));
    const auto everyone = costs("c2c", all);
    EXPECT_DOUBLE_EQ(everyone[0].value(), everyone[1].value());
    EXPECT_GT(everyone[0].value(), 10);
    EXPECT_EQ(everyone[2], std::nullopt);
    const auto given =
        topology::TrafficSource{.pattern = topology::TrafficSource::pairs, .count = 0, .path = {}};
    EXPECT_THAT(costs("c2c", all, given), testing::ElementsAre(5, 20, std::nullopt));
}

TEST(PlaceQuestions, OfMemoryCountWhoIsAwayFromIt) {
    using topology::Policy;
    EXPECT_THAT(costs("memory", {configuration(Policy::compact), configuration(Policy::compact, true),
                                 configuration(Policy::none)}),
                testing::ElementsAre(0, 0.5, std::nullopt));
}

TEST(PlaceQuestions, NameTheFigureAndThePredictor) {
    const auto host = topology::discover("core:4 pu:1");
    ASSERT_TRUE(host);
    struct Case {
        std::string driver, fact, unit, predictor;
    };
    for (const auto& [driver, fact, unit, predictor] :
         std::vector<Case>{{"c2c", "round_trips_per_second", "round trips/s", "traffic all to all"},
                           {"ipi.pairs", "", "interrupts/s", "traffic pairs"},
                           {"ipi.unicast", "", "interrupts/s", "traffic all to all"},
                           {"memory", "local_bytes_per_second", "bytes/s", "vCPUs away from their memory"}}) {
        const std::vector<SweepConfiguration> one{configuration(topology::Policy::compact)};
        const auto questions = place_questions(drivers(driver), one, 4, *host, {});
        ASSERT_TRUE(questions);
        EXPECT_EQ(questions->front().driver, driver);
        EXPECT_EQ(questions->front().fact, fact);
        EXPECT_EQ(questions->front().unit, unit);
        EXPECT_EQ(questions->front().predictor, predictor);
    }
}

TEST(PlaceQuestions, RefuseWhatCannotBePlanned) {
    const auto host = topology::discover("pack:2 [numa(memory=8GB)] l3:1 core:4 pu:1");
    ASSERT_TRUE(host);
    auto shaped = configuration(topology::Policy::compact);
    shaped.machine.shape = topology::Shape{.sockets = 3};
    const std::vector<SweepConfiguration> all{configuration(topology::Policy::numa), shaped};
    const auto questions = place_questions(drivers("memory"), all, 8, *host, {});
    ASSERT_FALSE(questions);
    EXPECT_EQ(questions.error().kind, ErrorKind::bad_input);
    const std::vector<SweepConfiguration> lie{configuration(topology::Policy::none, true)};
    EXPECT_FALSE(place_questions(drivers("memory"), lie, 8, *host, {}));
}

TEST(MachineFor, HasTheMemoryThatTheDriverNeeds) {
    const auto* const memory = drivers("memory").front();
    EXPECT_GT(*machine_for(*memory, {}, 4).memory_bytes,
              *machine_for(*drivers("c2c").front(), {}, 4).memory_bytes);
    EXPECT_EQ(machine_for(*memory, {}, 257).vcpus, 257U);
    MachineRequest asked;
    asked.memory_bytes = 64 * MiB;
    EXPECT_EQ(machine_for(*memory, asked, 4).memory_bytes, 64 * MiB);
}

} // namespace
} // namespace nestbed::stress
