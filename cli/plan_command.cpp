#include "cli/plan_command.hpp"

#include <cstdint>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "cli/output.hpp"
#include "cli/placement_options.hpp"
#include "report/json.hpp"
#include "report/json_file.hpp"
#include "report/plan_score.hpp"
#include "report/plan_svg.hpp"
#include "report/text.hpp"
#include "stress/setup.hpp"
#include "topology/plan_file.hpp"
#include "topology/score.hpp"

namespace nestbed::cli {

namespace {

struct PlanOptions {
    PlacementOptions placement;
    std::string host = "auto";
    std::string traffic; // empty: the policy's own, else all to all
    std::string compare; // policies with commas between
    std::string svg, write;
    bool explain = false;
    bool json = false;
    bool verbose = false;
};

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> parts;
    for (;;) {
        const auto comma = text.find(',');
        parts.emplace_back(text.substr(0, comma));
        if (comma == std::string_view::npos)
            return parts;
        text.remove_prefix(comma + 1);
    }
}

Status write_file(const std::string& path, const std::string& text) {
    std::ofstream file{path, std::ios::binary | std::ios::trunc};
    file << text;
    file.close();
    if (!file)
        return fail(ErrorKind::bad_input, fmt::format("write {}", path), "it cannot be written",
                    "name a file in a folder that exists and takes it");
    return {};
}

// What plans are judged by.
struct Judged {
    std::string name;
    topology::Traffic traffic;
};

Result<Judged> traffic_for(const PlanOptions& options, const std::vector<topology::Policy>& policies,
                           std::uint32_t vcpus) {
    topology::TrafficSource source; // all to all
    for (const auto& policy : policies)
        if (policy.kind == topology::Policy::traffic) {
            source = policy.matrix;
            break;
        }
    if (!options.traffic.empty()) {
        auto given = topology::parse_traffic_source(options.traffic).and_then(topology::read_traffic_source);
        if (!given)
            return tl::unexpected{given.error()};
        source = std::move(*given);
    }
    if (vcpus > topology::max_traffic_vcpus)
        return fail(ErrorKind::bad_input, fmt::format("what a plan of {} vCPUs is worth", vcpus),
                    fmt::format("plans are judged by traffic, which is known of up to {} vCPUs",
                                topology::max_traffic_vcpus),
                    fmt::format("use --vcpus {} or fewer, or leave --compare, --explain and --traffic out",
                                topology::max_traffic_vcpus));
    auto traffic = topology::traffic_of(source, vcpus);
    if (!traffic)
        return tl::unexpected{traffic.error()};
    const bool is_all_to_all = source.pattern == topology::TrafficSource::groups && source.count == 1;
    return Judged{.name = is_all_to_all ? "all to all" : to_string(source), .traffic = std::move(*traffic)};
}

Result<topology::Plan> plan_for(const stress::MachineRequest& values, const topology::Host& host) {
    constexpr auto no_limit = std::numeric_limits<std::uint32_t>::max();
    return topology::plan(stress::plan_request(values, no_limit), host);
}

Result<std::string> compare(const PlanOptions& options, stress::MachineRequest values,
                            const topology::Host& host) {
    std::vector<topology::Policy> policies;
    for (const auto& name : split(options.compare)) {
        auto policy = topology::read_policy(name);
        if (!policy)
            return tl::unexpected{policy.error()};
        // As with --policy, a matrix says how many vCPUs there are.
        if (const auto& matrix = policy->matrix.matrix; matrix && !values.vcpus && !values.shape)
            values.vcpus = matrix->vcpus();
        policies.push_back(std::move(*policy));
    }
    std::vector<report::ScoredPlan> plans;
    std::optional<Judged> judged;
    for (const auto& policy : policies) {
        values.policy = policy;
        auto plan = plan_for(values, host);
        if (!plan)
            return tl::unexpected{plan.error()};
        if (!judged) {
            auto found = traffic_for(options, policies, static_cast<std::uint32_t>(plan->vcpus.size()));
            if (!found)
                return tl::unexpected{found.error()};
            judged = std::move(*found);
        }
        const auto score = topology::score(*plan, host, judged->traffic);
        if (!score)
            return tl::unexpected{score.error()};
        plans.push_back({.plan = std::move(*plan), .score = *score});
    }
    if (!options.json)
        return report::format_comparison(plans, judged->name);
    std::vector<topology::Score> scores;
    for (const auto& each : plans)
        scores.push_back(each.score);
    auto ranked = nlohmann::ordered_json::array();
    for (const auto i : topology::rank(scores))
        ranked.push_back({{"policy", to_string(plans[i].plan.policy)},
                          {"score", report::to_json(scores[i])},
                          {"shape", topology::format_shape(plans[i].plan.shape)}});
    return report::dump(
        {{"host", report::to_json(host)}, {"traffic", judged->name}, {"comparison", std::move(ranked)}});
}

Status write_files(const PlanOptions& options, const topology::Plan& plan, const topology::Host& host) {
    if (!options.write.empty() && plan.vcpus.size() > topology::max_plan_file_vcpus)
        return fail(
            ErrorKind::bad_input, fmt::format("--write with {} vCPUs", plan.vcpus.size()),
            fmt::format("a plan file has at most {}", topology::max_plan_file_vcpus),
            fmt::format("use --vcpus {} or fewer, or leave --write out", topology::max_plan_file_vcpus));
    if (!options.svg.empty())
        if (auto written = write_file(options.svg, report::format_svg(plan, host)); !written)
            return written;
    if (!options.write.empty())
        return write_file(options.write, topology::format_plan_file(plan, host));
    return {};
}

// One plan, with all that was asked for about it.
Result<std::string> show(const PlanOptions& options, const topology::Plan& plan, const topology::Host& host) {
    nlohmann::ordered_json json{{"host", report::to_json(host)}, {"plan", report::to_json(plan)}};
    auto text = report::format_plan(plan, host,
                                    options.verbose ? report::Verbosity::verbose : report::Verbosity::normal);
    if (options.explain || !options.traffic.empty()) {
        const auto judged =
            traffic_for(options, {plan.policy}, static_cast<std::uint32_t>(plan.vcpus.size()));
        if (!judged)
            return tl::unexpected{judged.error()};
        const auto score = topology::score(plan, host, judged->traffic);
        if (!score)
            return tl::unexpected{score.error()};
        json["traffic"] = judged->name;
        json["score"] = report::to_json(*score);
        text += report::format_score(*score, judged->name);
        if (options.explain) {
            const auto others = topology::alternatives(plan, host, judged->traffic);
            if (!others)
                return tl::unexpected{others.error()};
            json["alternatives"] = nlohmann::ordered_json::array();
            for (const auto& other : *others)
                json["alternatives"].push_back(report::to_json(other));
            text += report::format_explanation(plan, *others, judged->name);
        }
    }
    // Last: what fails leaves no files.
    if (auto written = write_files(options, plan, host); !written)
        return tl::unexpected{written.error()};
    return options.json ? report::dump(json) : text;
}

Result<std::string> make_plan(const PlanOptions& options) {
    const auto values = options.placement.read();
    if (!values)
        return tl::unexpected{values.error()};
    if (values->all_vcpus)
        return fail(ErrorKind::bad_input, "--vcpus max", "a plan is made without asking any KVM",
                    "give the number of vCPUs");
    if (!options.compare.empty() && (options.explain || !options.svg.empty() || !options.write.empty()))
        return fail(ErrorKind::bad_input, "--compare with --explain, --svg or --write",
                    "these are about one plan", "leave one of them out");
    const auto host = topology::discover(options.host);
    if (!host)
        return tl::unexpected{host.error()};
    if (!options.compare.empty())
        return compare(options, *values, *host);
    const auto plan = plan_for(*values, *host);
    if (!plan)
        return tl::unexpected{plan.error()};
    return show(options, *plan, *host);
}

} // namespace

