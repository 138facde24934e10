// `nestbed stress`: drivers, swept over vCPU counts and configurations.
#pragma once

#include "cli/command.hpp"

namespace nestbed::cli {

// `command_line` goes into the result document.
void add_stress_command(CLI::App& app, Action& action, std::vector<std::string> command_line);

} // namespace nestbed::cli
