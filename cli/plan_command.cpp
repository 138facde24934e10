#include "cli/plan_command.hpp"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "cli/output.hpp"
#include "cli/placement_options.hpp"
#include "report/json.hpp"
#include "report/json_file.hpp"
#include "report/text.hpp"
#include "stress/setup.hpp"

namespace nestbed::cli {

namespace {

struct PlanOptions {
    PlacementOptions placement;
    std::string host = "auto";
    bool json = false;
    bool verbose = false;
};

Result<std::string> make_plan(const PlanOptions& options) {
    const auto values = options.placement.read();
    if (!values)
        return tl::unexpected{values.error()};
    if (values->all_vcpus)
        return fail(ErrorKind::bad_input, "--vcpus max", "a plan is made without asking any KVM",
                    "give the number of vCPUs");
    const auto host = topology::discover(options.host);
    if (!host)
        return tl::unexpected{host.error()};
    constexpr auto no_limit = std::numeric_limits<std::uint32_t>::max();
    const auto plan = topology::plan(stress::plan_request(*values, no_limit), *host);
    if (!plan)
        return tl::unexpected{plan.error()};
    if (options.json)
        return report::dump({{"host", report::to_json(*host)}, {"plan", report::to_json(*plan)}});
    return report::format_plan(*plan, *host,
                               options.verbose ? report::Verbosity::verbose : report::Verbosity::normal);
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
    command->add_flag("--json", options->json, "The plan as JSON");
    command->add_flag("--verbose", options->verbose, "Every vCPU and every PU on a line of its own");
    command->footer(
        "Examples:\n"
        "  nestbed plan --vcpus 288\n"
        "  nestbed plan --host \"pack:8 [numa(memory=512GB)] l3:4 core:16 pu:2\" --vcpus 1024 --memory 1T\n"
        "  nestbed plan --host server.xml --vcpus 96 --policy scatter --json");
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
