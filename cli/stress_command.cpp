#include "cli/stress_command.hpp"

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/output.hpp"
#include "report/json_file.hpp"
#include "stress/drivers/registry.hpp"

namespace nestbed::cli {

namespace {

struct ListOptions {
    std::vector<std::string> patterns;
    bool json = false;
};

int list(const ListOptions& options) {
    const auto chosen = stress::select_drivers(options.patterns);
    if (!chosen)
        return complain(chosen.error());
    if (options.json) {
        auto document = nlohmann::ordered_json::array();
        for (const auto* const driver : *chosen)
            document.push_back({{"name", driver->name},
                                {"title", driver->title},
                                {"invariant", driver->invariant},
                                {"unit", driver->unit},
                                {"least_vcpus", driver->least_vcpus},
                                {"nested", driver->nested}});
        return print(report::dump({{"drivers", std::move(document)}}));
    }
    std::string text;
    for (const auto* const driver : *chosen)
        text += fmt::format("{:<20} {}{}\n{:20} holds: {}\n", driver->name, driver->title,
                            driver->nested ? " (needs nested virtualization)" : "", "", driver->invariant);
    return print(text);
}

} // namespace

void add_stress_command(CLI::App& app, Action& action, std::vector<std::string> command_line) {
    auto* const command =
        app.add_subcommand("stress", "Load many vCPUs, see that nothing is lost, and how it scales");
    command->require_subcommand(1);

    auto options = std::make_shared<ListOptions>();
    auto* const lister = command->add_subcommand("list", "The drivers by name, and what each proves");
    lister->add_option("PATTERN", options->patterns, "Shell patterns over the names [all]");
    lister->add_flag("--json", options->json, "As JSON");
    lister->callback([options, &action] { action = [options] { return list(*options); }; });
    static_cast<void>(command_line);
}

} // namespace nestbed::cli
