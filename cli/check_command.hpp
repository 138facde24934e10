// `nestbed check`: what this host can do, and the command that mends each shortfall.
#pragma once

#include "cli/command.hpp"

namespace nestbed::cli {

void add_check_command(CLI::App& app, Action& action);

} // namespace nestbed::cli
