// `nestbed place`: measures placements, and watches them.
#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"

namespace nestbed::cli {

void add_place_command(CLI::App& app, Action& action, std::vector<std::string> command_line);

} // namespace nestbed::cli