void add_plan_command(CLI::App& app, Action& action) {
    auto options = std::make_shared<PlanOptions>();
    auto* const command =
        app.add_subcommand("plan", "Show where vCPUs and memory would go, on this host or any other");
    command
        ->add_option("--host", options->host,
                     "\"auto\", an hwloc XML file, or a synthetic host in hwloc's syntax")
        ->type_name("auto|FILE.xml|SYNTHETIC")
        ->capture_default_str();
    options->placement.add_to(*command);
    command
        ->add_option("--traffic", options->traffic,
                     "What to judge plans by: ring, pairs, groups:K, client-server:S or FILE.csv [the "
                     "policy's, else all to all]")
        ->type_name("TRAFFIC");
    command
        ->add_option("--compare", options->compare,
                     "Rank policies by what the traffic costs, as in compact,numa,traffic:ring")
        ->type_name("POLICY,...");
    command->add_flag("--explain", options->explain,
                      "Why each vCPU is where it is, and what the second-best choice would cost");
    command->add_option("--svg", options->svg, "Draw host and plan into this file")->type_name("FILE");
    command
        ->add_option("--write", options->write,
                     "Write the plan into this file (TOML), to be edited and given to --plan")
        ->type_name("FILE");
    command->add_flag("--json", options->json, "The plan as JSON");
    command->add_flag("--verbose", options->verbose, "Every vCPU and every PU on a line of its own");
    command->footer(
        "Examples:\n"
        "  nestbed plan --vcpus 288\n"
        "  nestbed plan --host \"pack:8 [numa(memory=512GB)] l3:4 core:16 pu:2\" --vcpus 1024 --memory 1T\n"
        "  nestbed plan --host server.xml --vcpus 96 --policy scatter --json\n"
        "  nestbed plan --vcpus 64 --compare none,compact,scatter,llc,traffic:groups:8\n"
        "  nestbed plan --policy traffic:ipis.csv --explain --svg plan.svg --write plan.toml\n"
        "  nestbed plan --plan plan.toml      and then  nestbed validate --plan plan.toml\n"
        "docs/planning.md has the policies, the figures and the format of plan files.");
    command->callback([options, &action] {
        action = [options] {
            const auto text = make_plan(*options);
            if (!text)
                return complain(text.error());
            return print(*text);
        };
    });
}

} // namespace nestbed::cli
