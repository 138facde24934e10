// nestbed boot
#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"

namespace nestbed::cli {

// `command_line` is argv, for the result document and for the lab.
void add_boot_command(CLI::App& app, Action& action, std::vector<std::string> command_line);

} // namespace nestbed::cli
