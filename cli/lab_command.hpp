// `nestbed lab`: a command in an emulated machine.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/command.hpp"

namespace nestbed::cli {

// `command_line` is the whole of it; what follows "--" is taken from it as it is. `run_line` runs another
// whole command line of nestbed.
void add_lab_command(CLI::App& app, Action& action, std::vector<std::string> command_line,
                     std::function<int(const std::vector<std::string>&)> run_line);

} // namespace nestbed::cli
