// `nestbed compare`: what two runs differ in by more than their noise.
#pragma once

#include "cli/command.hpp"

namespace nestbed::cli {

void add_compare_command(CLI::App& app, Action& action);

} // namespace nestbed::cli
