#include "cli/stress_options.hpp"

#include "cli/placement_options.hpp"
#include "cli/seconds.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::cli {

namespace {

constexpr std::size_t most_configurations = 256;

std::chrono::milliseconds to_ms(double seconds) {
    return milliseconds_of(seconds);
}

} // namespace

Result<stress::SweepConfiguration> read_configuration(const report::Configuration& asked,
                                                      const std::string& memory) {
    PlacementOptions placement;
    placement.memory = memory;
    placement.policy = asked.policy;
    placement.page_size = asked.page_size;
    placement.nested = asked.nested;
    placement.topology = asked.topology;
    return placement.read().map([&](stress::MachineRequest machine) {
        return stress::SweepConfiguration{asked, std::move(machine)};
    });
}

std::vector<std::string> split_list(std::string_view text) {
    std::vector<std::string> words;
    for (;;) {
        const auto comma = text.find(',');
        words.emplace_back(text.substr(0, comma));
        if (comma == std::string_view::npos)
            return words;
        text.remove_prefix(comma + 1);
    }
}

std::vector<std::string> split_profiles(std::string_view text) {
    std::vector<std::string> profiles;
    for (auto& word : split_list(text))
        if (!profiles.empty() && word.starts_with('-')) // a feature to hide
            profiles.back() += "," + word;
        else
            profiles.push_back(std::move(word));
    return profiles;
}

Result<stress::SweepRequest> read_stress_options(const StressOptions& options) {
    auto drivers = stress::select_drivers(options.drivers);
    if (!drivers)
        return tl::unexpected{drivers.error()};
    stress::SweepRequest request{.drivers = std::move(*drivers),
                                 .vcpus = options.vcpus,
                                 .configurations = {},
                                 .duration = to_ms(options.duration_s),
                                 .repeat = options.repeat,
                                 .seed = options.seed,
                                 .mix = options.drivers == std::vector<std::string>{"all"},
                                 .timeout = {}};
    if (!options.trace.empty() || !options.metrics.empty())
        request.sample = to_ms(options.sample_s);
    request.record_exits = !options.trace.empty();
    request.record_ipis = !options.trace.empty();
    if (options.timeout_s > 0)
        request.timeout = to_ms(options.timeout_s);
    const auto topologies = options.topologies.empty() ? std::vector<std::string>{""} : options.topologies;
    for (const auto& policy : split_list(options.policies))
        for (const auto& pages : split_list(options.pages))
            for (const auto& profile : split_profiles(options.profiles))
                for (const auto& topology : topologies) {
                    if (request.configurations.size() == most_configurations)
                        return fail(ErrorKind::bad_input, "sweep all these configurations",
                                    "there are more than 256", "sweep some of them at a time");
                    auto read = read_configuration({policy, pages, profile, topology}, options.memory);
                    if (!read)
                        return tl::unexpected{read.error()};
                    request.configurations.push_back(std::move(*read));
                }
    return request;
}

} // namespace nestbed::cli
