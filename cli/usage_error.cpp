#include "cli/usage_error.hpp"

#include <string_view>

#include <fmt/format.h>

namespace nestbed::cli {

std::string usage_error(const CLI::App* app, const CLI::Error& error) {
    std::string command = "nestbed", before;
    const auto* deepest = app;
    for (auto given = deepest->get_subcommands(); !given.empty(); given = deepest->get_subcommands()) {
        deepest = given.back();
        before = command;
        command += " " + deepest->get_name();
    }
    const auto text = [&](std::string_view what) { return fmt::format("{}: {}\n", command, what); };
    if (deepest->get_require_subcommand_min() == 0)
        return text(error.what()) + fmt::format("  `{} --help` has the options and examples\n", command);
    const auto unknown = deepest->remaining();
    return text(unknown.empty() ? "a command is missing"
                                : fmt::format("there is no command {}", unknown[0])) +
           "\n" + deepest->help(before);
}

} // namespace nestbed::cli
