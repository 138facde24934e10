// `nestbed conform`: the conformance suite.
#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"

namespace nestbed::cli {

void add_conform_command(CLI::App& app, Action& action, std::vector<std::string> command_line);

} // namespace nestbed::cli
