// nestbed tower
#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"

namespace nestbed::cli {

// `command_line` is argv, for the result document.
void add_tower_command(CLI::App& app, Action& action, std::vector<std::string> command_line);

} // namespace nestbed::cli
