#include "stress/sweep/place_questions.hpp"

#include <limits>
#include <utility>

#include <fmt/format.h>

#include "core/boot/placement.hpp"
#include "topology/score.hpp"

namespace nestbed::stress {

namespace {

constexpr topology::TrafficSource::Pattern groups = topology::TrafficSource::groups;

bool is_all_to_all(const topology::TrafficSource& source) {
    return source.pattern == groups && source.count == 1;
}

// The share of vCPUs whose PU is not beside the memory that they are shown to be beside.
double share_of_strangers(const topology::Plan& plan, const topology::Score& score) {
    double strangers = 0;
    for (const auto& vcpu : plan.vcpus)
        strangers += 1 - score.memory_locality[vcpu.virtual_node];
    return strangers / static_cast<double>(plan.vcpus.size());
}

} // namespace

DriverPattern pattern_of(std::string_view driver) {
    if (driver == "memory")
        return {.fact = "local_bytes_per_second", .unit = "bytes/s", .traffic = {}};
    topology::TrafficSource source; // all to all
    if (driver == "c2c")
        return {.fact = "round_trips_per_second", .unit = "round trips/s", .traffic = std::move(source)};
    if (driver == "ipi.pairs" || driver == "ipi.to_halted" || driver == "ipi.to_running")
        source = {.pattern = topology::TrafficSource::pairs, .count = 0, .path = {}};
    return {.fact = {}, .unit = {}, .traffic = std::move(source)};
}

MachineRequest machine_for(const StressDriver& driver, MachineRequest asked, std::uint32_t vcpus) {
    asked.all_vcpus = false;
    asked.vcpus = vcpus;
    if (!asked.memory_bytes)
        asked.memory_bytes = boot::default_memory_bytes(vcpus) +
                             (driver.more_memory != nullptr ? driver.more_memory(vcpus) : 0);
    return asked;
}

Result<std::vector<report::PlaceQuestion>>
place_questions(std::span<const StressDriver* const> drivers,
                std::span<const SweepConfiguration> configurations, std::uint32_t vcpus,
                const topology::Host& host, const std::optional<topology::TrafficSource>& traffic) {
    constexpr auto no_limit = std::numeric_limits<std::uint32_t>::max();
    std::vector<report::PlaceQuestion> questions;
    for (const auto* const driver : drivers) {
        const auto pattern = pattern_of(driver->name);
        const auto source = traffic ? traffic : pattern.traffic;
        const auto talk = topology::traffic_of(source.value_or(topology::TrafficSource{}), vcpus);
        if (!talk)
            return tl::unexpected{talk.error()};
        report::PlaceQuestion question;
        question.driver = driver->name;
        question.fact = pattern.fact;
        question.unit = pattern.fact.empty() ? fmt::format("{}/s", driver->unit) : pattern.unit;
        question.predictor = !source                  ? "vCPUs away from their memory"
                             : is_all_to_all(*source) ? "traffic all to all"
                                                      : fmt::format("traffic {}", to_string(*source));
        for (const auto& configuration : configurations) {
            const auto plan = topology::plan(
                plan_request(machine_for(*driver, configuration.machine, vcpus), no_limit), host);
            if (!plan)
                return tl::unexpected{plan.error()};
            const auto score = topology::score(*plan, host, *talk);
            if (!score)
                return tl::unexpected{score.error()};
            std::optional<double> cost;
            if (score->pairs) // else nothing is pinned, and nothing known
                cost = source ? score->pairs->mean_cost : share_of_strangers(*plan, *score);
            question.candidates.push_back({configuration.asked, cost});
        }
        questions.push_back(std::move(question));
    }
    return questions;
}

} // namespace nestbed::stress
