#include "topology/policy.hpp"

#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "topology/plan_file.hpp"

namespace nestbed::topology {

namespace {

// Without parameters, and what stands before the parameter where there is one.
std::string_view name_of(Policy::Kind kind) {
    switch (kind) {
    case Policy::none:
        return "none";
    case Policy::compact:
        return "compact";
    case Policy::scatter:
        return "scatter";
    case Policy::numa:
        return "numa";
    case Policy::llc:
        return "llc";
    case Policy::smt_avoid:
        return "smt-avoid";
    case Policy::smt_pair:
        return "smt-pair";
    case Policy::interleave:
        return "interleave";
    case Policy::random:
        return "random";
    case Policy::traffic:
        return "traffic";
    case Policy::file:
        return "file";
    }
    return "unknown";
}

tl::unexpected<Error> refuse(std::string_view text, std::string why) {
    return fail(ErrorKind::bad_input, fmt::format("policy \"{}\"", text), std::move(why),
                "choose none, compact, scatter, numa, llc, smt-avoid, smt-pair, interleave, random:SEED, "
                "traffic:PATTERN, traffic:FILE.csv or file:PLAN.toml");
}

Policy random_policy(std::uint64_t seed) {
    Policy policy{Policy::random};
    policy.seed = seed;
    return policy;
}

Policy traffic_policy(TrafficSource source) {
    Policy policy{Policy::traffic};
    policy.matrix = std::move(source);
    return policy;
}

std::optional<Policy> without_parameter(std::string_view text) {
    for (const auto kind : {Policy::none, Policy::compact, Policy::scatter, Policy::numa, Policy::llc,
                            Policy::smt_avoid, Policy::smt_pair, Policy::interleave})
        if (name_of(kind) == text)
            return kind;
    return std::nullopt;
}

} // namespace

std::string to_string(const Policy& policy) {
    const auto name = name_of(policy.kind);
    switch (policy.kind) {
    case Policy::random:
        return fmt::format("{}:{}", name, policy.seed);
    case Policy::traffic:
        return fmt::format("{}:{}", name, to_string(policy.matrix));
    case Policy::file:
        return fmt::format("{}:{}", name, policy.path);
    default:
        return std::string{name};
    }
}

const std::vector<Policy>& all_policies() {
    static const std::vector<Policy> all{
        Policy::none,     Policy::compact,
        Policy::scatter,  Policy::numa,
        Policy::llc,      Policy::smt_avoid,
        Policy::smt_pair, Policy::interleave,
        random_policy(1), traffic_policy({.pattern = TrafficSource::ring, .count = 0, .path = {}})};
    return all;
}

Result<Policy> parse_policy(std::string_view text) {
    if (const auto simple = without_parameter(text))
        return *simple;
    const auto colon = text.find(':');
    const auto name = text.substr(0, colon);
    const bool is_bare = colon == std::string_view::npos || colon + 1 == text.size();
    const auto parameter = is_bare ? std::string_view{} : text.substr(colon + 1);
    if (name == name_of(Policy::random)) {
        const auto seed = parse_count(parameter, "seed", std::numeric_limits<std::uint64_t>::max());
        if (!seed)
            return refuse(text, "a seed is a number of 64 bits, as in random:1");
        return random_policy(*seed);
    }
    if (name == name_of(Policy::traffic)) {
        auto source = parse_traffic_source(parameter);
        if (!source) {
            auto error = source.error();
            error.asked = fmt::format("policy \"{}\"", text); // as it was typed
            return tl::unexpected{std::move(error)};
        }
        return traffic_policy(std::move(*source));
    }
    if (name == name_of(Policy::file)) {
        if (is_bare || text.find('\0') != std::string_view::npos)
            return refuse(text, "it names no file");
        Policy policy{Policy::file};
        policy.path = parameter;
        return policy;
    }
    return refuse(text, colon != std::string_view::npos && without_parameter(name)
                            ? fmt::format("{} takes no parameter", name)
                            : std::string{"there is no such policy"});
}

Result<Policy> read_policy(std::string_view text) {
    auto policy = parse_policy(text);
    if (!policy)
        return policy;
    if (policy->kind == Policy::traffic) {
        auto source = read_traffic_source(std::move(policy->matrix));
        if (!source)
            return tl::unexpected{source.error()};
        policy->matrix = std::move(*source);
    }
    if (policy->kind == Policy::file) {
        auto file = read_plan_file(policy->path);
        if (!file)
            return tl::unexpected{file.error()};
        policy->plan_file = std::make_shared<const PlanFile>(std::move(*file));
    }
    return policy;
}

} // namespace nestbed::topology
